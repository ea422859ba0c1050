package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// ClientAuth says whether TLS clients present a certificate.
type ClientAuth uint8

// The values of [TLSConfig].ClientAuth.
const (
	ClientCertNone     ClientAuth = iota // not asked for
	ClientCertOptional                   // asked for, verified if given
	ClientCertRequired                   // connections without a valid one fail
)

// CertFiles names a certificate chain and its key, both PEM.
type CertFiles struct {
	Cert, Key string
}

// TLSConfig is the TLS part of a [ListenerConfig]. Everything is read from files, so that [Listener.Reload] can read it again.
type TLSConfig struct {
	// Certificates are chosen by the server name the client asks for; the first one is for all others. At least one.
	Certificates []CertFiles

	// ClientAuth and ClientCAs (PEM files) are about client certificates; the CAs are needed unless ClientAuth is none.
	ClientAuth ClientAuth
	ClientCAs  []string

	// CRLs are revocation lists, PEM or DER, each signed by one of the ClientCAs. With any given, a client certificate needs a
	// list of its issuer that is current; that of an intermediate is looked up if there is one.
	CRLs []string

	// MinVersion is tls.VersionTLS12 (default) or tls.VersionTLS13.
	MinVersion uint16

	// CipherSuites restricts what TLS 1.2 may use; empty is Go's choice. Those of TLS 1.3 cannot be chosen.
	CipherSuites []uint16
}

// load reads and checks everything and makes the configuration that one handshake uses.
func (cfg *TLSConfig) load(now time.Time) (*tls.Config, error) {
	if len(cfg.Certificates) == 0 {
		return nil, errors.New("tls: no certificate given")
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: cfg.CipherSuites}
	if cfg.MinVersion != 0 {
		if cfg.MinVersion < tls.VersionTLS12 {
			return nil, fmt.Errorf("tls: minimum version %s is too old, 1.2 is the least", tls.VersionName(cfg.MinVersion))
		}
		tc.MinVersion = cfg.MinVersion
	}
	if err := checkSuites(cfg.CipherSuites); err != nil {
		return nil, err
	}
	for _, files := range cfg.Certificates {
		cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: certificate %s with key %s: %w", files.Cert, files.Key, err)
		}
		tc.Certificates = append(tc.Certificates, cert)
	}
	return tc, cfg.loadClientAuth(tc, now)
}

func checkSuites(ids []uint16) error {
	for _, id := range ids {
		if !slices.ContainsFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == id }) {
			return fmt.Errorf("tls: cipher suite 0x%04X is unknown or insecure", id)
		}
	}
	return nil
}

func (cfg *TLSConfig) loadClientAuth(tc *tls.Config, now time.Time) error {
	switch cfg.ClientAuth {
	case ClientCertNone:
		if len(cfg.ClientCAs)+len(cfg.CRLs) > 0 {
			return errors.New("tls: client CAs or revocation lists given, but client certificates are not asked for")
		}
		return nil
	case ClientCertOptional:
		tc.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		tc.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if len(cfg.ClientCAs) == 0 {
		return errors.New("tls: client certificates need a CA file")
	}
	var cas []*x509.Certificate
	tc.ClientCAs = x509.NewCertPool()
	for _, name := range cfg.ClientCAs {
		certs, err := readCertificates(name)
		if err != nil {
			return err
		}
		for _, ca := range certs {
			tc.ClientCAs.AddCert(ca)
		}
		cas = append(cas, certs...)
	}
	revoked, err := loadCRLs(cfg.CRLs, cas, now)
	if err != nil {
		return err
	}
	// Called for full and for resumed handshakes, unlike VerifyPeerCertificate. A session is not resumed across a reload: its
	// ticket key belongs to the configuration it was made with, so a CA that was taken out is asked for again.
	tc.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		return revoked.check(state.VerifiedChains, time.Now())
	}
	return nil
}

func readCertificates(name string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("tls: CA file: %w", err)
	}
	var certs []*x509.Certificate
	for _, der := range pemBlocks(data, "CERTIFICATE") {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("tls: CA file %s: %w", name, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("tls: CA file %s: no PEM certificate in it", name)
	}
	return certs, nil
}
