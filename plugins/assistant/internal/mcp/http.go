package mcp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// maxBody bounds a response, in bytes.
const maxBody = 8 << 20

// transport makes connections to a server.
func (c *Config) transport() (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("there is no certificate in PEM in %s", c.CAFile)
	}
	return t, nil
}

// carrier adds what a server wants to see to requests, and bounds responses.
type carrier struct {
	c    *Config
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for k, v := range t.c.Headers {
		r.Header.Set(k, v)
	}
	if token := t.c.Token.Reveal(); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := t.base.RoundTrip(r)
	if err == nil {
		res.Body = &bounded{ReadCloser: res.Body, left: maxBody}
	}
	return res, err
}

// bounded is a body that ends in an error if it is too long.
type bounded struct {
	io.ReadCloser
	left int
}

var errTooLong = errors.New("the response is too long")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// client is the HTTP client of a server. It does not follow redirects: what is sent is for
// this server alone.
func (c *Config) client(t http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     &carrier{c, t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are not followed") },
	}
}
