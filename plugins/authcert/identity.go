package authcert

import (
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/clientid"
	"github.com/patchbay-mq/patchbay/sdk"
)

// clientIDInvalid is MQTT's Client Identifier not valid.
const clientIDInvalid sdk.ReasonCode = 0x85

// refusal is why a certificate is not accepted: a word for metrics, and words for people,
// the client among them.
type refusal struct {
	kind, reason string
	code         sdk.ReasonCode
}

// fits is an identity that was made of a certificate, with the client ids that go with it.
type fits struct {
	sdk.Identity
	clientIDs []string
}

// judge decides about the holder of a certificate who asks for a client id. Both results
// are nil if nothing fits and the next plugin may decide.
func (p *policy) judge(t *sdk.TLS, clientID string, now time.Time) (*sdk.Identity, *refusal) {
	c := t.Certificate
	if ms := now.UnixMilli(); ms > c.NotAfterMs || ms < c.NotBeforeMs {
		return nil, &refusal{"expired", "the certificate is not valid now", sdk.NotAuthorized}
	}
	found, bad := p.find(t)
	switch {
	case bad != nil:
		return nil, bad
	case found == nil && p.leave:
		return nil, nil
	case found == nil:
		return nil, &refusal{"unmatched", "the certificate is not known", sdk.NotAuthorized}
	}
	id := &found.Identity
	if id.Namespace == "" {
		id.Namespace = p.namespace
	}
	switch {
	case id.ClientID == "":
	case clientID != "" && clientID != id.ClientID:
		return nil, &refusal{"client_id", "the certificate is for another client id", clientIDInvalid}
	default:
		clientID = id.ClientID
	}
	patterns := found.clientIDs
	if patterns == nil {
		patterns = p.clientIDs
	}
	if !clientid.Allowed(patterns, id.Username, clientID) {
		return nil, &refusal{"client_id", "not a client id of this user", clientIDInvalid}
	}
	if p.close {
		id.ExpiresAtMs = c.NotAfterMs
	}
	return id, nil
}

// find makes an identity of a certificate; nil if nothing fits.
func (p *policy) find(t *sdk.TLS) (*fits, *refusal) {
	c := t.Certificate
	if len(c.SHA256) == len(fingerprint{}) {
		if x := p.pins[fingerprint(c.SHA256)]; x != nil {
			if x.deny {
				return nil, &refusal{"denied", "the certificate is refused", sdk.NotAuthorized}
			}
			return x.identity(), nil
		}
	}
	// What names a certificate has says nothing if anybody could have made it.
	if !t.Verified {
		return nil, nil
	}
	n := namesOf(c)
	for i := range p.identities {
		if out, bad := p.identities[i].of(n); out != nil || bad != nil {
			return out, bad
		}
	}
	return nil, nil
}

func (x *pin) identity() *fits {
	out := &fits{sdk.Identity{Username: x.username, ClientID: x.clientID, Namespace: x.namespace}, x.clientIDs}
	if len(x.groups) > 0 {
		out.Attributes = []sdk.Pair{{Name: groupsAttribute, Value: strings.Join(x.groups, ",")}}
	}
	return out
}

// of makes an identity, nil if it does not fit: also if the certificate does not have what
// it is to be made of.
func (x *identity) of(n *names) (*fits, *refusal) {
	taken := map[string]string{}
	for _, m := range x.match {
		values := n.values(m.field)
		i := slices.IndexFunc(values, func(v string) bool { return m.pattern.match(v, taken) })
		if i < 0 {
			return nil, nil
		}
		taken[m.field] = values[i] // of several, ${FIELD} is the one that fits
	}
	value := func(name string) (string, bool) {
		if v, ok := taken[name]; ok {
			return v, true
		}
		if values := n.values(name); len(values) > 0 {
			return values[0], true
		}
		return "", false
	}
	out := &fits{clientIDs: x.clientIDs}
	for _, f := range [...]struct {
		to       *string
		template *text
	}{{&out.Username, x.username}, {&out.ClientID, x.clientID}, {&out.Namespace, x.namespace}} {
		var ok bool
		if f.template == nil {
			continue
		}
		if *f.to, ok = f.template.fill(value); !ok || !isName(*f.to) {
			return nil, nil
		}
	}
	for _, a := range x.attributes {
		if s, ok := a.value.fill(value); ok {
			out.Attributes = append(out.Attributes, sdk.Pair{Name: a.name, Value: s})
		}
	}
	groups, bad := x.groupsOf(n, value)
	if len(groups) > 0 {
		out.Attributes = append(out.Attributes, sdk.Pair{Name: groupsAttribute, Value: strings.Join(groups, ",")})
	}
	return out, bad
}

// groupsOf makes groups; those of fields that the certificate does not have are left out.
func (x *identity) groupsOf(n *names, value func(string) (string, bool)) (out []string, bad *refusal) {
	for _, g := range x.groups {
		var values []string
		if name := g.only(); slices.Contains(fields, name) {
			values = n.values(name)
		} else if s, ok := g.fill(value); ok {
			values = []string{s}
		}
		for _, s := range values {
			if !isGroup(s) {
				return nil, &refusal{"groups", "the certificate has a name that cannot be a group", sdk.NotAuthorized}
			}
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}
