package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// logNumber marks a log's records, for writers that use a file again. This one
	// never does.
	logNumber = 1

	blockSize = 32 << 10 // of the log
)

// read returns every entry of a segment that can be read, and notes if there is more.
// Where a block is damaged it goes on with the next, so that one bad sector costs what
// is in it and nothing else.
func (s *Spool) read(seg *segment) ([][]byte, error) {
	file, err := s.cfg.FS.Open(seg.name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	seg.size = info.Size()
	var entries [][]byte
	for start := int64(0); start < seg.size; {
		found, good, err := readFrom(io.NewSectionReader(file, start, seg.size-start))
		entries = append(entries, found...)
		if err == nil {
			break
		}
		if !unreadable(err) {
			return nil, fmt.Errorf("%s: %w", seg.name, err)
		}
		seg.damaged = true
		start += (good/blockSize + 1) * blockSize
	}
	return entries, nil
}

func unreadable(err error) bool {
	return errors.Is(err, record.ErrInvalidChunk) || errors.Is(err, record.ErrZeroedChunk) || errors.Is(err, record.ErrUnexpectedEOF)
}

// readFrom reads entries up to the end or to what is no entry, and returns how many
// bytes were good.
func readFrom(r io.Reader) (entries [][]byte, good int64, err error) {
	log := record.NewReader(r, logNumber)
	for {
		good = log.Offset()
		next, err := log.Next()
		if errors.Is(err, io.EOF) {
			return entries, good, nil
		}
		if err != nil {
			return entries, good, err
		}
		entry, err := io.ReadAll(next)
		if err != nil {
			return entries, good, err
		}
		entries = append(entries, entry)
	}
}

// position is up to where the queue has been discarded: entries of a segment, and every
// segment before it. It is written without a sync. What is lost of it when the machine
// stops is only that some entries are sent again.
type position struct {
	segment uint64
	entries int
}

const positionFile = "POSITION"

// readPosition returns the zero position if there is none that can be read.
func (s *Spool) readPosition() position {
	file, err := s.cfg.FS.Open(s.path(positionFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.cfg.Logger.Warn("reading how far the spool has been sent; all of it is sent again", "error", err)
		}
		return position{}
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(file)
	var p position
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d %d\n", &p.segment, &p.entries)
	}
	if err != nil {
		s.cfg.Logger.Warn("reading how far the spool has been sent; all of it is sent again", "file", s.path(positionFile), "error", err)
		return position{}
	}
	return p
}

func (s *Spool) writePosition(p position) error {
	err := s.replacePosition(p)
	if err != nil {
		return fmt.Errorf("noting how far the spool has been sent: %w", err)
	}
	return nil
}

func (s *Spool) replacePosition(p position) error {
	name := s.path(positionFile)
	file, err := s.cfg.FS.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(file, "%d %d\n", p.segment, p.entries); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return err
	}
	return s.cfg.FS.Rename(name+".new", name)
}
