package serve

import (
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// StoreDir is the folder of the durable store within data_dir.
func StoreDir(c *config.Config) string { return filepath.Join(c.DataDir, "store") }

// StoreOptions turns the configuration into the durable store's options.
func StoreOptions(c *config.Config, log *slog.Logger) disk.Options {
	mode, interval, _ := config.ParseSync(c.Sync) // it has been checked
	return disk.Options{
		Dir: StoreDir(c), Sync: syncModes[mode], Interval: interval, Reserve: int64(c.StoreReserve), Logger: log,
	}
}

var syncModes = map[string]disk.SyncMode{"always": disk.SyncAlways, "interval": disk.SyncInterval, "never": disk.SyncNever}

// openStore opens what the configuration names. failed is called if the store
// cannot go on.
func openStore(c *config.Config, log *slog.Logger, failed func(error)) (store.Store, error) {
	if c.Store == "memory" {
		return new(store.Memory), nil
	}
	o := StoreOptions(c, log)
	o.OnFailed = failed
	s, err := disk.Open(o)
	if err != nil {
		return nil, folderError{err}
	}
	return s, nil
}

// folderError says which key names the folder that cannot be used.
type folderError struct{ error }

func (e folderError) Error() string {
	return "data_dir: " + strings.TrimPrefix(e.error.Error(), "data_dir ")
}
func (e folderError) Unwrap() error { return e.error }

// storeError ends the program: what has been accepted but is not stored cannot
// become safe any more, and only a new start can tell what is left.
type storeError struct{ cause error }

func (e storeError) Error() string { return "the store has failed: " + e.cause.Error() }
func (e storeError) Unwrap() error { return e.cause }
