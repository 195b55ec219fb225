package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// read returns every entry of a segment that can be read, and notes what cannot.
func (s *Spool) read(seg *segment) ([][]byte, error) {
	file, err := s.cfg.FS.Open(seg.name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	log, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", seg.name, err)
	}
	seg.size = int64(len(log))
	entries, damage := scan(log)
	seg.damage = damage
	return entries, nil
}

// position is up to where the queue has been discarded: entries of a segment, and every
// segment before it. It is written without a sync. What is lost of it when the machine
// stops is only that some entries are sent again.
type position struct {
	segment uint64
	entries int
	last    uint32 // checksum of the last of those entries, 0 if there is none
}

// text is the position as the file has it, with a checksum of the rest at its end.
func (p position) text() string {
	line := fmt.Sprintf("%d %d %08x", p.segment, p.entries, p.last)
	return fmt.Sprintf("%s %08x\n", line, checksum([]byte(line)))
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// of tells whether a segment with these entries can be the one that the position is of.
func (p position) of(entries [][]byte) bool {
	switch {
	case p.entries < 0 || p.entries > len(entries):
		return false
	case p.entries == 0:
		return true
	}
	return checksum(entries[p.entries-1]) == p.last
}

const positionFile = "POSITION"

// readPosition returns the zero position if there is none that can be relied on: then
// everything is sent again, which is harmless.
func (s *Spool) readPosition() position {
	file, err := s.cfg.FS.Open(s.path(positionFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.doubt(err)
		}
		return position{}
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(file)
	var p position
	var sum uint32
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d %d %x %x\n", &p.segment, &p.entries, &p.last, &sum)
	}
	if err == nil && p.text() != string(text) {
		err = errors.New("its checksum is wrong")
	}
	if err != nil {
		s.doubt(err)
		return position{}
	}
	return p
}

// doubt tells that the position cannot be relied on.
func (s *Spool) doubt(err error) {
	s.cfg.Logger.Warn("reading how far the spool has been sent; all of it is sent again", "file", s.path(positionFile), "error", err)
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
	if _, err := io.WriteString(file, p.text()); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return err
	}
	return s.cfg.FS.Rename(name+".new", name)
}
