package admin

import (
	"bufio"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// lines writes a list as JSON lines while it is being walked over, so that its
// length costs no memory. Whether it is complete, the transfer coding says.
type lines struct {
	buf *bufio.Writer
	enc *json.Encoder
}

const linesBuffer = 16 << 10

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/jsonl")
	l := &lines{buf: bufio.NewWriterSize(w, linesBuffer)}
	l.enc = json.NewEncoder(l.buf)
	l.enc.SetEscapeHTML(false)
	return l
}

// put reports whether there is still somebody to write to.
func (l *lines) put(v any) bool { return l.enc.Encode(v) == nil }

// end writes what is left; a caller that has gone needs nothing.
func (l *lines) end() { _ = l.buf.Flush() }

func (s *Server) serveClients(w http.ResponseWriter, r *http.Request) *failure {
	wanted := inNamespace(r.URL.Query())
	l := newLines(w)
	s.opts.Broker.Clients(func(c broker.ClientInfo) bool { return !wanted(c.Namespace) || l.put(&c) })
	l.end()
	return nil
}

// topicLine counts the subscriptions to one Topic Filter, apart for each shared
// group.
type topicLine struct {
	Filter      string `json:"filter"`
	ShareName   string `json:"share_name,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Subscribers int    `json:"subscribers"`
	MaxQoS      byte   `json:"max_qos"`
}

// serveTopics has to count before it can answer: its memory is that of the
// different filters, not of the subscriptions.
func (s *Server) serveTopics(w http.ResponseWriter, r *http.Request) *failure {
	q := r.URL.Query()
	wanted, within := inNamespace(q), q.Get("filter")
	if q.Has("filter") {
		if err := checkFilter(within); err != nil {
			return err
		}
	}
	type key struct{ namespace, filter string }
	found := map[key]*topicLine{}
	s.opts.Broker.Subscriptions(func(namespace, _ string, sub broker.SubscriptionInfo) bool {
		if r.Context().Err() != nil {
			return false
		}
		if !wanted(namespace) {
			return true
		}
		k := key{namespace, sub.Filter}
		t := found[k]
		if t == nil {
			f, err := topic.ParseFilter(sub.Filter)
			if err != nil || within != "" && !covers(within, f.Filter) {
				return true
			}
			t = &topicLine{Filter: f.Filter, ShareName: f.Group, Namespace: namespace}
			found[k] = t
		}
		t.Subscribers++
		t.MaxQoS = max(t.MaxQoS, sub.QoS)
		return true
	})
	all := make([]*topicLine, 0, len(found))
	for _, t := range found {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *topicLine) int {
		return cmp.Or(cmp.Compare(a.Filter, b.Filter), cmp.Compare(a.ShareName, b.ShareName), cmp.Compare(a.Namespace, b.Namespace))
	})
	l := newLines(w)
	for _, t := range all {
		if !l.put(t) {
			break
		}
	}
	l.end()
	return nil
}

// covers reports whether every Topic Name that inner matches is matched by outer
// too, taking each level for what it may be. Both are valid, without `$share/…/`.
func covers(outer, inner string) bool {
	if inner[0] == '$' && (outer[0] == '+' || outer[0] == '#') {
		return false // [MQTT-4.7.2-1]
	}
	if outer == "+/#" {
		outer = "#" // every name has a first level
	}
	for {
		if outer == "#" {
			return true
		}
		o, outerRest, outerMore := strings.Cut(outer, "/")
		i, innerRest, innerMore := strings.Cut(inner, "/")
		if i == "#" || o != "+" && o != i {
			return false
		}
		if !innerMore {
			// "sport/#" covers its parent level, "sport".
			return !outerMore || outerRest == "#"
		}
		if !outerMore {
			return false
		}
		outer, inner = outerRest, innerRest
	}
}

// retainedLine is a retained message in a list: payloads can be large.
type retainedLine struct {
	Topic     string    `json:"topic"`
	QoS       byte      `json:"qos"`
	Size      int       `json:"payload_bytes"`
	Publisher string    `json:"publisher,omitempty"`
	Received  time.Time `json:"received"`
	Expires   time.Time `json:"expires,omitzero"`
}

func (s *Server) serveRetained(w http.ResponseWriter, r *http.Request) *failure {
	q := r.URL.Query()
	filter := q.Get("filter")
	if err := checkFilter(filter); err != nil {
		return err
	}
	l := newLines(w)
	s.opts.Broker.Retained(q.Get("namespace"), filter, func(m broker.RetainedInfo) bool {
		return l.put(&retainedLine{m.Topic, m.QoS, len(m.Payload), m.Publisher, m.Received, m.Expires})
	})
	l.end()
	return nil
}

func (s *Server) serveRetainedGet(w http.ResponseWriter, r *http.Request) *failure {
	q := r.URL.Query()
	name := q.Get("topic")
	if err := topic.ValidNameString(name); err != nil {
		return usageFailure("%q is not a Topic Name: %v", name, err)
	}
	var found *broker.RetainedInfo
	s.opts.Broker.Retained(q.Get("namespace"), name, func(m broker.RetainedInfo) bool {
		found = &m
		return false
	})
	if found == nil {
		return failf(http.StatusNotFound, "there is no retained message at %q", name)
	}
	return answer(w, http.StatusOK, found)
}
