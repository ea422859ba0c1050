package services

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// addressError is why no connection is made: an address that plugins are not let at
// unless the operator has named it on purpose.
type addressError struct {
	host string
	addr netip.Addr
	why  string
}

func (e *addressError) Error() string {
	if e.host == e.addr.String() {
		return fmt.Sprintf("%s is %s", e.addr, e.why)
	}
	return fmt.Sprintf("%s leads to %s, which is %s", quote(e.host), e.addr, e.why)
}

// checkAddress decides whether a connection to host, for whose origin there is a grant,
// may lead to an address. What is not public has to be named on purpose: by the address itself,
// as localhost, or by a name without a dot, which DNS does not have. Any other name
// is under somebody's control who may let it point anywhere, at another time elsewhere (DNS
// rebinding). So host alone decides, and connections can be shared.
func checkAddress(host string, a netip.Addr) error {
	a = a.Unmap().WithZone("")
	why := notPublic(a)
	switch {
	case a.IsMulticast() || a.IsUnspecified():
		// Nobody serves HTTP there; the latter is another name of loopback.
	case why == "":
		return nil
	case host == a.String():
		return nil
	case host == "localhost":
		if a.IsLoopback() {
			return nil
		}
	case !strings.ContainsAny(host, ".:"):
		if a.IsPrivate() || a.IsLoopback() || carrierGrade.Contains(a) {
			return nil
		}
	}
	return &addressError{host, a, why}
}

// reserved are the ranges that are not public, beside those that netip knows.
var reserved = []struct {
	netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network's own"},
	{carrierGrade, "private (carrier-grade NAT)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "reserved"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("2001::/23"), "reserved"}, // Teredo too, which has an IPv4 address in it
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

var (
	carrierGrade = netip.MustParsePrefix("100.64.0.0/10")
	globalIPv6   = netip.MustParsePrefix("2000::/3")
	nat64        = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour    = netip.MustParsePrefix("2002::/16")
)

// notPublic says what an address is that is not a public one, empty if it is.
func notPublic(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "no address"
	case a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "this machine's own"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast():
		return "multicast"
	case a.IsPrivate():
		return "private"
	}
	for _, r := range reserved {
		if r.Contains(a) {
			return r.why
		}
	}
	if a.Is4() {
		return ""
	}
	// What a gateway makes an IPv4 address of must be a public one.
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return embedded(binary.BigEndian.Uint32(b[12:]))
	case sixToFour.Contains(a):
		return embedded(binary.BigEndian.Uint32(b[2:]))
	case !globalIPv6.Contains(a):
		return "not a global address"
	}
	return ""
}

func embedded(v4 uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v4)
	if why := notPublic(netip.AddrFrom4(b)); why != "" {
		return "a gateway to an address that is " + why
	}
	return ""
}
