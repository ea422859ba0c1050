package authhttp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/plugins/internal/permission"
	"github.com/patchbay-mq/patchbay/sdk"
)

// The accesses of Mosquitto's acl_check, as services know them.
const (
	accRead      = 1
	accWrite     = 2
	accSubscribe = 4
)

// goAuth speaks with services that were written for the HTTP backend of mosquitto-go-auth.
type goAuth struct {
	*service
	subscribe []int
}

func newGoAuth(s *service) *goAuth {
	g := &goAuth{s, s.config.SubscribeACC}
	if g.subscribe == nil {
		g.subscribe = []int{accSubscribe, accRead}
	}
	return g
}

func (g *goAuth) login(ctx context.Context, q *question) (answer, error) {
	// mosquitto-go-auth knows nobody without name or password.
	if !q.auth.HasUsername || !q.auth.HasPassword {
		return answer{}, nil
	}
	out := answer{result: deny, code: sdk.NotAuthorized, ttl: -1}
	ok, err := g.ask(ctx, "authenticate", q, map[string]any{
		"username": q.client.Username, "password": string(q.auth.Password), "clientid": q.client.ClientID,
	})
	if err != nil || !ok {
		return out, err
	}
	out.result = allow
	if g.endpoints["superuser"] == nil {
		return out, nil
	}
	if ok, err = g.ask(ctx, "superuser", q, map[string]any{"username": q.client.Username}); ok {
		out.identity = sdk.Identity{HasPermissions: true, Permissions: permission.Everything()}
	}
	return out, err
}

func (g *goAuth) permit(context.Context, *question) (answer, error) {
	return answer{}, errors.ErrUnsupported // mosquitto-go-auth has no such question
}

func (g *goAuth) authorize(ctx context.Context, q *question) (answer, error) {
	needed := []int{accWrite}
	if q.access == sdk.AccessSubscribe {
		needed = g.subscribe
	}
	out := answer{result: deny, code: sdk.NotAuthorized, ttl: -1}
	for _, acc := range needed {
		ok, err := g.ask(ctx, "authorize", q, map[string]any{
			"username": q.client.Username, "clientid": q.client.ClientID, "topic": q.topic, "acc": acc,
		})
		if err != nil || !ok {
			return out, err
		}
	}
	out.result = allow
	return out, nil
}

// ask reports whether the service says yes.
func (g *goAuth) ask(ctx context.Context, name string, q *question, fields map[string]any) (bool, error) {
	e := g.endpoints[name]
	contentType, body, err := contentJSON, []byte(nil), error(nil)
	if e.config.Encoding == encodingForm {
		values := map[string]string{}
		for name, v := range fields {
			switch v := v.(type) {
			case string:
				values[name] = v
			case int:
				values[name] = strconv.Itoa(v)
			}
		}
		contentType, body = contentForm, []byte(form(values))
	} else if body, err = marshal(fields); err != nil || !utf8.Valid(q.password()) {
		// Two passwords that differ must not look the same to the service.
		return false, cmp.Or(err, errUnusable)
	}
	r, err := e.plain(contentType, body)
	if err != nil {
		return false, err
	}
	res, err := e.ask(ctx, r)
	if err != nil || res.status < 200 || res.status >= 300 {
		return false, err
	}
	switch g.config.ResponseMode {
	case "text":
		return string(res.body) == "ok", nil
	case "json":
		var in struct {
			OK bool `json:"ok"`
		}
		if err := json.Unmarshal(res.body, &in); err != nil {
			return false, &invalid{err}
		}
		return in.OK, nil
	}
	return true, nil
}
