package spool

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// logOf is what the disk has of entries that were written, each by itself, to one
// segment. Closed, it has a trailer, which what was killed has not.
func logOf(t *testing.T, texts []string, closed bool) []byte {
	t.Helper()
	dir := t.TempDir()
	s, _ := open(t, Config{Dir: dir})
	for _, text := range texts {
		mustPut(t, s, text)
	}
	if closed {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(segmentFiles(t, dir, segmentSuffix)[0])
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// texts makes entries of given sizes.
func textsOf(sizes ...int) []string {
	var out []string
	for i, size := range sizes {
		out = append(out, fmt.Sprintf("%d:", i)+strings.Repeat(string(rune('a'+i)), size))
	}
	return out
}

func asTexts(entries [][]byte) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, string(e))
	}
	return out
}

// owners says of each byte of a log which entry it belongs to, -1 for none, from what
// the writer's chunks say.
func owners(t *testing.T, log []byte) []int {
	t.Helper()
	list := slices.Repeat([]int{-1}, len(log))
	entry := 0
	for at := 0; at < len(log); {
		kind, payload, ok := chunkAt(log, at)
		if !ok {
			at = blockEnd(log, at)
			continue
		}
		end := at + headerSize + len(payload)
		for i := at; i < end; i++ {
			list[i] = entry
		}
		if kind == kindFull || kind == kindLast {
			entry++
		}
		at = end
	}
	return list
}

func without(list []string, i int) []string {
	if i < 0 {
		return list
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

// Whatever byte changes, and to what, costs its own entry and no other, and is noticed.
func TestEachByteMayChange(t *testing.T) {
	for name, test := range map[string]struct {
		texts []string
		step  int
		masks []byte
	}{
		"small":  {textsOf(3, 0, 50, 1, 200, 7), 1, []byte{0x01, 0x02, 0x03, 0x04, 0x08, 0x80, 0xff}},
		"blocks": {textsOf(100, 40_000, 0, 30_000, 10), 2003, []byte{0x03, 0x80}},
	} {
		t.Run(name, func(t *testing.T) {
			log := logOf(t, test.texts, true)
			if got, damage := scan(log); !slices.Equal(asTexts(got), test.texts) || damage != nil {
				t.Fatalf("of a whole log there are %d entries and the damage %v", len(got), damage)
			}
			of := owners(t, log)
			for i := range log {
				// Headers are where a change may be taken for something else.
				header := i%blockSize < headerSize || i > 0 && of[i] != of[max(0, i-headerSize)]
				if i%test.step != 0 && !header {
					continue
				}
				for _, mask := range test.masks {
					log[i] ^= mask
					got, damage := scan(log)
					log[i] ^= mask
					if !slices.Equal(asTexts(got), without(test.texts, of[i])) {
						t.Fatalf("byte %d (of entry %d) ^ %#x: %d entries come back of %d", i, of[i], mask, len(got), len(test.texts))
					}
					if damage == nil {
						t.Fatalf("byte %d (of entry %d) ^ %#x: not noticed", i, of[i], mask)
					}
				}
			}
		})
	}
}

// Wherever the end is cut off, what is before it comes back, and what is cut in two is
// noticed. That whole entries were there, behind the cut, the rest cannot tell.
func TestEndMayBeCutOffAnywhere(t *testing.T) {
	texts := textsOf(3, 0, 50, 1, 200, 7)
	log := logOf(t, texts, true)
	of := owners(t, log)
	for n := range log {
		got, damage := scan(log[:n])
		whole, inside := len(texts), false
		if of[n] >= 0 {
			whole = of[n]
			inside = n > 0 && of[n-1] == of[n]
		}
		if !slices.Equal(asTexts(got), texts[:whole]) || (damage != nil) != inside {
			t.Fatalf("cut at %d of %d: %d entries and the damage %v, want %d", n, len(log), len(got), damage, whole)
		}
	}
}

// A whole block may be gone, or be another one's.
func TestBlocksMayBeGone(t *testing.T) {
	texts := numbered(0, 600, 300)
	log := logOf(t, texts, true)
	of := owners(t, log)
	blocks := len(log) / blockSize
	for b := range blocks {
		from, to := b*blockSize, (b+1)*blockSize
		for name, content := range map[string][]byte{
			"zero": make([]byte, blockSize), "noise": bytes.Repeat([]byte{0x09, 0x01, 0x05}, blockSize)[:blockSize],
		} {
			damaged := slices.Concat(log[:from], content, log[to:])
			got, damage := scan(damaged)
			first, last := of[from], slices.Max(of[from:to])
			want := slices.Concat(texts[:first], texts[last+1:])
			if !slices.Equal(asTexts(got), want) || damage == nil {
				t.Fatalf("block %d is %s: %d entries and the damage %v, want all but %d to %d", b, name, len(got), damage, first, last)
			}
		}
	}
}

// The queue gives what is not damaged, of this segment and of later ones, tells and
// counts the rest, and keeps the file.
func TestDamageIsToldAndKept(t *testing.T) {
	texts := textsOf(3, 0, 50, 7)
	log := logOf(t, texts, true)
	of := owners(t, log)
	later := logOf(t, []string{"later"}, false)
	for i := 0; i < len(log); i += 3 {
		fs := vfs.NewMem()
		damaged := slices.Clone(log)
		damaged[i] ^= 0x03
		writeFiles(t, fs, map[string][]byte{"0000000007.log": damaged, "0000000009.log": later})
		s, told := open(t, Config{FS: fs})
		checkSame(t, take(t, s, 2), append(without(texts, of[i]), "later"))
		if n := strings.Count(told.String(), "cannot be read"); n != 1 {
			t.Fatalf("byte %d: told %d times:\n%s", i, n, told)
		}
		if files, size := testutil.ToFloat64(s.damaged), testutil.ToFloat64(s.damagedBytes); files != 1 || size < 1 || size > float64(len(log)) {
			t.Fatalf("byte %d: %v files and %v bytes count as damaged", i, files, size)
		}
		kept := readFile(t, fs, "0000000007.log.damaged")
		if !bytes.Equal(kept, damaged) {
			t.Fatalf("byte %d: the damaged file is not kept", i)
		}
		// Another segment never takes its name.
		if s.next != 10 {
			t.Fatalf("the next segment has the number %d", s.next)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func writeFiles(t *testing.T, fs vfs.FS, files map[string][]byte) {
	t.Helper()
	if err := fs.MkdirAll("spool", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		file, err := fs.Create(fs.PathJoin("spool", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(slices.Clone(content)); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	file, err := fs.Open(fs.PathJoin("spool", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// However the file of the position is damaged, nothing is skipped that was not sent.
func TestPositionIsNeverAheadOfTheQueue(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, Config{Dir: dir, Limit: 64 << 10}) // small segments
	const sent = 25
	all := numbered(0, 60, 1000)
	for _, text := range all {
		mustPut(t, s, text)
	}
	for range sent {
		if _, err := s.Peek(1); err != nil {
			t.Fatal(err)
		}
		s.Discard(1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, path := range append(segmentFiles(t, dir, segmentSuffix), filepath.Join(dir, positionFile)) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = content
	}
	if len(files) < 3 {
		t.Fatalf("there are only %d files", len(files))
	}
	right := string(files[positionFile])
	check := func(position string) {
		t.Helper()
		fs := vfs.NewMem()
		files[positionFile] = []byte(position)
		writeFiles(t, fs, files)
		s, log := open(t, Config{FS: fs, Limit: 64 << 10})
		got := take(t, s, 100)
		if position == right {
			checkSame(t, got, all[sent:])
		} else if len(got) <= len(all)-sent || !slices.Equal(got, all[len(all)-len(got):]) || !strings.Contains(log.String(), "all of it is sent again") {
			t.Errorf("position %q: %d entries come back, want more than %d, and that told:\n%s", position, len(got), len(all)-sent, log)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check(right)
	for i := range right {
		check(right[:i])
		for _, c := range []byte("09a \n\x00") {
			if right[i] != c {
				check(right[:i] + string(c) + right[i+1:])
			}
		}
	}
	check(right + right)
	check(right + "x")
	// Whole, but of another queue.
	var p position
	if _, err := fmt.Sscanf(right, "%d %d %x", &p.segment, &p.entries, &p.last); err != nil || p.entries == 0 {
		t.Fatalf("%q: %v", right, err)
	}
	for _, p := range []position{{p.segment, p.entries + 1, p.last}, {p.segment, 1000, p.last}, {p.segment, p.entries, p.last + 1}, {p.segment, -1, p.last}} {
		check(p.text())
	}
}

// An event that is damaged while the queue is open moves nothing that is behind it.
func TestDamageBetweenOpenAndSend(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, Config{Dir: dir})
	mustPut(t, s, numbered(0, 10, 100)...)
	for range 4 {
		if _, err := s.Peek(1); err != nil {
			t.Fatal(err)
		}
		s.Discard(1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, log := open(t, Config{Dir: dir})
	file := segmentFiles(t, dir, segmentSuffix)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[headerSize+10] ^= 1 // of an entry that was sent
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	got := take(t, s, 100)
	if len(got) < 6 || !slices.Equal(got[len(got)-6:], numbered(4, 10, 100)) || !strings.Contains(log.String(), "cannot be read any more") {
		t.Errorf("%d entries come back:\n%s", len(got), log)
	}
}
