package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// The log as Pebble's record.LogWriter writes it: blocks of 32 KiB, in them chunks, each
// an entry or a part of one:
//
//	checksum (4 bytes), length of the payload (2), kind (1), number of the log (4),
//	up to where the log was synced (8), payload
//
// What is left of a block and too small for a chunk is zero. A log that was closed ends
// with a trailer. Pebble's own reader is made for logs that only end badly: it gives up
// at the first chunk that is damaged, and takes some that are for the end.
const (
	blockSize  = 32 << 10
	headerSize = 19

	// logNumber marks a log's records, for writers that use a file again. This one
	// never does.
	logNumber = 1

	kindFull, kindFirst, kindMiddle, kindLast = 9, 10, 11, 12
)

// trailer is the end of a log that was closed: of the next log's number, and of an older
// kind.
var trailer = []byte{0, 0, 0, 0, 0, 0, 5, logNumber + 1, 0, 0, 0}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stretch is a part of a log that cannot be read, from a byte to before another.
type stretch struct{ from, to int }

// scan returns every entry of a log that is whole, and what else there is in it. Behind
// damage it goes on with the next chunk that is whole, wherever that is.
func scan(log []byte) (entries [][]byte, damage []stretch) {
	damaged := func(from, to int) {
		if n := len(damage); n > 0 && damage[n-1].to == from {
			damage[n-1].to = to
		} else {
			damage = append(damage, stretch{from, to})
		}
	}
	begun, entry := -1, []byte(nil) // where the entry began of which there were parts
	broken := func(at int) {
		if begun >= 0 {
			damaged(begun, at)
			begun = -1
		}
	}
	at := 0
	for at < len(log) {
		kind, payload, ok := chunkAt(log, at)
		if !ok {
			rest := log[at:blockEnd(log, at)]
			if (at+len(rest))%blockSize == 0 && len(rest) < headerSize && len(bytes.Trim(rest, "\x00")) == 0 {
				at += len(rest)
				continue
			}
			broken(at)
			if bytes.HasPrefix(trailer, log[at:]) {
				break
			}
			next := at + 1
			for ; next < len(log); next++ {
				if _, _, ok := chunkAt(log, next); ok {
					break
				}
			}
			damaged(at, next)
			at = next
			continue
		}
		end := at + headerSize + len(payload)
		switch {
		case kind == kindFull || kind == kindFirst:
			broken(at)
			begun, entry = at, bytes.Clone(payload)
		case begun >= 0:
			entry = append(entry, payload...)
		default: // what was before is damaged
			damaged(at, end)
		}
		if begun >= 0 && (kind == kindFull || kind == kindLast) {
			entries, begun = append(entries, entry), -1
		}
		at = end
	}
	broken(len(log))
	return entries, damage
}

func blockEnd(log []byte, at int) int { return min((at/blockSize+1)*blockSize, len(log)) }

// chunkAt reads the chunk that begins at a byte, if one does and it is whole.
func chunkAt(log []byte, at int) (kind byte, payload []byte, ok bool) {
	b := log[at:blockEnd(log, at)]
	if len(b) < headerSize || b[6] < kindFull || b[6] > kindLast || binary.LittleEndian.Uint32(b[7:]) != logNumber {
		return 0, nil, false
	}
	end := headerSize + int(binary.LittleEndian.Uint16(b[4:]))
	if end > len(b) {
		return 0, nil, false
	}
	sum := crc32.Checksum(b[6:end], castagnoli)
	if binary.LittleEndian.Uint32(b) != (sum>>15|sum<<17)+0xa282ead8 {
		return 0, nil, false
	}
	return b[6], b[headerSize:end], true
}
