package authhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/patchbay-mq/patchbay/sdk"
)

var invalidateRoute = sdk.HTTPRoute{
	Path: "invalidate", Methods: []string{http.MethodPost}, Description: "Takes answers back: {\"client_id\", \"username\", \"namespace\"}, or all.",
}

// HTTP implements sdk.HTTPHandler: somebody says that rights have changed.
func (p *plugin) HTTP(ctx context.Context, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
	var in struct {
		ClientID  string  `json:"client_id"`
		Username  string  `json:"username"`
		Namespace *string `json:"namespace"`
	}
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.DisallowUnknownFields()
	// No body is all clients.
	if err := d.Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		return &sdk.HTTPResponse{Status: http.StatusBadRequest, Body: []byte(err.Error() + "\n")}, nil
	}
	wish := sdk.InvalidateDecisionsRequest{ClientID: in.ClientID, Username: in.Username, AllNamespaces: in.Namespace == nil}
	if in.Namespace != nil {
		wish.Namespace = *in.Namespace
	}
	if logins := p.service.Load().logins; logins != nil {
		logins.forget(&wish)
	}
	if err := p.host.InvalidateDecisions(ctx, wish); err != nil {
		return nil, err
	}
	return &sdk.HTTPResponse{Status: http.StatusNoContent}, nil
}
