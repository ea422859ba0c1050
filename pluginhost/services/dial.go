package services

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// fetcher makes the connections of HTTPFetch, for all plugins.
type fetcher struct {
	transport *http.Transport
	resolve   func(ctx context.Context, host string) ([]netip.Addr, error)
}

func newFetcher() *fetcher {
	f := &fetcher{resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
	f.transport = &http.Transport{
		// No Proxy: what the environment says is not meant for plugins.
		DialContext:            f.dial,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return f
}

func (f *fetcher) close() { f.transport.CloseIdleConnections() }

// dial connects to the first address of a host that is allowed and answers.
func (f *fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = f.resolve(ctx, host); err != nil {
		return nil, err
	}
	// One address of several that is not allowed is as if it was not there: some resolvers
	// add such. If it is the only one its error counts.
	err = fmt.Errorf("%s has no address", quote(host))
	var allowed []netip.Addr
	for _, a := range addrs {
		if e := checkAddress(host, a); e != nil {
			err = e
		} else {
			allowed = append(allowed, a.Unmap())
		}
	}
	for i, a := range allowed {
		var c net.Conn
		if c, err = dialOne(ctx, host, network, net.JoinHostPort(a.String(), port), len(allowed)-i); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// dialOne tries one address of n that are left.
func dialOne(ctx context.Context, host, network, address string, n int) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		// What is connected to is what is checked, whoever has resolved it.
		return checkConnection(host, address)
	}}
	if end, ok := ctx.Deadline(); ok && n > 1 {
		d.Timeout = min(d.Timeout, max(time.Until(end)/time.Duration(n), 500*time.Millisecond))
	}
	return d.DialContext(ctx, network, address)
}

func checkConnection(host, address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return checkAddress(host, a.Addr())
}
