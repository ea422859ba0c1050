package authjwt

import (
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/clientid"
	"github.com/patchbay-mq/patchbay/plugins/internal/permission"
	"github.com/patchbay-mq/patchbay/sdk"
)

// clientIDInvalid is MQTT's Client Identifier not valid.
const clientIDInvalid sdk.ReasonCode = 0x85

// maxAttribute bounds what a token puts into an attribute, in bytes, and maxGroups how
// many groups it gives: the broker keeps them while the client is connected.
const (
	maxAttribute = 4096
	maxGroups    = 256
)

// judge decides about a client with a token whose signature is right.
func (p *policy) judge(claims map[string]any, c *sdk.Client, again bool, now time.Time) (sdk.Identity, *refusal) {
	w := permission.Who{Username: c.Username, ClientID: c.ClientID}
	expires, bad := p.checkTimes(claims, now)
	if bad == nil {
		bad = p.checkClaims(claims, &w)
	}
	if bad != nil {
		return sdk.Identity{}, bad
	}
	var id sdk.Identity
	for _, step := range [...]func() *refusal{
		func() *refusal { return p.giveName(claims, &id, &w) },
		func() *refusal { return p.giveClientID(claims, &id, &w) },
		func() *refusal { return p.giveNamespace(claims, &id) },
		func() *refusal { return p.giveAttributes(claims, &id) },
		func() *refusal { return p.givePermissions(claims, &id, &w) },
	} {
		if bad := step(); bad != nil {
			return sdk.Identity{}, bad
		}
	}
	if again && (w.Username != c.Username || w.ClientID != c.ClientID || id.Namespace != "" && id.Namespace != c.Namespace) {
		return sdk.Identity{}, &refusal{kind: "claims", reason: "the token is for another client than the one that is connected", code: sdk.NotAuthorized}
	}
	if p.close && !expires.IsZero() {
		id.ExpiresAtMs = expires.UnixMilli()
	}
	return id, nil
}

func (p *policy) giveName(claims map[string]any, id *sdk.Identity, w *permission.Who) *refusal {
	if p.name == nil {
		// What becomes a part of the answer is not the request's.
		w.Username = strings.Clone(w.Username)
		return nil
	}
	v, _ := p.name.in(claims)
	name, ok := text(v)
	if !ok || !permission.Usable(name) {
		return &refusal{kind: "claims", reason: "the token has no " + p.name.String()}
	}
	id.Username, w.Username = name, name
	return nil
}

func (p *policy) giveClientID(claims map[string]any, id *sdk.Identity, w *permission.Who) *refusal {
	w.ClientID = strings.Clone(w.ClientID)
	if p.id != nil {
		v, _ := p.id.in(claims)
		allowed, ok := list(v)
		if !ok || len(allowed) == 0 || !permission.Usable(allowed[0]) {
			return &refusal{kind: "claims", reason: "the token has no " + p.id.String()}
		}
		switch {
		case w.ClientID == "" || p.replaceID:
			id.ClientID, w.ClientID = allowed[0], allowed[0]
		case !slices.Contains(allowed, w.ClientID):
			return &refusal{kind: "client_id", reason: "the token is for another client id", code: clientIDInvalid}
		}
	}
	if !clientid.Allowed(p.clientIDs, w.Username, w.ClientID) {
		return &refusal{kind: "client_id", reason: "not a client id of this user", code: clientIDInvalid}
	}
	return nil
}

func (p *policy) giveNamespace(claims map[string]any, id *sdk.Identity) *refusal {
	id.Namespace = p.defaultSpace
	if p.space == nil {
		return nil
	}
	v, there := p.space.in(claims)
	space, ok := text(v)
	switch {
	case there && ok && permission.Usable(space):
		id.Namespace = space
	case there || p.defaultSpace == "":
		return &refusal{kind: "claims", reason: "the token has no " + p.space.String()}
	}
	return nil
}

func (p *policy) giveAttributes(claims map[string]any, id *sdk.Identity) *refusal {
	var groups []string
	for _, c := range p.groups {
		v, there := c.in(claims)
		if !there {
			continue
		}
		names, ok := list(v)
		if s, one := v.(string); one {
			names = strings.Fields(s) // as scope has them (RFC 8693 §4.2)
		}
		for _, g := range names {
			// Groups are told as a list with commas: one with a comma in it would be two.
			if ok = ok && permission.Usable(g) && strings.TrimSpace(g) == g && !strings.Contains(g, ","); !ok {
				break
			}
			if !slices.Contains(groups, g) {
				groups = append(groups, g)
			}
		}
		if !ok || len(groups) > maxGroups {
			return &refusal{kind: "claims", reason: "the claim " + c.String() + " of the token cannot be groups"}
		}
	}
	if len(groups) > 0 {
		id.Attributes = append(id.Attributes, sdk.Pair{Name: groupsAttribute, Value: strings.Join(groups, ",")})
	}
	for _, a := range p.attributes {
		v, there := a.claim.in(claims)
		if !there {
			continue
		}
		values, ok := list(v)
		s := strings.Join(values, ",")
		if !ok || len(s) > maxAttribute {
			return &refusal{kind: "claims", reason: "the claim " + a.claim.String() + " of the token cannot be an attribute"}
		}
		id.Attributes = append(id.Attributes, sdk.Pair{Name: a.name, Value: s})
	}
	return nil
}

func (p *policy) givePermissions(claims map[string]any, id *sdk.Identity, w *permission.Who) *refusal {
	if p.grants == nil {
		return nil
	}
	id.HasPermissions = true // without the claim: none
	v, there := p.grants.in(claims)
	if !there {
		return nil
	}
	permissions, err := permission.Read(v, *w)
	if err != nil {
		return &refusal{kind: "permissions", reason: "the permissions of the token: " + err.Error(), code: sdk.NotAuthorized}
	}
	id.Permissions = permissions
	return nil
}
