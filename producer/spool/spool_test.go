package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"example.com/bookstore/producer/internal/synclog"
)

const mib = 1 << 20

// open opens a queue that the test closes, and its log.
func open(t *testing.T, cfg Config) (*Spool, *synclog.Buffer) {
	t.Helper()
	log := new(synclog.Buffer)
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	if cfg.Limit == 0 {
		cfg.Limit = 64 * mib
	}
	if cfg.Dir == "" {
		cfg.Dir = "spool"
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, log
}

func entries(texts ...string) [][]byte {
	var out [][]byte
	for _, text := range texts {
		out = append(out, []byte(text))
	}
	return out
}

func put(s *Spool, texts ...string) error {
	sync, err := s.Write(entries(texts...))
	if err != nil {
		return err
	}
	return sync()
}

func mustPut(t *testing.T, s *Spool, texts ...string) {
	t.Helper()
	if err := put(s, texts...); err != nil {
		t.Fatal(err)
	}
}

// take empties the queue in steps of up to n.
func take(t *testing.T, s *Spool, n int) []string {
	t.Helper()
	var out []string
	for {
		got, err := s.Peek(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			if s.Len() != 0 {
				t.Errorf("Len = %d of an empty queue", s.Len())
			}
			return out
		}
		for _, e := range got {
			out = append(out, string(e))
		}
		s.Discard(len(got))
	}
}

func numbered(from, to int, size int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("%06d%s", i, strings.Repeat("x", size)))
	}
	return out
}

func checkSame(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("entry %d is %.20q, want %.20q", i, got[i], want[i])
		}
	}
}

func TestEntriesComeOutInOrder(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": vfs.Default, "memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: filepath.Join(t.TempDir(), "a", "spool"), FS: fs}
			s, log := open(t, cfg)
			want := append(numbered(0, 3000, 2000), strings.Repeat("y", 60_000), "") // several segments, long and empty ones
			for _, e := range want[:100] {
				mustPut(t, s, e)
			}
			mustPut(t, s, want[100:]...)
			if s.Len() != len(want) || s.Bytes() < 6_000_000 {
				t.Errorf("Len = %d, Bytes = %d", s.Len(), s.Bytes())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, _ = open(t, cfg)
			mustPut(t, s, "last")
			checkSame(t, take(t, s, 700), append(want, "last"))
			if s.Bytes() != 0 {
				t.Errorf("Bytes = %d of an empty queue", s.Bytes())
			}
			if log.String() != "" {
				t.Errorf("a healthy run logged:\n%s", log)
			}
		})
	}
}

func TestDiscardedEntriesStayAway(t *testing.T) {
	cfg := Config{FS: vfs.NewMem()}
	s, _ := open(t, cfg)
	mustPut(t, s, numbered(0, 100, 0)...)
	for want := range 40 {
		got, err := s.Peek(1)
		if err != nil || len(got) != 1 || string(got[0]) != fmt.Sprintf("%06d", want) {
			t.Fatalf("Peek = %s, %v", got, err)
		}
		s.Discard(1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, cfg)
	if s.Len() != 60 {
		t.Errorf("Len = %d, want 60", s.Len())
	}
	checkSame(t, take(t, s, 7), numbered(40, 100, 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What has been discarded of a segment must not be taken for that of a later one.
	for range 3 {
		s, _ = open(t, cfg)
		mustPut(t, s, numbered(0, 50, 0)...)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = open(t, cfg)
		checkSame(t, take(t, s, 50), numbered(0, 50, 0))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// counting counts the syncs of segments, which take as long as it says.
func counting(fs vfs.FS, takes time.Duration) (vfs.FS, *atomic.Int64) {
	syncs := new(atomic.Int64)
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, segmentSuffix) {
			syncs.Add(1)
			time.Sleep(takes) // the disk's time, not a wait of the test
		}
		return nil
	})), syncs
}

func TestEveryWriteIsSynced(t *testing.T) {
	fs, syncs := counting(vfs.NewMem(), 0)
	s, _ := open(t, Config{FS: fs})
	for i := range 10 {
		before := syncs.Load()
		mustPut(t, s, numbered(i, i+3, 0)...)
		if syncs.Load() == before {
			t.Fatalf("write %d returned without a sync", i)
		}
	}
}

func TestSyncsAreShared(t *testing.T) {
	fs, syncs := counting(vfs.NewMem(), 2*time.Millisecond)
	s, _ := open(t, Config{FS: fs})
	var group sync.WaitGroup
	const writers, each = 50, 10
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := put(s, fmt.Sprintf("%d %d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n := syncs.Load(); n > writers*each/4 {
		t.Errorf("%d syncs for %d writes of %d writers", n, writers*each, writers)
	}
	if got := take(t, s, 100); len(got) != writers*each {
		t.Errorf("%d entries, want %d", len(got), writers*each)
	}
}

// The machine may stop at any moment, and keep any part of what was not synced.
func TestCrashLosesNothingThatWasSynced(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		fs := vfs.NewCrashableMem()
		if err := fs.MkdirAll("spool", 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := fs.OpenDir("")
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Sync(); err != nil {
			t.Fatal(err)
		}
		s, _ := open(t, Config{FS: fs, Limit: mib}) // small segments
		const writers = 8
		var safe [writers]atomic.Int64
		var stop atomic.Bool
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for i := 0; !stop.Load(); i++ {
					err := put(s, fmt.Sprintf("%d %d %s", w, i, strings.Repeat("z", 300*w)))
					if errors.Is(err, ErrFull) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					safe[w].Store(int64(i + 1))
				}
			})
		}
		for deadline := time.Now().Add(10 * time.Second); safe[0].Load() < int64(1+round*3) && time.Now().Before(deadline); {
			time.Sleep(50 * time.Microsecond)
		}
		var atLeast [writers]int64
		for w := range writers {
			atLeast[w] = safe[w].Load()
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: round % 3 * 50, RNG: random})
		stop.Store(true)
		group.Wait()

		again, _ := open(t, Config{FS: crashed, Limit: mib})
		var next [writers]int64
		for _, e := range take(t, again, 50) {
			var w int
			var i int64
			if _, err := fmt.Sscanf(e, "%d %d ", &w, &i); err != nil {
				t.Fatalf("%.20q: %v", e, err)
			}
			if i != next[w] {
				t.Fatalf("round %d: writer %d: entry %d after %d", round, w, i, next[w]-1)
			}
			next[w]++
		}
		for w := range writers {
			if next[w] < atLeast[w] {
				t.Errorf("round %d: writer %d has lost entries %d to %d", round, w, next[w], atLeast[w]-1)
			}
		}
	}
}

// segmentFiles names the files of a real folder.
func segmentFiles(t *testing.T, dir, ending string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTornEndIsCutOff(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, Config{Dir: dir})
	mustPut(t, s, numbered(0, 10, 1000)...)
	file := segmentFiles(t, dir, segmentSuffix)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// As after kill -9, without what Close adds, and within the last entry.
	if err := os.WriteFile(file, content[:len(content)-300], 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := open(t, Config{Dir: dir})
	mustPut(t, s, "after")
	checkSame(t, take(t, s, 100), append(numbered(0, 9, 1000), "after"))
	if !strings.Contains(log.String(), "cannot be read") || len(segmentFiles(t, dir, ".damaged")) != 1 {
		t.Errorf("the torn end should be told and kept:\n%s", log)
	}
}

func TestKilledWithoutClose(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, Config{Dir: dir})
	mustPut(t, s, numbered(0, 10, 1000)...)
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s, log := open(t, Config{Dir: copied})
	checkSame(t, take(t, s, 100), numbered(0, 10, 1000))
	if log.String() != "" {
		t.Errorf("a whole log that was not closed is nothing to tell:\n%s", log)
	}
}

func TestDamageCostsOneBlock(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, Config{Dir: dir})
	const count, size = 1000, 500
	want := numbered(0, count, size)
	mustPut(t, s, want...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := segmentFiles(t, dir, segmentSuffix)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[3*blockSize+100] ^= 0x40
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := open(t, Config{Dir: dir})
	got := take(t, s, 100)
	if lost := count - len(got); lost < 1 || lost > blockSize/size+2 {
		t.Errorf("%d entries are lost, want those of one block of %d bytes", lost, blockSize)
	}
	for i, last := 0, ""; i < len(got); i++ {
		if len(got[i]) != 6+size || got[i] <= last {
			t.Fatalf("entry %d is %.20q after %.20q", i, got[i], last)
		}
		last = got[i]
	}
	if got[0] != want[0] || got[len(got)-1] != want[count-1] {
		t.Error("the first or the last entry is not there")
	}
	if !strings.Contains(log.String(), "cannot be read") || len(segmentFiles(t, dir, ".damaged")) != 1 {
		t.Errorf("the damage should be told and kept:\n%s", log)
	}
}

func TestDamageWhileOpenIsTold(t *testing.T) {
	dir := t.TempDir()
	s, log := open(t, Config{Dir: dir})
	mustPut(t, s, numbered(0, 10, 1000)...)
	if err := os.Truncate(segmentFiles(t, dir, segmentSuffix)[0], 5500); err != nil {
		t.Fatal(err)
	}
	checkSame(t, take(t, s, 100), numbered(0, 5, 1000))
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "written=10") || len(segmentFiles(t, dir, ".damaged")) != 1 {
		t.Errorf("the loss should be told:\n%s", log)
	}
}

func TestFull(t *testing.T) {
	s, _ := open(t, Config{FS: vfs.NewMem(), Limit: mib})
	var want []string
	for i := range 10_000 {
		batch := numbered(i, i+1, 5000)
		err := put(s, batch...)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, batch...)
	}
	if s.Bytes() > mib || len(want) < 150 {
		t.Errorf("%d entries, %d bytes, want close to %d and not more", len(want), s.Bytes(), mib)
	}
	if err := s.Usable(); !errors.Is(err, ErrFull) {
		t.Errorf("Usable = %v, want ErrFull", err)
	}
	first, err := s.Peek(1000) // all of the first segment
	if err != nil {
		t.Fatal(err)
	}
	s.Discard(len(first))
	if err := s.Usable(); err != nil {
		t.Errorf("Usable = %v after a segment was discarded", err)
	}
	mustPut(t, s, "again")
	checkSame(t, take(t, s, 10), append(want[len(first):], "again"))
}

func TestDiskFailures(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"write": errorfs.OpFileWrite, "sync": errorfs.OpFileSyncData, "create": errorfs.OpCreate, "sync of the folder": errorfs.OpOpenDir,
	} {
		t.Run(name, func(t *testing.T) {
			full := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == kind {
					return syscall.ENOSPC
				}
				return nil
			})}
			s, _ := open(t, Config{FS: errorfs.Wrap(vfs.NewMem(), full)})
			before := []string{"a", "b"}
			mustPut(t, s, before...)
			if kind == errorfs.OpCreate || kind == errorfs.OpOpenDir { // which happen with a new segment only
				checkSame(t, take(t, s, 10), before)
				before = nil
			}
			full.On()
			if err := put(s, "refused"); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "writing to the spool: ") {
				t.Errorf("Write = %v, want ENOSPC", err)
			}
			if err := s.Usable(); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Usable = %v, want ENOSPC", err)
			}
			// The disk is left alone for a while.
			if err := put(s, "refused"); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Write = %v, want ENOSPC", err)
			}
			full.Off()
			deadline := time.Now().Add(10 * time.Second)
			for put(s, "c") != nil {
				if time.Now().After(deadline) {
					t.Fatal("the spool does not recover")
				}
				time.Sleep(10 * time.Millisecond)
			}
			mustPut(t, s, "d")
			if err := s.Usable(); err != nil {
				t.Errorf("Usable = %v after a write", err)
			}
			var got []string
			for _, e := range take(t, s, 10) {
				if e != "refused" { // may have reached the disk all the same
					got = append(got, e)
				}
			}
			checkSame(t, got, append(before, "c", "d"))
		})
	}
}

func TestFullDiskDoesNotStopTheDraining(t *testing.T) {
	full := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate {
			return syscall.ENOSPC
		}
		return nil
	})}
	s, log := open(t, Config{FS: errorfs.Wrap(vfs.NewMem(), full)})
	mustPut(t, s, numbered(0, 10, 0)...)
	full.On()
	checkSame(t, take(t, s, 3), numbered(0, 10, 0))
	if n := strings.Count(log.String(), "tidying the spool"); n != 1 {
		t.Errorf("told %d times that the position cannot be noted, want once:\n%s", n, log)
	}
}

func TestOneStoreAtATime(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, Config{Dir: dir})
	_, err := Open(Config{Dir: dir, Limit: mib})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--spool-dir") {
		t.Errorf("a second Open: %v, want the folder and what to do", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Dir: dir})
}

func TestFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: filepath.Join(file, "spool"), Limit: mib}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open = %v, want an error that names the folder", err)
	}
}

func TestClosed(t *testing.T) {
	s, _ := open(t, Config{FS: vfs.NewMem()})
	mustPut(t, s, "a")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(s, "b"); !errors.Is(err, ErrClosed) {
		t.Errorf("Write = %v, want ErrClosed", err)
	}
	if _, err := s.Peek(1); !errors.Is(err, ErrClosed) {
		t.Errorf("Peek = %v, want ErrClosed", err)
	}
	if err := s.Usable(); !errors.Is(err, ErrClosed) {
		t.Errorf("Usable = %v, want ErrClosed", err)
	}
}
