package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// open opens all listeners, or none.
func open(b *broker.Broker, all []place) ([]socket, error) {
	var opened []socket
	for _, p := range all {
		l, err := listener(p)
		if err != nil {
			return nil, err
		}
		tl, err := b.Listen(l)
		switch {
		case err == nil:
			opened = append(opened, socket{place: p, listener: tl, tls: l.Transport.TLS})
		case p.optional && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)):
		case errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("%s: cannot listen on %s: %w, perhaps by another broker; stop that one or choose another address", p.key, p.address, syscall.EADDRINUSE)
		case errors.Is(err, syscall.EACCES):
			return nil, fmt.Errorf("%s: cannot listen on %s: %w; ports below 1024 need a privilege, a socket a folder that may be written", p.key, p.address, syscall.EACCES)
		default:
			return nil, fmt.Errorf("%s: %w", p.key, err)
		}
	}
	return opened, nil
}

func listener(p place) (broker.Listener, error) {
	c := p.config
	t := transport.ListenerConfig{
		Name: c.Name, Network: c.Network(), Address: p.address, MaxConnections: c.MaxConnections,
		AcceptRate: float64(c.AcceptRate), AcceptBurst: c.AcceptBurst, HandshakeTimeout: c.HandshakeTimeout.Std(),
		Proxy: map[string]transport.ProxyMode{
			"off": transport.ProxyOff, "optional": transport.ProxyOptional, "required": transport.ProxyRequired,
		}[c.ProxyProtocol],
	}
	if t.AcceptRate > 0 && t.AcceptBurst == 0 {
		t.AcceptBurst = max(1, int(t.AcceptRate))
	}
	for _, cidr := range c.ProxyTrusted {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return broker.Listener{}, fmt.Errorf("%s: proxy_trusted: %w", p.key, err)
		}
		t.TrustedProxies = append(t.TrustedProxies, prefix)
	}
	if c.WS != "" || c.WSS != "" {
		t.WebSocket = &transport.WSConfig{Path: c.Path, Origins: c.Origins, AnySubprotocol: !c.RequireSubprotocol}
	}
	if c.Unix != "" {
		mode, err := strconv.ParseUint(c.Mode, 8, 32)
		if err != nil {
			return broker.Listener{}, fmt.Errorf("%s: mode: %w", p.key, err)
		}
		t.UnixMode = fs.FileMode(mode)
	}
	if c.Secure() {
		t.TLS = tlsConfig(c)
	}
	return broker.Listener{
		Transport: t, Namespace: c.Namespace, AllowAnonymous: p.anonymous(),
		IdentityAsUsername: c.UseIdentityAsUsername,
	}, nil
}

func tlsConfig(c *config.Listener) *transport.TLSConfig {
	t := &transport.TLSConfig{
		CRLs:       c.CRL,
		MinVersion: map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[c.MinVersion],
		ClientAuth: map[string]transport.ClientAuth{
			"none": transport.ClientCertNone, "optional": transport.ClientCertOptional, "required": transport.ClientCertRequired,
		}[c.ClientCert],
	}
	for _, pair := range c.KeyPairs() {
		t.Certificates = append(t.Certificates, transport.CertFiles{Cert: pair.Cert, Key: pair.Key})
	}
	if c.ClientCA != "" {
		t.ClientCAs = []string{c.ClientCA}
	}
	for _, suite := range tls.CipherSuites() {
		for _, name := range c.CipherSuites {
			if suite.Name == name {
				t.CipherSuites = append(t.CipherSuites, suite.ID)
			}
		}
	}
	return t
}
