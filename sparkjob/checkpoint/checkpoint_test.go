package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// write makes a checkpoint of a topic with two partitions, as Spark 3.5 writes it: the
// micro-batches first to last, each a second after the other with 10 and 20 records,
// the very last one not committed, and the state that goes with them.
func write(t *testing.T, first, last int64, stateful bool) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "topic", "reads")
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("metadata", `{"id":"58cf1ee5-a738-4d8b-8674-f3f769b32c6d"}`)
	put("sources/0/0", "\x00v1\n"+`{"books":{"1":5,"0":0}}`)
	for id := first; id <= last; id++ {
		put(fmt.Sprintf("offsets/%d", id), fmt.Sprintf("v1\n"+
			`{"batchWatermarkMs":%d,"batchTimestampMs":%d,"conf":{"spark.sql.shuffle.partitions":"2"}}`+"\n"+`{"books":{"1":%d,"0":%d}}`,
			id*1000, began.Add(time.Duration(id)*time.Second).UnixMilli(), 5+20*(id+1), 10*(id+1)))
		put(fmt.Sprintf("offsets/.%d.crc", id), "crc")
		if id < last {
			put(fmt.Sprintf("commits/%d", id), "v1\n"+`{"nextBatchWatermarkMs":0}`)
			put(fmt.Sprintf("commits/.%d.crc", id), "crc")
		}
		if stateful {
			for partition := range 2 {
				put(fmt.Sprintf("state/0/%d/%d.delta", partition, id+1), "state")
			}
		}
	}
	if stateful {
		put("state/0/0/_metadata/schema", "schema")
		if first > 0 {
			put(fmt.Sprintf("state/0/0/%d.snapshot", first+3), "whole")
			put(fmt.Sprintf("state/0/1/%d.snapshot", first+2), "whole")
		}
	}
	return "file://" + folder
}

func open(t *testing.T, location string) *Checkpoint {
	t.Helper()
	c, err := Open(location)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOpen(t *testing.T) {
	c := open(t, write(t, 0, 3, false))
	if c.QueryID != "58cf1ee5-a738-4d8b-8674-f3f769b32c6d" || c.Topic != "books" || c.Stateful() || len(c.Batches) != 4 {
		t.Fatalf("Open = %+v", c)
	}
	for i, b := range c.Batches {
		if b.ID != int64(i) || b.Rows() != 30 || b.Committed != (i < 3) || !b.PlannedAt.Equal(began.Add(time.Duration(i)*time.Second)) {
			t.Errorf("micro-batch %d: %+v, %d rows", i, b, b.Rows())
		}
	}
	if !c.Batches[0].Watermark.IsZero() || !c.Batches[2].Watermark.Equal(time.UnixMilli(2000)) {
		t.Errorf("watermarks %v, %v", c.Batches[0].Watermark, c.Batches[2].Watermark)
	}
	if last := c.Last(); last.ID != 2 {
		t.Errorf("Last = %d, want 2", last.ID)
	}
	for _, test := range []struct {
		partition int
		offset    int64
		want      int64
	}{{0, 0, 0}, {0, 9, 0}, {0, 10, 1}, {1, 5, 0}, {1, 64, 2}, {1, 4, -1}, {0, 40, -1}, {7, 0, -1}} {
		got := int64(-1)
		if b := c.Find(test.partition, test.offset); b != nil {
			got = b.ID
		}
		if got != test.want {
			t.Errorf("Find(%d, %d) = %d, want %d", test.partition, test.offset, got, test.want)
		}
	}
	if old := open(t, write(t, 7, 9, false)); old.Batches[0].Rows() != -1 || old.Batches[1].Rows() != 30 {
		t.Errorf("the rows of micro-batches 7 and 8 are %d and %d", old.Batches[0].Rows(), old.Batches[1].Rows())
	}
}

func TestOpenTellsWhatIsNotThere(t *testing.T) {
	root := t.TempDir()
	for location, want := range map[string]error{
		"hdfs://namenode/checkpoints/books/reads":   ErrNotVisible,
		"file:///var/no/such/checkpoints/a/b":       ErrNotVisible,
		"file://" + root + "/books/reads":           ErrNotFound,
		"file://" + filepath.Dir(root) + "/x/reads": ErrNotFound,
	} {
		if _, err := Open(location); !errors.Is(err, want) {
			t.Errorf("Open(%s): %v, want %v", location, err, want)
		}
	}
	location := write(t, 0, 1, false)
	path, _ := Path(location)
	for _, text := range []string{"v2\n{}\n{}", "v1\n{}", "v1\n{}\n{}\n{}", "v1\n{}\n" + `{"a":{}}` + "\n" + `{"b":{}}`, "v1\n{}\n" + `{"a":{},"b":{}}`, "v1\nx\n{}"} {
		if err := os.WriteFile(filepath.Join(path, "offsets", "1"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(location); err == nil || !strings.Contains(err.Error(), "micro-batch 1") {
			t.Errorf("Open with %q: %v", text, err)
		}
	}
}

// A query may read the topic twice, as a UNION does.
func TestSourcesThatReadDifferentlyFar(t *testing.T) {
	location := write(t, 0, 3, false)
	path, _ := Path(location)
	for id := range 4 {
		name := filepath.Join(path, "offsets", fmt.Sprint(id))
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// The second source is a record ahead in partition 0 and one behind in 1.
		text = fmt.Appendf(text, "\n"+`{"books":{"0":%d,"1":%d}}`, 10*(id+1)+1, 5+20*(id+1)-1)
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := open(t, location)
	if want := (Offsets{0: 20, 1: 44}); !maps.Equal(c.Batch(1).End, want) || c.Batch(1).Rows() != 30 {
		t.Errorf("micro-batch 1 ends at %v, want %v", c.Batch(1).End, want)
	}
	// One source has read offset 20 of partition 0 in micro-batch 1 already.
	r, err := c.ToOffsets(Offsets{0: 20})
	if err != nil || r.Keep != 0 || !r.Moved || r.ReadAgain != 21 {
		t.Errorf("ToOffsets = %+v, %v", r, err)
	}
	c = apply(t, r, err)
	if last := c.Last(); last.ID != 1 || last.sources != 2 || !maps.Equal(last.End, r.Next) || !maps.Equal(last.furthest, r.Next) {
		t.Errorf("after the rewind the last micro-batch is %+v", last)
	}
}

// list names the files of a folder, and links that would show a shared file are followed.
func list(t *testing.T, folder string) string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			relative, _ := filepath.Rel(folder, path)
			files = append(files, relative)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(files, " ")
}

func apply(t *testing.T, r Rewind, err error) *Checkpoint {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	before := list(t, r.Checkpoint.Folder)
	if err := r.Apply(); err != nil {
		t.Fatal(err)
	}
	if got := list(t, r.Backup); got != before {
		t.Errorf("the backup has %s, want %s", got, before)
	}
	if entries, _ := os.ReadDir(filepath.Dir(r.Backup)); len(entries) != 2 {
		t.Errorf("%d folders are left, want the checkpoint and its backup", len(entries))
	}
	return open(t, "file://"+r.Checkpoint.Folder)
}

func TestRewindToBatchIsExactToState(t *testing.T) {
	c := open(t, write(t, 0, 3, true))
	r, err := c.ToBatch(1)
	if r.ReadAgain != 60 || r.Dropped != 2 || r.Moved {
		t.Errorf("ToBatch(1) = %+v", r)
	}
	c = apply(t, r, err)
	if got, want := list(t, c.Folder), "commits/.0.crc commits/.1.crc commits/0 commits/1 metadata offsets/.0.crc offsets/.1.crc offsets/0 offsets/1 "+
		"sources/0/0 state/0/0/1.delta state/0/0/2.delta state/0/0/_metadata/schema state/0/1/1.delta state/0/1/2.delta"; got != want {
		t.Errorf("the checkpoint has\n%s, want\n%s", got, want)
	}
	if c.Last().ID != 1 || c.QueryID == "" {
		t.Errorf("the last micro-batch is %d", c.Last().ID)
	}
}

func TestRewindNeedsTheState(t *testing.T) {
	// Of the first micro-batches that are kept, the state is not: the snapshots of the
	// partitions are of versions 8 and 7, and the deltas before them are there from 6.
	c := open(t, write(t, 5, 12, true))
	for id, want := range map[int64]string{4: "not kept", 5: "the one before it", 6: "state is not kept", 12: "not committed", 99: "not kept"} {
		if _, err := c.ToBatch(id); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "from 7 to 11") {
			t.Errorf("ToBatch(%d): %v, want %q", id, err, want)
		}
	}
	if _, err := c.ToBatch(7); err != nil {
		t.Error(err)
	}
	// Offsets within micro-batch 9 mean its beginning; those of long ago cannot be had.
	r, err := c.ToOffsets(Offsets{0: 95, 1: 1000})
	if err != nil || r.Keep != 8 || r.Moved || !maps.Equal(r.Next, c.Batch(8).End) {
		t.Errorf("ToOffsets within micro-batch 9: %+v, %v", r, err)
	}
	if _, err := c.ToOffsets(Offsets{0: 3}); err == nil || !strings.Contains(err.Error(), "--batch 7") {
		t.Errorf("ToOffsets of long ago: %v", err)
	}
	if _, err := c.ToOffsets(Offsets{0: 10_000, 1: 10_000}); err == nil || !strings.Contains(err.Error(), "nothing to go back to") {
		t.Errorf("ToOffsets of what is to come: %v", err)
	}
}

func TestRewindWithoutStateGoesAnywhere(t *testing.T) {
	for name, test := range map[string]struct {
		offsets   Offsets
		keep      int64
		moved     bool
		next      Offsets
		readAgain int64
	}{
		"within a micro-batch": {Offsets{0: 95, 1: 1000}, 8, true, Offsets{0: 95, 1: 265}, 35},
		"at the end of one":    {Offsets{0: 90, 1: 185}, 8, false, Offsets{0: 90, 1: 185}, 120},
		"before all":           {Offsets{0: 1, 1: 7}, -1, true, Offsets{0: 1, 1: 7}, 387},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, write(t, 5, 12, false))
			r, err := c.ToOffsets(test.offsets)
			if r.Keep != test.keep || r.Moved != test.moved || r.ReadAgain != test.readAgain || !maps.Equal(r.Next, test.next) {
				t.Errorf("ToOffsets = %+v, %v", r, err)
			}
			c = apply(t, r, err)
			if last := c.Last(); !maps.Equal(last.End, test.next) || last != &c.Batches[len(c.Batches)-1] {
				t.Errorf("the last micro-batch is %+v", last)
			}
			if string(c.Last().meta) == "" || !strings.Contains(string(c.Last().meta), "shuffle.partitions") {
				t.Errorf("the last micro-batch has lost its settings: %s", c.Last().meta)
			}
		})
	}
}

func TestRewindToBeginning(t *testing.T) {
	c := open(t, write(t, 5, 12, true))
	c = apply(t, c.ToBeginning(), nil)
	if got := list(t, c.Folder); got != "metadata" {
		t.Errorf("the checkpoint has %s, want the metadata alone", got)
	}
}
