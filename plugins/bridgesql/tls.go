package bridgesql

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/patchbay-mq/patchbay/sdk"
)

type tlsConfig = *tls.Config

// config reads the files. Errors are problems with pointers.
func (t *TLS) config() (*tls.Config, error) {
	if t.Mode == "off" {
		if t.CAFile != "" || t.CertFile != "" || t.InsecureSkipVerify {
			return nil, sdk.NewProblem("/database/tls/mode", "it is off, and there are certificates for it: one of the two is wrong")
		}
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, sdk.NewProblem("/database/tls/ca_file", err.Error())
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, sdk.NewProblem("/database/tls/ca_file", t.CAFile+" has no certificate in PEM")
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, sdk.NewProblem("/database/tls/cert_file", "a certificate needs its key: cert_file and cert_key_file belong together")
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, sdk.NewProblem("/database/tls/cert_file", err.Error())
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// of is the configuration for an address; nil: without TLS.
func (t *TLS) of(base *tls.Config, to target) *tls.Config {
	if base == nil || to.network == "unix" || t.Mode == "auto" && to.loopback() {
		return nil
	}
	c := base.Clone()
	if c.ServerName == "" {
		c.ServerName = to.host
	}
	return c
}
