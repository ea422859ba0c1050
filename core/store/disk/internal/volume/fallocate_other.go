//go:build !linux

package volume

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fallocate says that a file has to be written to get its blocks.
func fallocate(vfs.File, int64) error { return errors.ErrUnsupported }
