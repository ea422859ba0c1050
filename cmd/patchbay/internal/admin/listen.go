package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

// listenTCP opens admin.listen. The address is resolved once, and what it
// resolved to is both judged and listened on.
func listenTCP(ctx context.Context, c *config.Admin) (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	if !addr.IP.IsLoopback() && c.Token == "" && c.ClientCA == "" {
		return nil, fmt.Errorf("admin.listen: %s is not loopback: set admin.token, or admin.client_ca with admin.cert and admin.key", c.Listen)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("admin.listen: %s: %w (is another broker running? choose another address, or off)", c.Listen, syscall.EADDRINUSE)
	case err != nil:
		return nil, fmt.Errorf("admin.listen: %s: %w", c.Listen, innermost(err))
	}
	return ln, nil
}

// innermost strips the layers in which package net repeats the address.
func innermost(err error) error {
	var op *net.OpError
	for errors.As(err, &op) {
		err = op.Err
	}
	return err
}

// tlsConfig returns nil where the listener is plain HTTP.
func tlsConfig(c *config.Admin) (*tls.Config, error) {
	if c.Cert == "" {
		if c.ClientCA != "" {
			return nil, errors.New("admin.client_ca: needs admin.cert and admin.key")
		}
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("admin.cert: %s with admin.key %s: %w", c.Cert, c.Key, err)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.ClientCA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("admin.client_ca: %w", err)
	}
	t.ClientCAs = x509.NewCertPool()
	if !t.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("admin.client_ca: %s: no certificate in it (PEM is wanted)", c.ClientCA)
	}
	t.ClientAuth = tls.RequireAndVerifyClientCert
	return t, nil
}
