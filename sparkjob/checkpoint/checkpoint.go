// Package checkpoint reads the checkpoints of Structured Streaming queries over
// Kafka, and takes them back to an earlier point. It stands beside the data's path:
// a checkpoint is how far along it a query has come, and only Spark moves it forward.
//
// A checkpoint is a folder. Each file of offsets/ is a micro-batch that Spark has
// planned, with the offsets at which it ends; each of commits/ is one that it has
// completed; state/ holds, for stateful queries, what a micro-batch left for the
// next. Spark keeps about the last hundred.
package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

var (
	// ErrNotVisible says that the folder of the checkpoints is not on this machine.
	ErrNotVisible = errors.New("the checkpoints are not visible from this machine")
	// ErrNotFound says that there is no such checkpoint in the folder.
	ErrNotFound = errors.New("there is no checkpoint")
)

// Where says what to do about ErrNotVisible.
const Where = "run this where Spark's driver runs; in containers: docker compose --env-file deploy/stack.env --env-file .env run --rm sparkjob …"

// Offsets of one topic: by partition, the first that has not been read yet.
type Offsets map[int]int64

// Checkpoint is what the folder of one query holds.
type Checkpoint struct {
	Folder  string
	QueryID string  // Spark's id of the query, a UUID
	Topic   string  // that the query reads; "" before its first micro-batch
	Batches []Batch // that are kept, the oldest first

	stores []store // of a stateful query
}

// Batch is a micro-batch.
type Batch struct {
	ID        int64
	PlannedAt time.Time // UTC
	Watermark time.Time // that it used, UTC; zero if none
	Committed bool
	Start     Offsets // nil where the micro-batch before is not kept
	End       Offsets // where the query reads the topic more than once, up to where each of its sources has read

	furthest Offsets         // up to where any source has read
	sources  int             // how many there are
	meta     json.RawMessage // of the file in offsets/, as Spark wrote it
}

// Rows is the number of records between the offsets, -1 if unknown. Markers of
// transactions, if a producer of the topic uses them, count as records.
func (b Batch) Rows() int64 {
	if b.Start == nil {
		return -1
	}
	return b.End.since(b.Start)
}

// Has tells whether the micro-batch read the record.
func (b Batch) Has(partition int, offset int64) bool {
	end, ok := b.End[partition]
	return ok && b.Start != nil && b.Start[partition] <= offset && offset < end
}

// since is the number of records from start on. A partition that is not in start was
// not there yet.
func (o Offsets) since(start Offsets) int64 {
	var n int64
	for partition, end := range o {
		n += max(end-start[partition], 0)
	}
	return n
}

// Stateful tells whether the query keeps state between micro-batches.
func (c *Checkpoint) Stateful() bool { return len(c.stores) > 0 }

// Last returns the last micro-batch that is committed, or nil if none is.
func (c *Checkpoint) Last() *Batch {
	for i := range slices.Backward(c.Batches) {
		if c.Batches[i].Committed {
			return &c.Batches[i]
		}
	}
	return nil
}

// Batch returns a micro-batch that is kept, or nil.
func (c *Checkpoint) Batch(id int64) *Batch {
	for i := range c.Batches {
		if c.Batches[i].ID == id {
			return &c.Batches[i]
		}
	}
	return nil
}

// Find returns the micro-batch that read a record, or nil if none did that is kept.
func (c *Checkpoint) Find(partition int, offset int64) *Batch {
	for i := range c.Batches {
		if c.Batches[i].Has(partition, offset) {
			return &c.Batches[i]
		}
	}
	return nil
}

// Path returns the folder that a URL of a checkpoint names, as long as it is one of
// this machine. The error is ErrNotVisible otherwise.
func Path(location string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", fmt.Errorf("reading the checkpoint location %q: %w", location, err)
	}
	if u.Scheme != "file" || (u.Host != "" && u.Host != "localhost") {
		return "", fmt.Errorf("looking at %s: %w, only file: URLs can be", location, ErrNotVisible)
	}
	return filepath.FromSlash(u.Path), nil
}

// Open reads the checkpoint at a URL, which may belong to a query that runs. The error
// is ErrNotVisible where not even the folder around it is on this machine, and
// ErrNotFound where the query has none yet.
func Open(location string) (*Checkpoint, error) {
	folder, err := Path(location)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		// The folders are: of all checkpoints, of one topic, of one query.
		if _, err := os.Stat(filepath.Dir(filepath.Dir(folder))); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("looking at %s: %w", folder, ErrNotVisible)
		}
		return nil, fmt.Errorf("looking at %s: %w", folder, ErrNotFound)
	}
	c := &Checkpoint{Folder: folder}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("reading checkpoint %s: %w", folder, err)
	}
	return c, nil
}

func (c *Checkpoint) read() error {
	var metadata struct {
		ID string `json:"id"`
	}
	text, err := os.ReadFile(filepath.Join(c.Folder, "metadata"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it has no file metadata", ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &metadata); err != nil {
		return fmt.Errorf("reading its metadata: %w", err)
	}
	c.QueryID = metadata.ID

	planned, err := numbered(filepath.Join(c.Folder, "offsets"))
	if err != nil {
		return err
	}
	committed, err := numbered(filepath.Join(c.Folder, "commits"))
	if err != nil {
		return err
	}
	for _, id := range planned {
		text, err := os.ReadFile(c.path("offsets", id))
		if errors.Is(err, fs.ErrNotExist) {
			continue // Spark has just deleted it
		}
		if err != nil {
			return err
		}
		batch, topic, err := parseOffsets(text)
		if err != nil {
			return fmt.Errorf("reading micro-batch %d: %w", id, err)
		}
		batch.ID, batch.Committed = id, slices.Contains(committed, id)
		c.Topic = topic
		c.Batches = append(c.Batches, batch)
	}
	for i := range c.Batches {
		switch b := &c.Batches[i]; {
		case b.ID == 0:
			if b.Start, err = c.initialOffsets(); err != nil {
				return err
			}
		case i > 0 && c.Batches[i-1].ID == b.ID-1:
			b.Start = c.Batches[i-1].End
		}
	}
	c.stores, err = findStores(filepath.Join(c.Folder, "state"))
	return err
}

func (c *Checkpoint) path(kind string, id int64) string {
	return filepath.Join(c.Folder, kind, strconv.FormatInt(id, 10))
}

// numbered lists the files of a folder that have a number as their name, in order. A
// folder that is not there has none.
func numbered(folder string) ([]int64, error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []int64
	for _, entry := range entries {
		if id, err := strconv.ParseInt(entry.Name(), 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// logVersion begins each file of Spark's logs that this package reads.
const logVersion = "v1\n"

// offsetsMeta is the second line of a file in offsets/, as far as it is read.
type offsetsMeta struct {
	WatermarkMs int64 `json:"batchWatermarkMs"`
	TimestampMs int64 `json:"batchTimestampMs"`
}

// parseOffsets reads a file of offsets/: the version, a line about the micro-batch, and
// one for each source.
func parseOffsets(text []byte) (Batch, string, error) {
	body, ok := bytes.CutPrefix(text, []byte(logVersion))
	if !ok {
		return Batch{}, "", errors.New("it is not of version v1")
	}
	lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	if len(lines) < 2 {
		return Batch{}, "", errors.New("it has no source")
	}
	var meta offsetsMeta
	if err := json.Unmarshal(lines[0], &meta); err != nil {
		return Batch{}, "", fmt.Errorf("reading its second line: %w", err)
	}
	b := Batch{PlannedAt: time.UnixMilli(meta.TimestampMs).UTC(), sources: len(lines) - 1, meta: json.RawMessage(lines[0])}
	if meta.WatermarkMs > 0 {
		b.Watermark = time.UnixMilli(meta.WatermarkMs).UTC()
	}
	topic := ""
	for i, line := range lines[1:] {
		name, offsets, err := parseKafka(line)
		switch {
		case err != nil:
			return Batch{}, "", err
		case i == 0:
			topic, b.End, b.furthest = name, offsets, maps.Clone(offsets)
			continue
		case name != topic:
			return Batch{}, "", fmt.Errorf("it reads the topics %s and %s, not one", topic, name)
		}
		for partition, offset := range offsets {
			b.End[partition] = min(b.End[partition], offset)
			b.furthest[partition] = max(b.furthest[partition], offset)
		}
	}
	return b, topic, nil
}

// parseKafka reads the offsets of a Kafka source of one topic.
func parseKafka(text []byte) (topic string, offsets Offsets, err error) {
	var topics map[string]Offsets
	if err := json.Unmarshal(text, &topics); err != nil {
		return "", nil, fmt.Errorf("reading the offsets of Kafka: %w", err)
	}
	names := slices.Collect(maps.Keys(topics))
	if len(names) != 1 {
		return "", nil, fmt.Errorf("it has the offsets of %d topics, not of one", len(names))
	}
	return names[0], topics[names[0]], nil
}

// initialOffsets reads where the first micro-batch began. The source writes them, and
// before them a byte that versions of Spark before 2.1 wanted.
func (c *Checkpoint) initialOffsets() (Offsets, error) {
	text, err := os.ReadFile(filepath.Join(c.Folder, "sources", "0", "0"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(bytes.TrimPrefix(text, []byte{0}), []byte(logVersion))
	if !ok {
		return nil, errors.New("its initial offsets are not of version v1")
	}
	_, offsets, err := parseKafka(body)
	return offsets, err
}
