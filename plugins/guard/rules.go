package guard

import (
	"context"
	"net/netip"

	"github.com/patchbay-mq/patchbay/plugins/internal/glob"
	"github.com/patchbay-mq/patchbay/sdk"
)

// rule is whom to keep out. It is immutable.
type rule struct {
	DenyConfig
	prefix netip.Prefix
}

// newRule reads a rule, or says what is wrong with it, and with which key.
func newRule(c *DenyConfig) (r rule, key, why string) {
	r = rule{DenyConfig: *c}
	if c.ClientID == "" && c.Username == "" && c.Address == "" {
		return r, "", "it needs client_id, username or address: else it would keep everybody out"
	}
	if c.Address != "" {
		if r.prefix, why = parseRange(c.Address); why != "" {
			return r, "/address", why
		}
	}
	return r, "", ""
}

func (r *rule) fits(c *sdk.Client, a netip.Addr) bool {
	return (r.Namespace == "" || r.Namespace == c.Namespace) &&
		(r.ClientID == "" || glob.Match(r.ClientID, c.ClientID)) &&
		(r.Username == "" || c.Username != "" && glob.Match(r.Username, c.Username)) &&
		(r.Address == "" || a.IsValid() && r.prefix.Contains(a))
}

// denied returns the first rule that fits a client, nil if none does.
func (p *policy) denied(c *sdk.Client, a netip.Addr) *rule {
	for i := range p.rules {
		if r := &p.rules[i]; r.fits(c, a) {
			return r
		}
	}
	return nil
}

func (p *policy) exempts(a netip.Addr) bool {
	if a.IsValid() {
		for _, e := range p.exempt {
			if e.Contains(a) {
				return true
			}
		}
	}
	return false
}

// addressOf returns a client's address, invalid if it has none.
func addressOf(c *sdk.Client) netip.Addr {
	p, err := netip.ParseAddrPort(c.RemoteAddress)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap().WithZone("")
}

// network is what counts as one address, invalid for a client without.
func (p *policy) network(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = min(bits, p.Logins.IPv6Prefix)
	}
	n, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return n
}

// closeDenied closes the connections of clients that are kept out from now on.
func (p *plugin) closeDenied(ctx context.Context) error {
	policy := p.policy.Load()
	if len(policy.rules) == 0 {
		return nil
	}
	for _, name := range []string{"clients", "disconnect"} {
		if p.host.Granted(name) == nil {
			p.host.Logger().Warn("clients that deny keeps out stay connected without the grant " + name)
			return nil
		}
	}
	// Pages of a list are kept in order of client ids, which closing does not change.
	for c, err := range p.host.Clients(ctx, sdk.ClientsRequest{AllNamespaces: true, Fields: uint32(sdk.FieldConnection)}) {
		if err != nil {
			return err
		}
		if r := policy.denied(c, addressOf(c)); r != nil {
			p.close(ctx, c, r)
		}
	}
	return nil
}

// close closes the connection of a client that a rule keeps out.
func (p *plugin) close(ctx context.Context, c *sdk.Client, r *rule) {
	found, err := p.host.Disconnect(ctx, sdk.DisconnectRequest{
		Namespace: c.Namespace, ClientID: c.ClientID, ReasonCode: uint32(sdk.AdministrativeAction), Reason: r.Reason, Connection: c.Connection,
	})
	p.note("a client that deny keeps out could not be disconnected", err)
	if err == nil && found {
		p.host.Logger().Info("disconnected a client that deny keeps out", "client", c.ClientID, "namespace", c.Namespace)
	}
}
