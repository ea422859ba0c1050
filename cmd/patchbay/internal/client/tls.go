package client

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// tlsOptions are the flags about TLS. Any of them switches TLS on.
type tlsOptions struct {
	caFile, caPath, cert, key string
	insecure, systemCAs       bool
	alpn, version, ciphers    string
}

func (o *tlsOptions) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.caFile, "cafile", "", "file of PEM certificates of the authorities to trust")
	f.StringVar(&o.caPath, "capath", "", "directory of such files (*.crt, *.pem, *.0)")
	f.StringVar(&o.cert, "cert", "", "client certificate, PEM (with --key)")
	f.StringVar(&o.key, "key", "", "private key of --cert, PEM")
	f.BoolVar(&o.insecure, "insecure", false, "do not check the name in the broker's certificate; without --cafile and --capath check nothing")
	f.BoolVar(&o.systemCAs, "tls-use-os-certs", false, "trust the system's authorities, besides --cafile and --capath (default without these)")
	f.StringVar(&o.alpn, "tls-alpn", "", "application protocol to ask for (ALPN), such as mqtt")
	f.StringVar(&o.version, "tls-version", "", "exactly this TLS version: tlsv1.3, tlsv1.2 or tlsv1.1 (default 1.2 or newer)")
	f.StringVar(&o.ciphers, "ciphers", "", "cipher suites for TLS 1.2, by OpenSSL or IANA name, separated by colons")
}

// wanted reports whether one of the flags was given.
func (o *tlsOptions) wanted() bool { return *o != tlsOptions{} }

// config builds the TLS configuration for a connection to host.
func (o *tlsOptions) config(host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if o.alpn != "" {
		c.NextProtos = []string{o.alpn}
	}
	if err := o.setVersion(c); err != nil {
		return nil, err
	}
	var err error
	if c.CipherSuites, err = cipherSuites(o.ciphers); err != nil {
		return nil, err
	}
	if (o.cert == "") != (o.key == "") {
		return nil, fmt.Errorf("--cert and --key go together")
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, fmt.Errorf("--cert %s, --key %s: %w", o.cert, o.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if c.RootCAs, err = o.authorities(); err != nil {
		return nil, err
	}
	if o.insecure {
		o.relax(c)
	}
	return c, nil
}

func (o *tlsOptions) setVersion(c *tls.Config) error {
	var version uint16
	switch strings.ToLower(o.version) {
	case "":
		return nil
	case "tlsv1.3":
		version = tls.VersionTLS13
	case "tlsv1.2":
		version = tls.VersionTLS12
	case "tlsv1.1":
		version = tls.VersionTLS11
	default:
		return fmt.Errorf("--tls-version %s: want tlsv1.3, tlsv1.2 or tlsv1.1", o.version)
	}
	c.MinVersion, c.MaxVersion = version, version
	return nil
}

// relax does what mosquitto's --insecure does: the chain is still checked, the name in it is not. Without
// an authority of the user's own there is no chain worth checking.
func (o *tlsOptions) relax(c *tls.Config) {
	c.InsecureSkipVerify = true
	if c.RootCAs == nil {
		return
	}
	roots := c.RootCAs
	c.VerifyConnection = func(state tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}
}

// authorities is nil, which means the system's, when no other was given.
func (o *tlsOptions) authorities() (*x509.CertPool, error) {
	if o.caFile == "" && o.caPath == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if o.systemCAs {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("--tls-use-os-certs: %w", err)
		}
		pool = system
	}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("--cafile: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--cafile %s: no PEM certificate in it", o.caFile)
		}
	}
	if o.caPath == "" {
		return pool, nil
	}
	return pool, addDirectory(pool, o.caPath)
}

func addDirectory(pool *x509.CertPool, dir string) error {
	added := false
	for _, pattern := range []string{"*.crt", "*.pem", "*.0"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("--capath %s: %w", dir, err)
		}
		for _, file := range files {
			pem, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("--capath: %w", err)
			}
			// A file without a certificate may well be a key that lies beside them.
			added = pool.AppendCertsFromPEM(pem) || added
		}
	}
	if !added {
		return fmt.Errorf("--capath %s: no PEM certificate in *.crt, *.pem or *.0", dir)
	}
	return nil
}

// cipherSuites resolves names of either kind. Suites of TLS 1.3 cannot be chosen in Go.
func cipherSuites(list string) ([]uint16, error) {
	if list == "" {
		return nil, nil
	}
	known := map[string]uint16{}
	var names []string
	for _, suite := range tls.CipherSuites() {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue
		}
		known[suite.Name] = suite.ID
		known[openSSLName(suite.Name)] = suite.ID
		names = append(names, openSSLName(suite.Name))
	}
	var ids []uint16
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		id, ok := known[strings.ToUpper(name)]
		if !ok {
			return nil, fmt.Errorf("--ciphers: unknown suite %q; known are %s", name, strings.Join(names, ":"))
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// openSSLName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into ECDHE-RSA-AES128-GCM-SHA256.
func openSSLName(iana string) string {
	return strings.NewReplacer(
		"TLS_", "", "_WITH_", "-", "AES_128_", "AES128-", "AES_256_", "AES256-",
		"POLY1305_SHA256", "POLY1305", "CBC_", "", "_", "-",
	).Replace(iana)
}
