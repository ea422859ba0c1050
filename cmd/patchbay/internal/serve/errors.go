package serve

import (
	"strings"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

// configError is a fault of the configuration: exit status 2.
type configError struct{ key, text string }

func (e configError) Error() string { return e.key + ": " + e.text }

// ExitCode is the exit status of the program.
func (configError) ExitCode() int { return 2 }

// sourcedError says where the key was set that an error begins with.
type sourcedError struct {
	source config.Source
	error
}

func (e sourcedError) Error() string { return e.source.String() + ": " + e.error.Error() }
func (e sourcedError) Unwrap() error { return e.error }

// sourced adds the file and line, variable or flag to an error that begins with
// the key that is to blame, as those of this package and of internal/admin do; a
// key that has its default has none.
func sourced(err error, meta *config.Meta) error {
	key, _, _ := strings.Cut(err.Error(), ": ")
	// An element of a list that was set as a whole has its source in the list.
	for ; key != ""; key = parent(key) {
		if s := meta.Source(key); s != (config.Source{}) {
			return sourcedError{s, err}
		}
	}
	return err
}

// parent is "listeners[0]" of "listeners[0].tcp", "listeners" of "listeners[0]".
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}
