package authhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/patchbay-mq/patchbay/sdk"
)

// emqx speaks with services that were written for the HTTP authenticator and authoriser of
// EMQX 5.
type emqx struct{ *service }

// emqxAnswer is what comes back; what else there may be is ignored, as EMQX does.
type emqxAnswer struct {
	Result      string          `json:"result"`
	IsSuperuser any             `json:"is_superuser"`
	ClientAttrs map[string]any  `json:"client_attrs"`
	ClientID    string          `json:"clientid_override"`
	ExpireAt    *json.Number    `json:"expire_at"`
	ACL         json.RawMessage `json:"acl"`
}

var (
	emqxLogin     = map[string]string{"username": "${username}", "password": "${password}"}
	emqxAuthorize = map[string]string{"username": "${username}", "topic": "${topic}", "action": "${action}"}
)

func (x *emqx) login(ctx context.Context, q *question) (answer, error) {
	in, a, err := x.ask(ctx, "authenticate", emqxLogin, q)
	if err != nil || in == nil || a.result != allow {
		return a, err
	}
	if a.identity, err = in.identity(q); err != nil {
		return answer{}, &invalid{err}
	}
	return a, nil
}

// identity is what the client gets.
func (in *emqxAnswer) identity(q *question) (sdk.Identity, error) {
	b := newBuilder(q)
	b.name("client_id", in.ClientID, &b.id.ClientID)
	for _, name := range slices.Sorted(maps.Keys(in.ClientAttrs)) {
		value, ok := text(in.ClientAttrs[name])
		if !ok {
			b.fail("client_attrs: %.64q is not a text", name)
		}
		b.attribute(name, value)
	}
	if in.ExpireAt != nil {
		seconds, err := in.ExpireAt.Float64()
		if err != nil {
			b.fail("expire_at: %w", err)
		}
		b.expires(seconds)
	}
	superuser, _ := text(in.IsSuperuser)
	switch {
	case superuser == "true" || superuser == "1":
		b.everything()
	case in.ACL != nil && string(in.ACL) != "null":
		b.permissions(in.ACL)
	}
	return b.id, b.err
}

func (x *emqx) permit(context.Context, *question) (answer, error) {
	return answer{}, errors.ErrUnsupported // EMQX has no such question
}

func (x *emqx) authorize(ctx context.Context, q *question) (answer, error) {
	_, a, err := x.ask(ctx, "authorize", emqxAuthorize, q)
	return a, err
}

// ask puts a question; the fields of the answer are nil if it has none.
func (x *emqx) ask(ctx context.Context, name string, fields map[string]string, q *question) (*emqxAnswer, answer, error) {
	e := x.endpoints[name]
	if e.config.Body != nil {
		fields = e.config.Body
	} else if e.config.Method == http.MethodGet {
		fields = nil // all is in the URL
	}
	r, err := e.filled(q, fields)
	if err != nil {
		return nil, answer{}, err
	}
	res, err := e.ask(ctx, r)
	if err != nil {
		return nil, answer{}, err
	}
	a := answer{ttl: -1, code: sdk.NotAuthorized}
	switch res.status {
	case http.StatusNoContent:
		a.result = allow
		return nil, a, nil
	case http.StatusOK:
	default:
		return nil, a, nil // ignored, whatever it says
	}
	in, err := readEMQX(res)
	if err != nil {
		return nil, answer{}, &invalid{err}
	}
	switch in.Result {
	case "allow":
		a.result = allow
	case "deny":
		a.result = deny
	}
	return in, a, nil
}

func readEMQX(res *response) (*emqxAnswer, error) {
	in := new(emqxAnswer)
	switch res.contentType {
	case contentJSON:
		d := json.NewDecoder(bytes.NewReader(res.body))
		d.UseNumber()
		if err := d.Decode(in); err != nil {
			return nil, err
		}
	case contentForm:
		values, err := url.ParseQuery(string(res.body))
		if err != nil {
			return nil, err
		}
		in.Result, in.IsSuperuser, in.ClientID = values.Get("result"), values.Get("is_superuser"), values.Get("clientid_override")
	default:
		return nil, fmt.Errorf("its content type is %.64q", res.contentType)
	}
	return in, nil
}

// text is a value as text: of texts, numbers and truth values.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}
