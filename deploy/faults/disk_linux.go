package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"example.com/bookstore/deploy/stack/service"
)

// storeOnSmallDisk restarts the store with its spool on a file system of its own.
func storeOnSmallDisk(ctx context.Context, s *stand) error {
	disk, err := os.MkdirTemp("", "faults-disk-")
	if err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		return errors.Join(fmt.Errorf("%w: mounting a small disk: %w", errSkipped, err), os.Remove(disk))
	}
	s.disk = disk
	return s.restartStore(ctx, "STORE_SPOOL_DIR="+disk)
}

// storeOnItsDisk restarts it where it was, once the small disk holds no event.
func storeOnItsDisk(ctx context.Context, s *stand) error {
	err := poll(ctx, 200*time.Millisecond, time.Minute, func() error {
		n, err := s.metric(ctx, "bookstore_store_spool_events")
		if err == nil && n > 0 {
			err = fmt.Errorf("%.0f events are still in the spool", n)
		}
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(s.restartStore(ctx), s.unmount())
}

// restartStore gives it additional variables.
func (s *stand) restartStore(ctx context.Context, environ ...string) error {
	if err := s.stack(ctx, "stop", service.Store); err != nil {
		return err
	}
	_, err := s.run(ctx, environ, "stack", "start", service.Store)
	return err
}

// unmount takes the small disk away.
func (s *stand) unmount() error {
	if s.disk == "" {
		return nil
	}
	disk := s.disk
	s.disk = ""
	return errors.Join(syscall.Unmount(disk, syscall.MNT_DETACH), os.Remove(disk))
}
