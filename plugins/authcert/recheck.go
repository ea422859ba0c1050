package authcert

import (
	"context"

	"github.com/patchbay-mq/patchbay/sdk"
)

// recheck asks again about the clients that this plugin has let in, and closes the
// connections of those that it would not let in now, or as somebody else.
func (p *plugin) recheck(ctx context.Context) error {
	policy := p.policy.Load()
	if !policy.disconnect {
		return nil
	}
	for _, name := range []string{"clients", "disconnect"} {
		if p.host.Granted(name) == nil {
			p.host.Logger().Warn("certificates have changed, and connections stay open without the grant " + name)
			return nil
		}
	}
	fields := sdk.FieldAttributes | sdk.FieldTLS
	if policy.needsDER {
		fields |= sdk.FieldCertificate
	}
	closed := 0
	// Pages of a list are kept in order of client ids, which closing does not change.
	for c, err := range p.host.Clients(ctx, sdk.ClientsRequest{AllNamespaces: true, Fields: uint32(fields), PageSize: 1000}) {
		if err != nil {
			return err
		}
		if !p.isOurs(c) || p.stays(policy, c) {
			continue
		}
		found, err := p.host.Disconnect(ctx, sdk.DisconnectRequest{
			Namespace: c.Namespace, ClientID: c.ClientID, ReasonCode: uint32(sdk.NotAuthorized), Reason: "the certificate is refused now",
			Connection: c.Connection,
		})
		if err != nil {
			return err
		}
		if found {
			closed++
		}
	}
	p.closed.Add(float64(closed))
	p.host.Logger().Info("certificates have changed", "connections_closed", closed)
	return nil
}

// isOurs reports whether this plugin has let a client in.
func (p *plugin) isOurs(c *sdk.Client) bool {
	if c.TLS == nil || c.TLS.Certificate == nil {
		return false
	}
	for _, a := range c.Attributes {
		if a.Name == p.attribute() {
			return true
		}
	}
	return false
}

// stays reports whether a client would be let in as it is.
func (p *plugin) stays(policy *policy, c *sdk.Client) bool {
	id, bad := policy.judge(c.TLS, c.ClientID, p.now())
	return bad == nil && id != nil && id.Username == c.Username && (id.Namespace == "" || id.Namespace == c.Namespace)
}
