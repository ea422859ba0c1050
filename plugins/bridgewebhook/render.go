package bridgewebhook

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
)

// The values of Route.Batch.
const (
	batchNone  = "none"
	batchArray = "array"
	batchLines = "lines"
)

// element is a message in a batch if the config says nothing else. The id is a text, since
// numbers of that size lose digits in JavaScript.
var element = func() template.JSON {
	t, err := template.ParseJSON(`{"id":"${id}","topic":${topic},"qos":${qos},"retain":${retain},"timestamp":${timestamp},"client_id":${client_id},"payload":${payload}}`)
	if err != nil {
		panic(err)
	}
	return t
}()

// route is a route at work. It is immutable, but for most.
type route struct {
	*Route
	p       *plugin
	remote  *remote
	body    *template.Template // nil: the payload
	headers []header           // sorted by name
	kind    string             // Content-Type, unless headers have one; "": that of the message
	most    int                // messages in a request; used by one lane, or under sending.mu
}

type header struct {
	name  string
	value *template.Template
}

func (p *plugin) newRoute(c *Route) *route {
	r := &route{Route: c, p: p, remote: p.remotes.at(c.URL.String()), most: 1}
	switch {
	case !c.Body.Empty():
		r.body = &c.Body.Template
	case !c.Text.Empty():
		r.body = &c.Text.Template
	case c.Batch != batchNone:
		r.body = &element.Template
	}
	if c.Batch != batchNone {
		r.most = int(c.BatchMessages)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		t := c.Headers[name]
		r.headers = append(r.headers, header{canonicalHeader(name), &t.Template})
	}
	r.kind = r.contentType()
	return r
}

// contentType is what bodies are.
func (r *route) contentType() string {
	switch {
	case r.Batch == batchLines:
		return "application/x-ndjson"
	case r.Batch == batchArray, !r.Body.Empty():
		return "application/json"
	case !r.Text.Empty(), r.Codec == template.Base64:
		return "text/plain; charset=utf-8"
	case r.Codec == template.JSONCodec:
		return "application/json"
	}
	return ""
}

// piece is a message as it goes.
type piece struct {
	index int // in the batch
	url   string
	pairs []pair // headers
	body  []byte
}

type pair struct{ name, value string }

// alike reports whether two pieces can go in one request.
func (p *piece) alike(q *piece) bool { return p.url == q.url && slices.Equal(p.pairs, q.pairs) }

// lanes makes of a batch what goes, in lanes: within one it goes in order. Messages of
// which nothing can be made are refused.
func (r *route) lanes(b *bridge.Batch) (lanes [][]piece) {
	where := map[string]int{}
	for i := range b.Messages {
		p, key, err := r.piece(b.Source(i))
		if err != nil {
			b.Refuse(i, err)
			continue
		}
		p.index = i
		at, ok := where[key]
		if !ok {
			at = len(lanes)
			where[key] = at
			lanes = append(lanes, nil)
		}
		lanes[at] = append(lanes[at], p)
	}
	return lanes
}

// piece makes one message's piece, and says which lane it is in.
func (r *route) piece(s *template.Source) (p piece, lane string, err error) {
	if p.url, err = r.URL.Text(s); err != nil {
		return p, "", fmt.Errorf("url: %w", err)
	}
	if p.pairs, err = r.pairs(s); err != nil {
		return p, "", err
	}
	if r.body != nil {
		p.body, err = r.body.Append(nil, s)
	} else {
		p.body, err = r.Codec.Encode(s.Message.Payload)
	}
	if err != nil {
		return p, "", fmt.Errorf("body: %w", err)
	}
	if r.Parallel == 1 {
		return p, "", nil
	}
	if lane, err = r.Key.Text(s); err != nil {
		return p, "", fmt.Errorf("key: %w", err)
	}
	return p, r.lane(lane), nil
}

// lane is the lane of a key: its own, or in batches one of a few, so that a request has
// messages of several keys.
func (r *route) lane(key string) string {
	if r.Batch == batchNone {
		return key
	}
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	return string(rune(h % uint64(r.Parallel)))
}

var errHeader = errors.New("the value has characters that a header cannot have")

// pairs are the headers of a message.
func (r *route) pairs(s *template.Source) ([]pair, error) {
	list := make([]pair, 0, len(r.headers)+1)
	typed := false
	for _, h := range r.headers {
		v, err := h.value.Text(s)
		if err == nil && !validHeaderValue(v) {
			err = errHeader
		}
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", h.name, err)
		}
		typed = typed || h.name == "Content-Type"
		if v != "" {
			list = append(list, pair{h.name, v})
		}
	}
	if typed {
		return list, nil
	}
	kind := r.kind
	if kind == "" {
		if kind = s.Message.ContentType; kind == "" || !validHeaderValue(kind) {
			kind = "application/octet-stream"
		}
	}
	return append(list, pair{"Content-Type", kind}), nil
}
