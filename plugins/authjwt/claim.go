package authjwt

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/permission"
	"github.com/patchbay-mq/patchbay/sdk"
)

// claim says where in the claims something is: names from the outside in. Nil is none.
type claim []string

// parseClaim reads the name of a claim, or a JSON Pointer (RFC 6901).
func parseClaim(s string) (claim, error) {
	if s == "" || s[0] != '/' {
		if s == "" {
			return nil, nil
		}
		return claim{s}, nil
	}
	names := strings.Split(s[1:], "/")
	for i, name := range names {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(name), "~") {
			return nil, errors.New("in a JSON Pointer ~ is written as ~0, and / as ~1")
		}
		names[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	}
	return names, nil
}

func (c claim) String() string {
	if len(c) == 1 {
		return c[0]
	}
	return "/" + strings.Join(c, "/")
}

// in looks the claim up. What is null is not there.
func (c claim) in(claims map[string]any) (any, bool) {
	var v any = claims
	for _, name := range c {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		v = m[name]
	}
	return v, v != nil
}

// text is a value as text: of texts, numbers and truth values.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "true", true
		}
		return "false", true
	}
	return "", false
}

// list is a value as a list of texts; a value that is no list is one of one.
func list(v any) ([]string, bool) {
	values, ok := v.([]any)
	if !ok {
		s, ok := text(v)
		return []string{s}, ok
	}
	out := make([]string, len(values))
	for i, v := range values {
		if out[i], ok = text(v); !ok {
			return nil, false
		}
	}
	return out, true
}

// date is a NumericDate (RFC 7519 §2): seconds since 1970, perhaps with a fraction.
func date(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || math.Abs(seconds) > 253402300799 { // the year 9999
		return time.Time{}, false
	}
	return time.UnixMilli(int64(seconds * 1000)), true
}

// refusal is why a token is not accepted: a word for metrics, and words for people, the
// client among them. A code of 0 stands for that of bad credentials.
type refusal struct {
	kind, reason string
	code         sdk.ReasonCode
}

// checkTimes checks exp, nbf and iat. The time at which the token expires, leeway
// included, is zero if it does not.
func (p *policy) checkTimes(claims map[string]any, now time.Time) (expires time.Time, bad *refusal) {
	times := map[string]time.Time{}
	for _, name := range [...]string{"exp", "nbf", "iat"} {
		v, there := claim{name}.in(claims)
		if !there {
			continue
		}
		t, ok := date(v)
		if !ok {
			return expires, &refusal{kind: "claims", reason: name + " of the token is not a time"}
		}
		times[name] = t
	}
	exp, hasExp := times["exp"]
	iat, hasIat := times["iat"]
	switch {
	case !hasExp && p.requireExpiry:
		return expires, &refusal{kind: "claims", reason: "the token has no exp"}
	case hasExp && !now.Before(exp.Add(p.leeway)):
		return expires, &refusal{kind: "expired", reason: "the token has expired"}
	case now.Add(p.leeway).Before(times["nbf"]):
		return expires, &refusal{kind: "not_yet", reason: "the token is not valid yet"}
	case p.maxAge > 0 && !hasIat:
		return expires, &refusal{kind: "claims", reason: "the token has no iat"}
	case p.maxAge > 0 && now.Sub(iat) > p.maxAge+p.leeway:
		return expires, &refusal{kind: "expired", reason: "the token is too old"}
	case p.maxAge > 0 && iat.Sub(now) > p.leeway:
		return expires, &refusal{kind: "not_yet", reason: "the token is from the future"}
	}
	if hasExp {
		expires = exp.Add(p.leeway)
	}
	return expires, nil
}

// isOurs reports whether the token says that it is of an issuer that this plugin knows.
func (p *policy) isOurs(claims map[string]any) bool {
	if p.issuers == nil {
		return true
	}
	iss, _ := claims["iss"].(string)
	return slices.Contains(p.issuers, iss)
}

// checkClaims checks aud and what verify says, about a client as it says that it is.
func (p *policy) checkClaims(claims map[string]any, w *permission.Who) *refusal {
	if p.audiences != nil {
		v, _ := claim{"aud"}.in(claims)
		aud, ok := list(v)
		if !ok || !slices.ContainsFunc(aud, func(s string) bool { return slices.Contains(p.audiences, s) }) {
			return &refusal{kind: "audience", reason: "the token is for somebody else (aud)"}
		}
	}
	for _, c := range p.verify {
		v, _ := c.claim.in(claims)
		values, ok := list(v)
		want, filled := w.Fill(c.want)
		if !ok || !filled || !slices.Contains(values, want) {
			return &refusal{kind: "claims", reason: "the claim " + c.claim.String() + " of the token does not fit"}
		}
	}
	return nil
}
