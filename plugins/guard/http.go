package guard

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/patchbay-mq/patchbay/sdk"
)

// HTTP implements sdk.HTTPHandler: GET pauses lists who has a pause, DELETE
// pauses?user=NAME&address=ADDRESS ends those of a user, of an address, or of both.
func (p *plugin) HTTP(_ context.Context, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
	now := p.now().UnixMilli()
	if r.Method != http.MethodDelete {
		return reply(http.StatusOK, struct {
			Pauses []paused `json:"pauses"`
		}{p.ledger.pauses(now)})
	}
	q, err := url.ParseQuery(r.Query)
	user, network := q.Get("user"), q.Get("address")
	if err != nil || user == "" && network == "" {
		return reply(http.StatusBadRequest, failure{"give user or address in the query"})
	}
	if len(user) > maxKey {
		user = digest(user)
	}
	if network != "" {
		prefix, why := parseRange(network)
		if a, err := netip.ParseAddr(network); err == nil {
			prefix = p.policy.Load().network(a.Unmap())
		}
		if why != "" {
			return reply(http.StatusBadRequest, failure{why})
		}
		network = prefix.String()
	}
	if !p.ledger.lift(network, user, now) {
		return reply(http.StatusNotFound, failure{"nothing is counted against them"})
	}
	p.host.Logger().Info("failed logins forgiven by an operator", "user", user, "address", network, "operator", r.Operator)
	return reply(http.StatusOK, struct{}{})
}

type failure struct {
	Error string `json:"error"`
}

func reply(status uint32, v any) (*sdk.HTTPResponse, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &sdk.HTTPResponse{Status: status, Headers: []sdk.Pair{{Name: "content-type", Value: "application/json"}}, Body: append(body, '\n')}, nil
}
