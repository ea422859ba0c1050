package bridgewebhook

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// network is an element of allow_private.
type network struct{ netip.Prefix }

var errNetwork = errors.New(`must be a network as "10.0.0.0/8", or an address as "2001:db8::7"`)

// UnmarshalText reads "10.0.0.0/8" or "192.0.2.7".
func (n *network) UnmarshalText(text []byte) error {
	if a, err := netip.ParseAddr(string(text)); err == nil && a.Zone() == "" {
		n.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil || p.Addr().Is4In6() {
		return errNetwork
	}
	if p.Masked() != p {
		return fmt.Errorf("has bits behind the prefix; the network is %q", p.Masked().String())
	}
	n.Prefix = p
	return nil
}

// special are ranges that are not the public Internet, beside those that netip knows
// (RFC 6890 and the IANA registries of special-purpose addresses).
var special = []struct {
	netip.Prefix
	what string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "of this network"},
	{netip.MustParsePrefix("100.64.0.0/10"), "private (carrier-grade NAT)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "reserved"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a private gateway to IPv4"},
	{netip.MustParsePrefix("2001::/23"), "reserved"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("2002::/16"), "a gateway to IPv4"}, // 6to4, which nobody uses any more
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

var (
	global = netip.MustParsePrefix("2000::/3")
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
)

// notPublic says what an address is that is not a public one, "" if it is.
func notPublic(a netip.Addr) string {
	switch {
	case a.IsLoopback():
		return "this machine's own"
	case a.IsPrivate():
		return "private"
	case a.IsLinkLocalUnicast():
		return "link-local"
	}
	for _, s := range special {
		if s.Contains(a) {
			return s.what
		}
	}
	if nat64.Contains(a) { // how IPv4 is reached from networks that have none
		b := a.As16()
		return notPublic(netip.AddrFrom4([4]byte(b[12:])))
	}
	if a.Is6() && !global.Contains(a) {
		return "not a public one"
	}
	return ""
}

// checkAddress says why no connection may be made to an address.
func (c *Config) checkAddress(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsMulticast() || a.IsUnspecified() {
		return fmt.Errorf("%s is no address of a server", a)
	}
	what := notPublic(a)
	if what == "" {
		return nil
	}
	for _, n := range c.AllowPrivate {
		if n.Contains(a) {
			return nil
		}
	}
	return &addressError{a, what}
}

// addressError is why no connection is made.
type addressError struct {
	addr netip.Addr
	what string
}

func (e *addressError) Error() string {
	return fmt.Sprintf("%s is %s: requests may go there if allow_private has it", e.addr, e.what)
}

// control is that of net.Dialer: it is called with the address to which a connection is
// about to be made, behind all names and redirects.
func (c *Config) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return c.checkAddress(ap.Addr())
}
