package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// bridgeStatus is the answer about one bridge: what the plugin says at its route "status",
// with what the broker has waiting for it.
type bridgeStatus struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Health string `json:"health,omitempty"`
	// Error is why the plugin could not be asked.
	Error   string         `json:"error,omitempty"`
	Bridge  string         `json:"bridge,omitempty"`
	Remotes []bridgeRemote `json:"remotes,omitempty"`
	Routes  []bridgeRoute  `json:"routes"`
}

type bridgeRemote struct {
	Name      string    `json:"name"`
	Address   string    `json:"address,omitempty"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Error     string    `json:"error,omitempty"`
}

type bridgeRoute struct {
	Name          string    `json:"name"`
	Direction     string    `json:"direction"`
	Filters       []string  `json:"filters,omitempty"`
	Ack           string    `json:"ack,omitempty"`
	Messages      int64     `json:"messages"`
	Bytes         int64     `json:"bytes"`
	Rate          float64   `json:"rate"`
	Errors        int64     `json:"errors"`
	Refused       int64     `json:"refused"`
	OldestUnsent  float64   `json:"oldest_unsent_seconds"`
	InHand        int       `json:"in_hand"`
	Backlog       int       `json:"backlog"`
	BacklogBytes  int64     `json:"backlog_bytes"`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`
	LastTime      time.Time `json:"last_time,omitzero"`
}

// bridgeTimeout is how long a bridge may take to say how it is.
const bridgeTimeout = 5 * time.Second

// isBridge reports whether a plugin has a page that says how it is as a bridge.
func isBridge(m *pluginv1.Manifest) bool {
	return m != nil && len(m.Consumers) > 0 && slices.ContainsFunc(m.HTTPRoutes, func(r pluginv1.HTTPRoute) bool { return r.Path == "status" })
}

func (s *Server) serveBridges(w http.ResponseWriter, r *http.Request) *failure {
	l := newLines(w)
	if s.opts.Plugins != nil {
		for _, i := range s.opts.Plugins.List() {
			d, ok := s.opts.Plugins.Detail(i.Name)
			if ok && isBridge(d.Manifest) {
				l.put(askBridge(r.Context(), s.opts.Plugins, &d))
			}
		}
	}
	l.end()
	return nil
}

// askBridge asks one bridge.
func askBridge(ctx context.Context, plugins Plugins, d *pluginhost.Detail) *bridgeStatus {
	ctx, cancel := context.WithTimeout(ctx, bridgeTimeout)
	defer cancel()
	out := &bridgeStatus{}
	page := &pageWriter{header: http.Header{}, status: http.StatusOK}
	where := url.URL{Path: "/plugins/" + d.Name + "/status"}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), http.NoBody)
	if err == nil {
		plugins.ServeHTTP(page, r)
		if page.status == http.StatusOK {
			err = json.Unmarshal(page.body, out)
		}
	}
	switch {
	case err != nil:
		out.Error = "its status cannot be read: " + err.Error()
	case page.status != http.StatusOK:
		out.Error = http.StatusText(page.status) + ": " + string(page.body)
	}
	out.Name, out.State, out.Health = d.Name, d.State, d.Health
	if d.Error != "" {
		out.Error = d.Error
	}
	out.wait(d.Consumers)
	return out
}

// wait adds what waits in the broker, which also a bridge that does not answer has.
func (b *bridgeStatus) wait(consumers []pluginhost.ConsumerInfo) {
	for _, c := range consumers {
		i := slices.IndexFunc(b.Routes, func(r bridgeRoute) bool { return r.Name == c.Name && r.Direction == "out" })
		if i < 0 {
			b.Routes = append(b.Routes, bridgeRoute{Name: c.Name, Direction: "out", Filters: c.TopicFilters})
			i = len(b.Routes) - 1
		}
		r := &b.Routes[i]
		r.Backlog, r.BacklogBytes = c.Backlog, c.BacklogBytes
		r.OldestUnsent = max(r.OldestUnsent, float64(c.OldestAge)/1000)
	}
	if b.Routes == nil {
		b.Routes = []bridgeRoute{}
	}
}

// pageWriter keeps a page of a plugin.
type pageWriter struct {
	header http.Header
	status int
	body   []byte
}

func (p *pageWriter) Header() http.Header { return p.header }

func (p *pageWriter) WriteHeader(status int) { p.status = status }

func (p *pageWriter) Write(b []byte) (int, error) {
	p.body = append(p.body, b...)
	return len(b), nil
}
