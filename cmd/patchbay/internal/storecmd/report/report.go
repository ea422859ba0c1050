// Package report is what `patchbay store stats` and `check` say, as JSON: the
// same for a folder and for the store of a running broker, which answers it
// through its socket. It knows neither HTTP nor the command line.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// Stats are figures about a store.
type Stats struct {
	Folder string `json:"folder"`
	Schema uint64 `json:"schema"`
	// Opened is how often a broker has started on the folder.
	Opened uint64 `json:"starts"`
	// DiskBytes is the size of the folder's files, FreeBytes what is free beside
	// them.
	DiskBytes int64  `json:"disk_bytes"`
	FreeBytes int64  `json:"free_bytes"`
	Full      bool   `json:"full"`
	Kinds     []Kind `json:"kinds"`
	// Running is nil for a folder that no broker has open.
	Running *Running `json:"running,omitempty"`
}

// Kind is how much there is of one kind of record.
type Kind struct {
	Name    string `json:"name"`
	Records int64  `json:"records"`
	// Bytes on disk, compressed, about.
	Bytes int64 `json:"bytes"`
}

// Running are figures since the broker's start.
type Running struct {
	Commits      int64 `json:"commits"`
	Written      int64 `json:"written_messages"`
	Skipped      int64 `json:"skipped_messages"`
	Shared       int64 `json:"shared_messages"`
	BytesWritten int64 `json:"written_bytes"`
	Quarantined  int64 `json:"quarantined"`
}

// kinds are the names of disk.ViewStats in the order in which they are shown.
var kinds = []string{"sessions", "subscriptions", "received", "contents", "index", "shared", "retained", "values", "ended", "quarantine"}

// StatsOf goes over all keys of a store, which takes its time.
func StatsOf(folder string, v *disk.View) (*Stats, error) {
	st, err := v.Stats()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	out := &Stats{Folder: folder, Schema: st.Schema, Opened: st.Boots, DiskBytes: st.DiskBytes, Kinds: []Kind{}}
	st.Records["sessions"] -= st.Records["subscriptions"] + st.Records["received"]
	for _, name := range kinds {
		out.Kinds = append(out.Kinds, Kind{name, st.Records[name], st.Bytes[name]})
	}
	return out, nil
}

// Run adds the figures of a running store.
func (s *Stats) Run(st store.Stats) {
	s.DiskBytes, s.FreeBytes, s.Full = st.DiskBytes, st.FreeBytes, st.Full
	s.Running = &Running{st.Commits, st.Written, st.Skipped, st.Shared, st.BytesWritten, st.Quarantined}
}

// Finding is a line of a check: one of the two.
type Finding struct {
	Problem *Problem `json:"problem,omitempty"`
	Summary *Summary `json:"summary,omitempty"`
}

// Problem is a record with which something is wrong.
type Problem struct {
	Record string `json:"record"`
	What   string `json:"what"`
}

// Summary is the last line of a check that came to its end.
type Summary struct {
	Sessions      int64 `json:"sessions"`
	Subscriptions int64 `json:"subscriptions"`
	Received      int64 `json:"received"`
	Inflight      int64 `json:"inflight"`
	Queued        int64 `json:"queued"`
	Shared        int64 `json:"shared"`
	Retained      int64 `json:"retained"`
	Values        int64 `json:"values"`
	Quarantined   int64 `json:"quarantined"`
	Problems      int64 `json:"problems"`
}

// Check reads everything that a view shows and writes its findings as JSON lines.
// An error says that it could not come to its end.
func Check(w io.Writer, v *disk.View) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	var gone error // whoever listened
	c, err := v.Check(func(p disk.Problem) {
		if gone == nil {
			gone = e.Encode(Finding{Problem: &Problem{p.Record, p.What}})
		}
	})
	if err := errors.Join(gone, err); err != nil {
		return err
	}
	return e.Encode(Finding{Summary: &Summary{
		Sessions: c.Sessions, Subscriptions: c.Subscriptions, Received: c.Received, Inflight: c.Inflight + c.Released, Queued: c.Waiting,
		Shared: c.Shared, Retained: c.Retained, Values: c.Values, Quarantined: c.Quarantined, Problems: c.Problems,
	}})
}
