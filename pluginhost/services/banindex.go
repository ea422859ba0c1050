package services

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/hook"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// ban is a Ban that is in force. It is immutable.
type ban struct {
	*pluginv1.Ban
	// prefix is the address, if there is one.
	prefix netip.Prefix
	// reach restricts a ban of all namespaces to those that its maker's grant covered.
	reach spaces
}

// fits reports whether the ban keeps a client out at a time. addr is the client's, invalid
// if it has none.
func (b *ban) fits(c *hook.Client, addr netip.Addr, now int64) bool {
	if b.ExpiresMs != 0 && now >= b.ExpiresMs {
		return false
	}
	if b.AllNamespaces && !b.reach.has(c.Namespace) || !b.AllNamespaces && b.Namespace != c.Namespace {
		return false
	}
	return (b.ClientID == "" || b.ClientID == c.ID) && (b.Username == "" || b.Username == c.Username) &&
		(!b.prefix.IsValid() || addr.IsValid() && b.prefix.Contains(addr))
}

// within reports whether somebody who may act in some namespaces may see and lift the
// ban: it must not reach further.
func (b *ban) within(outer spaces) bool {
	if !b.AllNamespaces {
		return outer.has(b.Namespace)
	}
	if b.reach == nil {
		return outer == nil
	}
	return !slices.ContainsFunc(b.reach, func(n string) bool { return !outer.has(n) })
}

// index finds the bans that may fit a client. Each ban stands under one of the things that it
// gives, the rarest. It is not safe for concurrent use.
type index struct {
	clients   map[string][]*ban
	usernames map[string][]*ban
	prefixes  map[netip.Prefix][]*ban
	// lengths counts the prefixes of each length, [0] of IPv4 and [1] of IPv6: a lookup
	// asks for these only.
	lengths [2][129]int
}

func newIndex() index {
	return index{clients: map[string][]*ban{}, usernames: map[string][]*ban{}, prefixes: map[netip.Prefix][]*ban{}}
}

func (x *index) add(b *ban) {
	switch {
	case b.ClientID != "":
		x.clients[b.ClientID] = append(x.clients[b.ClientID], b)
	case b.Username != "":
		x.usernames[b.Username] = append(x.usernames[b.Username], b)
	default:
		x.prefixes[b.prefix] = append(x.prefixes[b.prefix], b)
		x.lengths[family6(b.prefix.Addr())][b.prefix.Bits()]++
	}
}

func (x *index) remove(b *ban) {
	switch {
	case b.ClientID != "":
		without(x.clients, b.ClientID, b)
	case b.Username != "":
		without(x.usernames, b.Username, b)
	default:
		without(x.prefixes, b.prefix, b)
		x.lengths[family6(b.prefix.Addr())][b.prefix.Bits()]--
	}
}

func without[K comparable](m map[K][]*ban, key K, b *ban) {
	list := slices.DeleteFunc(m[key], func(o *ban) bool { return o == b })
	if len(list) == 0 {
		delete(m, key)
		return
	}
	m[key] = list
}

func family6(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// find returns a ban that fits. It allocates nothing.
func (x *index) find(c *hook.Client, addr netip.Addr, now int64) *ban {
	if b := first(x.clients[c.ID], c, addr, now); b != nil {
		return b
	}
	if b := first(x.usernames[c.Username], c, addr, now); b != nil {
		return b
	}
	if !addr.IsValid() {
		return nil
	}
	counts := &x.lengths[family6(addr)]
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if counts[bits] == 0 {
			continue
		}
		p, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		if b := first(x.prefixes[p], c, addr, now); b != nil {
			return b
		}
	}
	return nil
}

func first(list []*ban, c *hook.Client, addr netip.Addr, now int64) *ban {
	for _, b := range list {
		if b.fits(c, addr, now) {
			return b
		}
	}
	return nil
}

// addressOf returns a client's address, IPv4 as such and without a zone; invalid if it has
// none. It allocates nothing for TCP.
func addressOf(a net.Addr) netip.Addr {
	var addr netip.Addr
	switch a := a.(type) {
	case nil:
	case *net.TCPAddr:
		addr = a.AddrPort().Addr()
	case *net.UDPAddr:
		addr = a.AddrPort().Addr()
	default:
		if p, err := netip.ParseAddrPort(a.String()); err == nil {
			addr = p.Addr()
		}
	}
	return addr.Unmap().WithZone("")
}

// parsePrefix reads an address or a range.
func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, invalid("address %s is neither an IP address nor a range as 192.0.2.0/24", quote(s))
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, invalid("address %s is neither an IP address nor a range as 192.0.2.0/24", quote(s))
	case p != p.Masked():
		return netip.Prefix{}, invalid("address %s: the range begins at %s", quote(s), p.Masked())
	case p.Addr().Is4In6(): // so it has 96 bits at least
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

// bans are those in force, of all plugins and operators.
type bans struct {
	// any is what Any returns, and what Check looks at first.
	any atomic.Bool

	mu    sync.RWMutex
	byID  map[string]*ban
	index index
	sweep sweeper
	ended bool

	// changing keeps stored bans and those in memory the same, and orders the calls of
	// Options.BansChanged. It is held while a disk is waited for; mu is not.
	changing sync.Mutex
	newest   uint64 // of the ids, under changing
}
