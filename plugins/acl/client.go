package acl

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Client is what rules know of a client.
type Client struct {
	// Username is empty for a client without one.
	Username  string   `json:"username,omitempty"`
	ClientID  string   `json:"client_id"`
	Namespace string   `json:"namespace,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	// Address is the zero value for unix sockets.
	Address netip.Addr `json:"address,omitzero"`
	// Attributes as authentication has given them.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// groupsAttribute is where authenticators put the groups of a client, with commas between
// them.
const groupsAttribute = "groups"

// clientOf reads what the broker says of a client. The strings are the host's.
func clientOf(c *sdk.Client) Client {
	out := Client{Username: c.Username, ClientID: c.ClientID, Namespace: c.Namespace}
	if a, err := netip.ParseAddrPort(c.RemoteAddress); err == nil {
		out.Address = a.Addr().Unmap().WithZone("")
	}
	if len(c.Attributes) > 0 {
		out.Attributes = make(map[string]string, len(c.Attributes))
	}
	for _, a := range c.Attributes {
		out.Attributes[a.Name] = a.Value
		if a.Name == groupsAttribute {
			out.Groups = splitGroups(a.Value)
		}
	}
	return out
}

func splitGroups(s string) []string {
	var out []string
	for g := range strings.SplitSeq(s, ",") {
		if g = strings.TrimSpace(g); g != "" && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

// value is what a placeholder stands for; group is the one that is meant.
func (c *Client) value(p *part, group string) string {
	switch p.placeholder {
	case userPlaceholder:
		return c.Username
	case clientPlaceholder:
		return c.ClientID
	case namespacePlaceholder:
		return c.Namespace
	case groupPlaceholder:
		return group
	}
	return c.Attributes[p.attribute]
}

// network is a part of the address space, or what is not in it: "unix".
type network struct {
	prefix netip.Prefix
	unix   bool
}

// UnmarshalText reads "10.0.0.0/8", "192.0.2.7" or "unix".
func (n *network) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "unix" {
		n.unix = true
		return nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		n.prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return errNetwork
	case p.Masked() != p:
		return networkError("has bits behind the prefix; the network is " + strconv.Quote(p.Masked().String()))
	case p.Addr().Is4In6(): // then the first 96 bits are in the prefix
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	n.prefix = p
	return nil
}

type networkError string

func (e networkError) Error() string { return string(e) }

const errNetwork = networkError(`must be a network as "10.0.0.0/8", an address as "2001:db8::7", or "unix"`)

func (n *network) has(a netip.Addr) bool {
	if !a.IsValid() {
		return n.unix
	}
	return !n.unix && n.prefix.Contains(a)
}
