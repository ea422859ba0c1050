package authhttp

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// problems collects what is wrong with a config.
type problems []error

func (p *problems) add(at, format string, args ...any) {
	*p = append(*p, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
}

// check says what is wrong with a config, but for files.
func (c *Config) check(p *problems) {
	if c.Authenticate == nil && c.Permit == nil && c.Authorize == nil {
		p.add("", "there is nobody to ask: give authenticate, permit or authorize")
	}
	only := func(at, mode string, there bool) {
		if there && c.Mode != mode {
			p.add(at, "it belongs to mode %s", mode)
		}
	}
	only("/superuser", modeGoAuth, c.Superuser != nil)
	only("/permit", modeNative, c.Permit != nil)
	only("/methods", modeNative, c.Methods != nil)
	only("/subscribe_acc", modeGoAuth, c.SubscribeACC != nil)
	for i, acc := range c.SubscribeACC {
		if acc != accSubscribe && acc != accRead {
			p.add(fmt.Sprintf("/subscribe_acc/%d", i), "4 is subscribe, 1 is read")
		}
	}
	if c.Superuser != nil && c.Authenticate == nil {
		p.add("/superuser", "it is asked about clients that authenticate has let in")
	}
	if c.Wait < c.Timeout {
		p.add("/wait", "it must not be shorter than timeout")
	}
	for name, e := range c.endpoints() {
		e.check("/"+name, c.Mode, p)
	}
}

// endpoints are those that are configured, in the order of their names.
func (c *Config) endpoints() func(yield func(string, *Endpoint) bool) {
	all := map[string]*Endpoint{
		"authenticate": c.Authenticate, "superuser": c.Superuser, "permit": c.Permit, "authorize": c.Authorize,
	}
	return func(yield func(string, *Endpoint) bool) {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if all[name] != nil && !yield(name, all[name]) {
				return
			}
		}
	}
}

func (e *Endpoint) check(at, mode string, p *problems) {
	if why := badURL(e.URL); why != "" {
		p.add(at+"/url", "%s", why)
	}
	known := func(string) bool { return false }
	if mode == modeEMQX {
		known = knownPlaceholder(at == "/authenticate")
	}
	templates := map[string]string{at + "/url": e.URL}
	for name, value := range e.Headers {
		at := at + "/headers/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		templates[at] = value.Reveal()
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
			p.add(at, "it is no name of a header")
		}
		if badHeader(value.Reveal()) {
			p.add(at, "a header is one line of text")
		}
		if slices.Contains([]string{"Content-Type", "Content-Length", "Host"}, http.CanonicalHeaderKey(name)) {
			p.add(at, "this header is not yours to set; the body is written as encoding says")
		}
	}
	for name, value := range e.Body {
		templates[at+"/body/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name)] = value
	}
	for _, where := range slices.Sorted(maps.Keys(templates)) {
		if err := checkTemplate(templates[where], known); err != nil {
			p.add(where, "%v", err)
		}
	}
	switch {
	case mode != modeEMQX && e.Body != nil:
		p.add(at+"/body", "it belongs to mode emqx")
	case mode == modeNative && e.Method == http.MethodGet:
		p.add(at+"/method", "the question is in the body, which GET does not have")
	case mode == modeNative && e.Encoding == encodingForm:
		p.add(at+"/encoding", "the question is JSON")
	case mode == modeGoAuth && e.Method == http.MethodGet && e.Encoding == encodingForm:
		p.add(at+"/encoding", "a form needs POST or PUT")
	}
}

func badURL(s string) string {
	// Placeholders are no URL, but stand where parts of one do.
	u, err := url.Parse(strings.NewReplacer("${", "", "}", "").Replace(s))
	_, rest, _ := strings.Cut(s, "://")
	host, _, _ := strings.Cut(rest, "/")
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return `it has to be a URL as "https://auth.example.com/mqtt/login"`
	case u.User != nil:
		return "name and password do not belong into a URL: use headers"
	case u.Fragment != "":
		return "a URL that is asked has no fragment"
	case strings.Contains(host, "${"):
		return "which host is asked must not depend on the client"
	}
	return ""
}

// config reads the files of TLS. Errors are problems with pointers.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, sdk.NewProblem("/tls/ca_file", err.Error())
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, sdk.NewProblem("/tls/ca_file", t.CAFile+" has no certificate in PEM")
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, sdk.NewProblem("/tls/cert_file", "a certificate needs its key: cert_file and cert_key_file belong together")
	}
	if t.CertFile == "" {
		return c, nil
	}
	if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
		return nil, sdk.NewProblem("/tls/cert_file", err.Error())
	}
	// Connections are kept, so that this is rare; a certificate that was renewed is in use
	// with the next one.
	cert, key := t.CertFile, t.KeyFile
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	return c, nil
}
