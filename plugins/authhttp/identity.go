package authhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/permission"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// maxAttribute bounds an attribute, in bytes, maxAttributes and maxGroups how many a
	// client gets: the broker keeps them while the client is connected.
	maxAttribute  = 4096
	maxAttributes = 64
	maxGroups     = 256

	// groupsAttribute is where plugins that give permissions look for groups, with commas
	// between them.
	groupsAttribute = "groups"
)

// errExpired is that of an answer with an end that has passed.
var errExpired = errors.New("it has expired")

// builder makes an identity; err is the first thing that was wrong.
type builder struct {
	id  sdk.Identity
	who permission.Who
	err error
}

func newBuilder(q *question) *builder {
	return &builder{who: permission.Who{Username: q.client.Username, ClientID: q.client.ClientID}}
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// name sets a name that replaces the client's, if there is one.
func (b *builder) name(what, s string, to *string) {
	if s == "" {
		return
	}
	if !permission.Usable(s) {
		b.fail("%s: not a name in MQTT", what)
	}
	*to = s
	switch what {
	case "username":
		b.who.Username = s
	case "client_id":
		b.who.ClientID = s
	}
}

func (b *builder) groups(names []string) {
	if len(names) > maxGroups {
		b.fail("groups: more than %d", maxGroups)
	}
	for _, g := range names {
		if !permission.Usable(g) || strings.TrimSpace(g) != g || strings.Contains(g, ",") {
			b.fail("groups: %.64q cannot be a group", g)
		}
	}
	if len(names) > 0 {
		b.id.Attributes = append(b.id.Attributes, sdk.Pair{Name: groupsAttribute, Value: strings.Join(names, ",")})
	}
}

func (b *builder) attribute(name, value string) {
	for _, a := range b.id.Attributes {
		if a.Name == name {
			b.fail("attributes: %.64q is there twice", name)
		}
	}
	if !permission.Usable(name) || len(name) > maxAttribute || len(value) > maxAttribute || len(b.id.Attributes) >= maxAttributes {
		b.fail("attributes: more than %d, or one with more than %d bytes", maxAttributes, maxAttribute)
	}
	b.id.Attributes = append(b.id.Attributes, sdk.Pair{Name: name, Value: value})
}

// expires is in Unix seconds.
func (b *builder) expires(seconds float64) {
	switch {
	case math.IsNaN(seconds) || seconds < 0 || seconds > 253402300799: // the year 9999
		b.fail("its end is not a time in Unix seconds")
	case seconds*1000 <= float64(time.Now().UnixMilli()):
		b.err = errExpired
	default:
		b.id.ExpiresAtMs = int64(seconds * 1000)
	}
}

func (b *builder) quotas(q *sdk.Quotas) {
	for _, rate := range [...]float64{q.PublishRate, q.PublishBytesRate} {
		if math.IsNaN(rate) || rate < 0 {
			b.fail("quotas: a rate of %v", rate)
		}
	}
	b.id.Quotas = q
}

func (b *builder) everything() {
	b.id.HasPermissions, b.id.Permissions = true, permission.Everything()
}

// permissions reads what the client may do, with names as they have become by now.
func (b *builder) permissions(text json.RawMessage) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		b.id.HasPermissions = true
		b.id.Permissions, err = permission.Read(v, b.who)
	}
	if err != nil {
		b.fail("permissions: %w", err)
	}
}
