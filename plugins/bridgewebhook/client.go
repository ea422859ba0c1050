package bridgewebhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// idle is how long an unused connection is kept: less than most servers keep it.
	idle = 50 * time.Second
	// ping is how often a quiet connection of HTTP/2 is asked whether it is still there; else
	// requests would go into a half-open one again and again.
	ping = 5 * time.Second
)

// transport makes what holds the connections. It uses no proxy: what the environment says
// of one is not this broker's.
func (c *Config) transport() (*http.Transport, error) {
	t, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{Timeout: c.ConnectTimeout.Std(), KeepAlive: 15 * time.Second, Control: c.control}
	return &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: t, TLSHandshakeTimeout: c.Timeout.Std(), ForceAttemptHTTP2: true,
		MaxConnsPerHost: c.MaxConnections, MaxIdleConnsPerHost: c.MaxConnections, IdleConnTimeout: idle, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10, HTTP2: &http.HTTP2Config{SendPingTimeout: ping, PingTimeout: ping},
	}, nil
}

func (t *TLS) check(p *problems) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		p.add("/tls/cert_file", "a certificate needs its key: cert_file and cert_key_file belong together")
	}
}

// config reads the files. Errors are problems with pointers.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, sdk.NewProblem("/tls/ca_file", err.Error())
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, sdk.NewProblem("/tls/ca_file", t.CAFile+" has no certificate in PEM")
		}
	}
	if t.CertFile == "" {
		return c, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		return &pair, err
	}
	if _, err := load(nil); err != nil {
		return nil, sdk.NewProblem("/tls/cert_file", err.Error())
	}
	c.GetClientCertificate = load
	return c, nil
}

// kept are the headers that go along to another server.
var kept = map[string]bool{"Content-Type": true, "User-Agent": true, "Content-Length": true}

// signatureKey is the context's name of the header with the signature.
type signatureKey struct{}

// redirect is that of http.Client. It follows what keeps method and body, and takes what
// may be secret off where it leads to another server. Addresses are looked at when
// connections are made.
func (c *Config) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > c.MaxRedirects {
		return http.ErrUseLastResponse
	}
	if status := req.Response.StatusCode; status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect {
		return http.ErrUseLastResponse
	}
	from := via[len(via)-1].URL
	if from.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("a redirect leads away from https")
	}
	if req.URL.Scheme == via[0].URL.Scheme && req.URL.Host == via[0].URL.Host {
		return nil
	}
	for name := range req.Header {
		if !kept[name] && name != signatureHeader(req.Context()) {
			req.Header.Del(name)
		}
	}
	return nil
}

func signatureHeader(ctx context.Context) string {
	name, _ := ctx.Value(signatureKey{}).(string)
	return name
}
