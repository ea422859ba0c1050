package assistant

import (
	"context"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// guard is a plugin that denies clients to publish below a prefix.
type guard struct{ deny string }

func (g *guard) plugin() sdk.Plugin {
	return sdk.Plugin{Name: "guard", Version: "1.0.0", New: func() any { return g }}
}

// Authorize implements sdk.Authorizer.
func (g *guard) Authorize(_ context.Context, r *sdk.AuthorizeRequest) (sdk.Decision, error) {
	if r.Access == sdk.AccessPublish && strings.HasPrefix(r.Topic, g.deny) {
		return sdk.Deny(sdk.NotAuthorized, "fenced off"), nil
	}
	return sdk.Allow(), nil
}
