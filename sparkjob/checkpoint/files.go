package checkpoint

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// makeLike makes a folder that has the owner and the mode of another: Spark may run as
// another user, and must be able to write to it.
func makeLike(path string, like fs.DirEntry) error {
	info, err := like.Info()
	if err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
		if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("giving the new folder to user %d, as whom Spark runs: %w; run this as that user", owner.Uid, err)
		}
	}
	return os.Chmod(path, info.Mode().Perm())
}

// copyFile gives a file a second name. Spark never changes a file of a checkpoint, so
// no bytes are copied where the file system can do without.
func copyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return writeFile(to, string(text))
}

// writeFile writes a new file down to the disk.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
