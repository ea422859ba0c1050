package admin

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// seldomRecorded are points that nobody records who has not named them: they come for
// every receiver of a message, or tell nothing.
var seldomRecorded = []pluginv1.Point{pluginv1.PointDelivered, pluginv1.PointAcknowledged, pluginv1.PointTick}

// recordedPoints are those of a request, or those that are recorded otherwise.
func recordedPoints(names []string) ([]pluginv1.Point, *failure) {
	var list []pluginv1.Point
	if len(names) == 0 {
		for _, p := range pluginhost.TapPoints() {
			if !slices.Contains(seldomRecorded, p) {
				list = append(list, p)
			}
		}
		return list, nil
	}
	var all []string
	for _, p := range pluginhost.TapPoints() {
		name := pluginhost.PointName(p)
		all = append(all, name)
		if slices.Contains(names, name) {
			list = append(list, p)
		}
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, usageFailure("%q cannot be recorded; these can: %s", name, strings.Join(all, ", "))
		}
	}
	return list, nil
}

// recordBytes is how much of a recording waits for who reads it.
const recordBytes = 16 << 20

// recording is what was tapped and is not written yet, as JSON lines. The broker never
// waits for it: what does not fit is left out, and counted in the line after it.
type recording struct {
	mu   sync.Mutex
	text []byte
	lost uint64
	wake chan struct{}
}

func (r *recording) tell(b *pluginv1.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.text) > recordBytes {
		r.lost += uint64(len(b.Events))
		return
	}
	line := *b
	line.Lost, r.lost = r.lost, 0
	r.text = append(v1json.AppendJSON(r.text, &line), '\n')
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns what there is. spare is memory for what comes.
func (r *recording) take(spare []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.text
	r.text = spare[:0]
	return text
}

// servePluginRecord answers with what is asked and told from now on, as long as somebody
// reads it.
func (s *Server) servePluginRecord(w http.ResponseWriter, r *http.Request) *failure {
	q := r.URL.Query()
	points, fail := recordedPoints(q["point"])
	if fail != nil {
		return fail
	}
	topics := q["topic"]
	if len(topics) == 0 {
		topics = []string{"#"} // without the broker's own ones below $SYS
	}
	for _, filter := range topics {
		if err := checkFilter(filter); err != nil {
			return err
		}
	}
	if s.opts.Plugins == nil {
		return failf(http.StatusNotImplemented, "this broker has no plugin host")
	}
	rec := &recording{wake: make(chan struct{}, 1)}
	closed, err := s.opts.Plugins.Tap(pluginhost.Tap{
		Points: points, TopicFilters: topics, Passwords: q.Has("passwords"), Tell: rec.tell,
	})
	switch {
	case errors.Is(err, pluginhost.ErrTapped):
		return failf(http.StatusConflict, "%v", err)
	case err != nil:
		return failf(http.StatusInternalServerError, "%v", err)
	}
	defer closed()
	s.log.Info("recording for an operator", "topics", topics, "passwords", q.Has("passwords"))
	begin := time.Now()
	defer func() { s.log.Info("recording ended", "took", time.Since(begin).Round(time.Millisecond).String()) }()
	w.Header().Set("Content-Type", "application/jsonl")
	flush := http.NewResponseController(w)
	var spare []byte
	for {
		_ = flush.Flush() // a caller that has gone shows in the context
		select {
		case <-rec.wake:
		case <-r.Context().Done():
			return nil
		case <-s.running.Done():
			return nil
		}
		text := rec.take(spare)
		if _, err := w.Write(text); err != nil {
			return nil
		}
		spare = text
	}
}
