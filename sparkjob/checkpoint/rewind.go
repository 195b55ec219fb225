package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rewind is a way back. It changes nothing until it is applied.
type Rewind struct {
	Checkpoint *Checkpoint
	Keep       int64   // the last micro-batch that stays, -1 for none
	Next       Offsets // what the query reads next; nil for where it began
	Moved      bool    // Next lies between two micro-batches
	Dropped    int     // micro-batches that are forgotten
	ReadAgain  int64   // records, -1 if unknown
	Backup     string  // folder that the checkpoint as it is will have
}

// ToBatch goes back to where micro-batch id had been committed: the one after it is the
// next. The state, if there is any, is the one that it left.
func (c *Checkpoint) ToBatch(id int64) (Rewind, error) {
	if err := c.restorable(id); err != nil {
		oldest, newest := c.restorableRange()
		if newest < 0 {
			return Rewind{}, fmt.Errorf("rewinding to micro-batch %d: %w; none is kept to go back to, --beginning starts over", id, err)
		}
		return Rewind{}, fmt.Errorf("rewinding to micro-batch %d: %w; those from %d to %d can be gone back to", id, err, oldest, newest)
	}
	return c.rewind(id, c.Batch(id).End, false), nil
}

// ToOffsets goes back to where the query had read nothing from the given offsets on. A
// stateless query goes there exactly. A stateful one goes to the end of the last
// micro-batch that is kept and did not read beyond.
func (c *Checkpoint) ToOffsets(offsets Offsets) (Rewind, error) {
	last := c.Last()
	if last == nil {
		return Rewind{}, errors.New("the query has completed no micro-batch yet")
	}
	target, moved := Offsets{}, false
	for partition, end := range c.Batches[len(c.Batches)-1].furthest {
		target[partition] = end
		if offset, ok := offsets[partition]; ok && offset < end {
			target[partition], moved = offset, true
		}
	}
	if !moved {
		return Rewind{}, errors.New("the query has read nothing that was received since then, so there is nothing to go back to")
	}
	keep := int64(-1)
	for _, b := range c.Batches {
		if b.furthest.upTo(target) && c.restorable(b.ID) == nil {
			keep = b.ID
		}
	}
	switch {
	case !c.Stateful():
		exact := keep >= 0 && target.upTo(c.Batch(keep).End)
		return c.rewind(keep, target, !exact), nil
	case keep < 0:
		oldest, newest := c.restorableRange()
		if newest < 0 {
			return Rewind{}, errors.New("the query keeps state, and none from then is left; --beginning starts over")
		}
		return Rewind{}, fmt.Errorf("the query keeps state, and none from then is left: the oldest is that of micro-batch %d, of %s; --batch %d goes back to it, --beginning starts over",
			oldest, c.Batch(oldest).PlannedAt.Format("2006-01-02 15:04:05Z"), oldest)
	}
	return c.rewind(keep, c.Batch(keep).End, false), nil
}

// ToBeginning forgets everything but the query's id: it starts over as a new one would,
// with the first record that Kafka still has.
func (c *Checkpoint) ToBeginning() Rewind { return c.rewind(-1, nil, false) }

func (c *Checkpoint) rewind(keep int64, next Offsets, moved bool) Rewind {
	r := Rewind{
		Checkpoint: c, Keep: keep, Next: next, Moved: moved, ReadAgain: -1,
		Backup: c.Folder + ".before-" + time.Now().UTC().Format("20060102T150405.000Z"),
	}
	for _, b := range c.Batches {
		if b.ID > keep {
			r.Dropped++
		}
	}
	if n := len(c.Batches); n > 0 && next != nil {
		r.ReadAgain = c.Batches[n-1].furthest.since(next)
	}
	return r
}

// upTo tells whether no partition of o is beyond other.
func (o Offsets) upTo(other Offsets) bool {
	for partition, end := range o {
		if end > other[partition] {
			return false
		}
	}
	return true
}

// restorable tells why Spark could not go on after a micro-batch.
func (c *Checkpoint) restorable(id int64) error {
	batch := c.Batch(id)
	switch {
	case batch == nil:
		return errors.New("it is not kept")
	case !batch.Committed:
		return errors.New("it is not committed")
	case id > 0 && c.Batch(id-1) == nil:
		return errors.New("the one before it, which Spark reads as well, is not kept")
	}
	for _, s := range c.stores {
		if !s.has(id + 1) {
			return fmt.Errorf("its state is not kept in %s", s.folder)
		}
	}
	return nil
}

// restorableRange returns the first and the last micro-batch that can be gone back to,
// or -1 and -1.
func (c *Checkpoint) restorableRange() (oldest, newest int64) {
	oldest, newest = -1, -1
	for _, b := range c.Batches {
		if c.restorable(b.ID) == nil {
			if oldest < 0 {
				oldest = b.ID
			}
			newest = b.ID
		}
	}
	return oldest, newest
}

// Apply rewinds. The query must not run. The checkpoint as it was keeps its files, in
// the folder Backup; where Apply returns an error, it is still in its place.
func (r Rewind) Apply() error {
	folder := r.Checkpoint.Folder
	fresh := folder + ".rewinding"
	if err := os.RemoveAll(fresh); err != nil { // left by one that was killed
		return fmt.Errorf("rewinding checkpoint %s: %w", folder, err)
	}
	err := r.build(fresh)
	if err == nil {
		err = os.Rename(folder, r.Backup)
	}
	if err == nil {
		if err = os.Rename(fresh, folder); err != nil {
			err = errors.Join(err, os.Rename(r.Backup, folder))
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("rewinding checkpoint %s: %w", folder, err), os.RemoveAll(fresh))
	}
	return nil
}

// build makes the rewound checkpoint in a folder of its own.
func (r Rewind) build(fresh string) error {
	from := r.Checkpoint.Folder
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(fresh, relative)
		if entry.IsDir() {
			return makeLike(target, entry)
		}
		if !r.keeps(relative) {
			return nil
		}
		return copyFile(path, target)
	})
	if err != nil || !r.Moved {
		return err
	}
	// As if a micro-batch had ended where the query is to go on.
	last := r.Checkpoint.Batches[len(r.Checkpoint.Batches)-1]
	id := strconv.FormatInt(r.Keep+1, 10)
	return errors.Join(
		writeFile(filepath.Join(fresh, "offsets", id), logVersion+string(last.meta)+strings.Repeat("\n"+formatKafka(r.Checkpoint.Topic, r.Next), last.sources)),
		writeFile(filepath.Join(fresh, "commits", id), logVersion+`{"nextBatchWatermarkMs":0}`),
	)
}

// keeps tells whether a file, named by its path in the checkpoint, stays. Hadoop's
// checksum of a file is beside it: .NAME.crc.
func (r Rewind) keeps(path string) bool {
	name := filepath.Base(path)
	if checked, ok := strings.CutSuffix(name, ".crc"); ok {
		name = strings.TrimPrefix(checked, ".")
	}
	kind, _, nested := strings.Cut(filepath.ToSlash(path), "/")
	if !nested { // metadata
		return true
	}
	if r.Keep < 0 && !r.Moved {
		return false
	}
	switch kind {
	case "offsets", "commits":
		id, err := strconv.ParseInt(name, 10, 64)
		return err == nil && id <= r.Keep
	case "state":
		version, _, ok := stateVersion(name)
		return !ok || version <= r.Keep+1
	}
	return true
}

func formatKafka(topic string, offsets Offsets) string {
	var parts []string
	for partition, offset := range offsets {
		parts = append(parts, fmt.Sprintf(`"%d":%d`, partition, offset))
	}
	slices.Sort(parts)
	return fmt.Sprintf(`{%q:{%s}}`, topic, strings.Join(parts, ","))
}
