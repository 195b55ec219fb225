// Package spool keeps events on the store's own disk while the brokers do not take
// them. It stands beside the data's path, between the store's endpoints and the
// topic: a bounded queue in a write-ahead log, into which nothing is written in
// vain, since Write's sync returns only once the disk has it.
//
// The log is Pebble's: records with checksums in blocks of 32 KiB, synced in
// groups. A queue is a row of such logs, the segments; the first is deleted once
// everything in it has been discarded. Damage costs the entries that it is in and no
// other: it is counted, and the file is kept.
package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrFull says that the entries would not fit below the limit.
	ErrFull = errors.New("the spool is full")

	// ErrClosed says that Close was called.
	ErrClosed = errors.New("the spool is closed")
)

const (
	// maxSegment is how large a segment becomes, in bytes, if the limit allows some of
	// that size. It is also what Peek holds in memory.
	maxSegment = 4 << 20

	// entryOverhead is more than the log adds to an entry: the headers of its chunks and
	// the rest of a block that it leaves empty.
	entryOverhead = 64

	// retryAfter is how long the disk is left alone after it refused a write.
	retryAfter = time.Second
)

// Config says where a Spool is and how large it may become.
type Config struct {
	Dir    string       // made if absent; belongs to one Spool at a time
	Limit  int64        // most bytes on disk; with 0 the spool is always full
	Logger *slog.Logger // slog.Default() if nil
	FS     vfs.FS       // vfs.Default if nil
}

// Spool is a queue on disk. Write may be called from any number of goroutines, Peek and
// Discard from one.
type Spool struct {
	cfg         Config
	segmentSize int64
	lock        io.Closer
	places      chan struct{} // for syncs under way, of which the log takes so many
	syncs       prometheus.Histogram

	damaged, damagedBytes prometheus.Counter

	mu       sync.Mutex
	segments []*segment // oldest first
	active   *segment   // the last of segments, or nil if none is written to
	next     uint64     // number of the next segment
	closed   bool
	failure  error     // what the disk said last, until a write succeeds
	failed   time.Time // when

	head      [][]byte // entries of the first segment, read by Peek; nil if not yet
	discarded int      // how many of head
	untidy    bool     // the folder could not be tidied, which has been told
}

// segment is one log, and a file.
type segment struct {
	number  uint64
	name    string    // path of the file
	size    int64     // bytes, as written so far
	entries int       // written, whether or not they were synced
	synced  int       // of which so many were
	earlier bool      // of an earlier run
	damage  []stretch // that cannot be read
	lost    bool      // some of that was an event, or may have been
	log     *record.LogWriter
}

// Open opens the queue in the folder with everything that was written to it and not
// discarded. Its error says what to do if another store has it open.
func Open(cfg Config) (*Spool, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	s := &Spool{
		cfg: cfg, segmentSize: min(maxSegment, cfg.Limit/4), places: make(chan struct{}, record.SyncConcurrency-1),
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bookstore_store_spool_sync_seconds", Help: "Time that the disk takes for a sync of the spool, which many events share.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bookstore_store_spool_damaged_files_total", Help: "Files of the spool of which a part cannot be read; they are kept with the ending .damaged.",
		}),
		damagedBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bookstore_store_spool_damaged_bytes_total", Help: "Bytes of the spool that cannot be read, the whole of each event of which a part cannot.",
		}),
	}
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	var err error
	if s.lock, err = cfg.FS.Lock(s.path("LOCK")); err != nil {
		return nil, fmt.Errorf("locking the spool %s: %w; if another store is using it, give this one a folder of its own with --spool-dir", cfg.Dir, err)
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the spool %s: %w", cfg.Dir, err), s.lock.Close())
	}
	return s, nil
}

func (s *Spool) path(name string) string { return s.cfg.FS.PathJoin(s.cfg.Dir, name) }

const (
	segmentSuffix = ".log"
	damagedSuffix = ".damaged" // after segmentSuffix
)

// recover finds the segments of an earlier run. None of them is written to again, so
// that nothing comes after a torn end.
func (s *Spool) recover() error {
	names, err := s.cfg.FS.List(s.cfg.Dir)
	if err != nil {
		return err
	}
	position := s.readPosition()
	s.next = position.segment + 1
	for _, name := range names {
		if number, ok := segmentNumber(strings.TrimSuffix(name, damagedSuffix)); ok {
			s.next = max(s.next, number+1)
		}
	}
	for _, name := range sortedSegments(names) {
		number, _ := segmentNumber(name)
		seg := &segment{number: number, name: s.path(name), earlier: true}
		entries, err := s.read(seg)
		if err != nil {
			return err
		}
		seg.entries, seg.synced = len(entries), len(entries)
		if len(seg.damage) > 0 {
			s.tell(seg, "a part of the spool cannot be read; what can be is sent, and the file is kept with the ending .damaged", len(entries))
		}
		if number < position.segment || len(entries) == 0 {
			if err := s.drop(seg); err != nil {
				return err
			}
			continue
		}
		s.segments = append(s.segments, seg)
		if number == position.segment {
			switch {
			case len(seg.damage) > 0: // its entries are counted differently
			case position.of(entries):
				s.discarded = position.entries
			default:
				s.doubt(errors.New("it is of another file"))
			}
		}
	}
	return s.syncDir()
}

// Write adds entries to the end of the queue, in their order and after those of every
// earlier call. They are safe once sync returns nil, which waits for the disk; sync must
// be called. If it returns an error, some of them may be in the queue all the same.
//
// The error is ErrFull if there is no room for all of them, in which case none is
// written, ErrClosed, or what the disk says.
func (s *Spool) Write(entries [][]byte) (sync func() error, err error) {
	s.places <- struct{}{} // given back by the log
	seg, done, err := s.write(entries)
	if err != nil {
		<-s.places
		return nil, err
	}
	return func() error { return s.synced(seg, done, len(entries)) }, nil
}

// pending is a sync under way.
type pending struct {
	wait sync.WaitGroup
	err  error
}

func (s *Spool) write(entries [][]byte) (*segment, *pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	if s.failure != nil && time.Since(s.failed) < retryAfter {
		return nil, nil, s.failure
	}
	size := int64(0)
	for _, e := range entries {
		size += int64(len(e)) + entryOverhead
	}
	if s.bytes()+size > s.cfg.Limit {
		return nil, nil, ErrFull
	}
	if s.active != nil && s.active.size > 0 && s.active.size+size > s.segmentSize {
		s.seal()
	}
	if s.active == nil {
		if err := s.begin(); err != nil {
			return nil, nil, s.fail(err)
		}
	}
	seg, done := s.active, new(pending)
	done.wait.Add(1)
	for i, e := range entries {
		var err error
		if i < len(entries)-1 {
			_, err = seg.log.WriteRecord(e)
		} else {
			_, err = seg.log.SyncRecord(e, &done.wait, &done.err)
		}
		if err != nil { // an earlier sync has failed
			s.seal()
			return nil, nil, s.fail(err)
		}
	}
	seg.entries += len(entries)
	seg.size = seg.log.Size()
	return seg, done, nil
}

// synced waits for the disk.
func (s *Spool) synced(seg *segment, done *pending, entries int) error {
	done.wait.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if done.err != nil {
		// What the disk has of a file whose sync failed is not known, so nothing more is
		// written to it.
		if s.active == seg {
			s.seal()
		}
		return s.fail(done.err)
	}
	seg.synced += entries
	s.failure = nil
	return nil
}

func (s *Spool) fail(err error) error {
	s.failure, s.failed = fmt.Errorf("writing to the spool: %w", err), time.Now()
	return s.failure
}

// begin makes a new segment and writes to it from now on.
func (s *Spool) begin() error {
	name := s.path(fmt.Sprintf("%010d%s", s.next, segmentSuffix))
	file, err := s.cfg.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := s.syncDir(); err != nil {
		return errors.Join(err, file.Close(), s.cfg.FS.Remove(name))
	}
	s.active = &segment{number: s.next, name: name, log: record.NewLogWriter(dataSynced{file}, logNumber, record.LogWriterConfig{
		QueueSemChan:        s.places,
		WALFsyncLatency:     inSeconds{s.syncs},
		WriteWALSyncOffsets: func() bool { return true },
	})}
	s.next++
	s.segments = append(s.segments, s.active)
	return nil
}

// seal ends the active segment. Its error is that of the syncs that wait for it.
func (s *Spool) seal() {
	_ = s.active.log.Close()
	s.active = nil
}

func (s *Spool) syncDir() error {
	dir, err := s.cfg.FS.OpenDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Peek returns the oldest entries, at least one and at most n, or none if the queue is
// empty. They stay in the queue until Discard.
func (s *Spool) Peek(n int) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.closed {
			return nil, ErrClosed
		}
		if s.head == nil {
			if len(s.segments) == 0 {
				return nil, nil
			}
			first := s.segments[0]
			if first == s.active {
				s.seal()
			}
			entries, err := s.read(first)
			if err != nil {
				return nil, fmt.Errorf("reading the spool: %w", err)
			}
			// What was never synced has been refused, and may be torn.
			if len(entries) < first.synced {
				s.tell(first, "events of the spool cannot be read any more; the file is kept with the ending .damaged", len(entries))
				s.discarded = 0 // they are counted differently; to send some again is harmless
			}
			s.head = append([][]byte{}, entries...) // not nil
		}
		if rest := s.head[min(s.discarded, len(s.head)):]; len(rest) > 0 {
			return rest[:min(n, len(rest))], nil
		}
		s.dropFirst()
	}
}

// Discard takes the first n entries out of the queue, which Peek has returned.
func (s *Spool) Discard(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discarded += n
	if s.discarded >= len(s.head) {
		s.dropFirst()
	} else {
		s.tidied(s.writePosition(position{s.segments[0].number, s.discarded, checksum(s.head[s.discarded-1])}))
	}
}

// dropFirst deletes the first segment, of which nothing is left.
func (s *Spool) dropFirst() {
	first := s.segments[0]
	s.segments, s.head, s.discarded = s.segments[1:], nil, 0
	// First the position, so that an interruption leaves no segment to be sent again.
	s.tidied(errors.Join(s.writePosition(position{segment: first.number + 1}), s.drop(first)))
}

// tidied tells, once until it is mended, that the folder could not be tidied. The queue
// itself is not concerned: at worst the next start sends some entries again.
func (s *Spool) tidied(err error) {
	if err != nil && !s.untidy {
		s.cfg.Logger.Warn("tidying the spool; what has been sent may be sent again after a restart", "error", err)
	}
	s.untidy = err != nil
}

// tell logs and counts the damage of a segment.
func (s *Spool) tell(seg *segment, text string, readable int) {
	var places []string
	bytes := 0
	for _, d := range seg.damage {
		bytes += d.to - d.from
		if len(places) < mostPlaces {
			places = append(places, fmt.Sprintf("%d-%d", d.from, d.to))
		}
	}
	if !seg.lost {
		s.damaged.Inc()
		s.damagedBytes.Add(float64(bytes))
	}
	seg.lost = true
	s.cfg.Logger.Error(text, "file", seg.name, "readable", readable, "written", seg.synced, "damaged_bytes", bytes, "places", strings.Join(places, " "))
}

// mostPlaces bounds how many damaged places of a file are logged.
const mostPlaces = 10

// drop deletes the file of a segment, or keeps it aside if not all of it could be read.
func (s *Spool) drop(seg *segment) error {
	var err error
	if seg.lost {
		err = s.cfg.FS.Rename(seg.name, seg.name+damagedSuffix)
	} else {
		err = s.cfg.FS.Remove(seg.name)
	}
	if err != nil {
		return fmt.Errorf("deleting what the spool has no more need of: %w", err)
	}
	return nil
}

// SetAside keeps an entry that is not to be in the queue any more in a file of its own,
// whose name it returns.
func (s *Spool) SetAside(entry []byte) (name string, err error) {
	name = s.path("set-aside-" + uuid.NewString())
	file, err := s.cfg.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", err
	}
	_, err = file.Write(slices.Clone(entry)) // which may change it
	if err := errors.Join(err, file.Sync(), file.Close(), s.syncDir()); err != nil {
		return "", err
	}
	return name, nil
}

// Len is how many entries are in the queue.
func (s *Spool) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := -s.discarded
	for i, seg := range s.segments {
		if i == 0 && s.head != nil {
			n += len(s.head)
		} else {
			n += seg.entries
		}
	}
	return max(n, 0)
}

// Collectors are of how long syncs take, and of what cannot be read.
func (s *Spool) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.syncs, s.damaged, s.damagedBytes}
}

// Limit is how large the queue may become, in bytes.
func (s *Spool) Limit() int64 { return s.cfg.Limit }

// Bytes is how large the queue is on disk.
func (s *Spool) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes()
}

func (s *Spool) bytes() int64 {
	var n int64
	for _, seg := range s.segments {
		n += seg.size
	}
	return n
}

// Usable returns nil if entries can be written, as far as is known, else why not.
func (s *Spool) Usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.failure != nil && time.Since(s.failed) < failureCounts:
		return s.failure
	case s.bytes()+maxUsable > s.cfg.Limit:
		return ErrFull
	}
	return nil
}

const (
	// maxUsable is the room below which Usable calls the spool full: that of one large event.
	maxUsable = 128 << 10

	// failureCounts is how long Usable believes that the disk still refuses writes.
	failureCounts = 10 * time.Second
)

// Close syncs and closes the queue, which stays on disk as it is.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.active != nil {
		err = s.active.log.Close()
		s.active = nil
	}
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("closing the spool: %w", err)
	}
	return nil
}

// dataSynced is a file of which a sync leaves out what nobody needs to read it, such as
// the time of its last change. Its size is not left out.
type dataSynced struct{ vfs.File }

func (f dataSynced) Sync() error { return f.SyncData() }

// inSeconds observes what the log measures in nanoseconds.
type inSeconds struct{ prometheus.Histogram }

func (h inSeconds) Observe(nanoseconds float64) { h.Histogram.Observe(nanoseconds / 1e9) }

// sortedSegments picks the names of segments, oldest first.
func sortedSegments(names []string) []string {
	var found []string
	for _, name := range names {
		if _, ok := segmentNumber(name); ok {
			found = append(found, name)
		}
	}
	slices.SortFunc(found, func(a, b string) int {
		na, _ := segmentNumber(a)
		nb, _ := segmentNumber(b)
		return cmp.Compare(na, nb)
	})
	return found
}

func segmentNumber(name string) (uint64, bool) {
	base, ok := strings.CutSuffix(filepath.Base(name), segmentSuffix)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(base, 10, 64)
	return number, err == nil
}
