package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// store is the state of one operator in one partition. Each micro-batch makes a
// version: micro-batch n begins with version n and leaves version n+1.
type store struct {
	folder string
	whole  []int64 // versions that stand for themselves
	change []int64 // versions that need the one before
}

// fileKinds are the files of both of Spark's state stores: the one in memory, and RocksDB.
var fileKinds = map[string]struct{ whole bool }{
	".snapshot":  {true},
	".zip":       {true},
	".delta":     {false},
	".changelog": {false},
}

// stateVersion returns the version that a file of a store holds.
func stateVersion(name string) (version int64, whole, ok bool) {
	extension := filepath.Ext(name)
	kind, ok := fileKinds[extension]
	if !ok {
		return 0, false, false
	}
	version, err := strconv.ParseInt(strings.TrimSuffix(name, extension), 10, 64)
	return version, kind.whole, err == nil
}

// findStores looks for folders with state below a folder, which need not exist.
func findStores(folder string) ([]store, error) {
	byFolder := map[string]*store{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // or just deleted
		}
		if err != nil || entry.IsDir() {
			return err
		}
		version, whole, ok := stateVersion(entry.Name())
		if !ok {
			return nil
		}
		s := byFolder[filepath.Dir(path)]
		if s == nil {
			s = &store{folder: filepath.Dir(path)}
			byFolder[s.folder] = s
		}
		if whole {
			s.whole = append(s.whole, version)
		} else {
			s.change = append(s.change, version)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var stores []store
	for _, s := range byFolder {
		stores = append(stores, *s)
	}
	slices.SortFunc(stores, func(a, b store) int { return strings.Compare(a.folder, b.folder) })
	return stores, nil
}

// has tells whether a version can be restored: from the last whole one before it, or
// from nothing, and every change since.
func (s store) has(version int64) bool {
	for v := version; v > 0; v-- {
		if slices.Contains(s.whole, v) {
			return true
		}
		if !slices.Contains(s.change, v) {
			return false
		}
	}
	return true
}

// StateBytes is the size of the files of the state, in bytes.
func (c *Checkpoint) StateBytes() (int64, error) {
	var sum int64
	for _, s := range c.stores {
		entries, err := os.ReadDir(s.folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil && !entry.IsDir() {
				sum += info.Size()
			}
		}
	}
	return sum, nil
}
