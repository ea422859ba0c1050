package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// combinations finds values that are right each by itself and wrong together,
// and files that cannot be used.
func (l *loader) combinations(c *Config) {
	if !l.failed("listeners") && len(c.Listeners) == 0 {
		l.wrong("listeners", "there must be at least one")
	}
	for i := range c.Listeners {
		path := fmt.Sprintf("listeners[%d]", i)
		if l.failed(path) {
			continue
		}
		l.listener(&c.Listeners[i], path)
	}
	l.conflicts(c)
	if !l.failed("admin") {
		l.admin(&c.Admin)
	}
	if !l.failed("limits") && c.Limits.OutBufferLow >= c.Limits.OutBufferHigh {
		l.wrong("limits.out_buffer_low", "%s is not below limits.out_buffer_high, %s", c.Limits.OutBufferLow, c.Limits.OutBufferHigh)
	}
	l.plugins(c)
}

// wrong reports a problem with path at the line where it was set, or else the
// section that it is in.
func (l *loader) wrong(path, format string, args ...any) {
	src, ok := l.sources[path]
	for p := path; !ok; {
		i := strings.LastIndexByte(p, '.')
		if i < 0 {
			break
		}
		p = p[:i]
		src, ok = l.sources[p]
	}
	l.problem(src, path, format, args...)
}

func (l *loader) listener(ln *Listener, path string) {
	var given []string
	for _, n := range ln.networks() {
		if n.address != "" {
			given = append(given, n.network)
		}
	}
	if len(given) != 1 {
		found := "none"
		if len(given) > 1 {
			found = strings.Join(given, " and ")
		}
		l.wrong(path, "must have exactly one of tcp, tls, ws, wss or unix; it has %s", found)
		return
	}
	network := given[0]
	for _, k := range l.root.child("listeners").children {
		if _, set := l.sources[path+"."+k.name]; set && !k.appliesTo(network) {
			l.wrong(path+"."+k.name, "is for %s; this is a %s listener", strings.Join(k.only, " and "), network)
		}
	}
	if ln.ProxyProtocol == "off" && len(ln.ProxyTrusted) > 0 {
		l.wrong(path+".proxy_trusted", "has no effect while proxy_protocol is off")
	}
	if ln.AcceptBurst > 0 && ln.AcceptRate == 0 {
		l.wrong(path+".accept_burst", "has no effect without accept_rate")
	}
	if ln.Secure() {
		l.secureListener(ln, path, network)
	}
}

func (l *loader) secureListener(ln *Listener, path, network string) {
	switch {
	case (ln.Cert == "") != (ln.Key == ""):
		l.wrong(path+".cert", "cert and key belong together; one of them is missing")
	case len(ln.KeyPairs()) == 0:
		l.wrong(path+"."+network, "needs cert and key, or certificates")
	}
	switch {
	case ln.ClientCA == "" && ln.ClientCert != "none":
		l.wrong(path+".client_cert", "%s needs client_ca: the CAs that are believed", ln.ClientCert)
	case ln.ClientCA != "" && ln.ClientCert == "none":
		l.wrong(path+".client_ca", "has no effect while client_cert is none; set it to optional or required")
	}
	if ln.ClientCert == "none" {
		if len(ln.CRL) > 0 {
			l.wrong(path+".crl", "has no effect while client_cert is none")
		}
		if ln.UseIdentityAsUsername {
			l.wrong(path+".use_identity_as_username", "needs client_cert optional or required")
		}
	}
	if ln.MinVersion == "1.3" && len(ln.CipherSuites) > 0 {
		l.wrong(path+".cipher_suites", "has no effect while min_version is 1.3")
	}
	if ln.Cert != "" && ln.Key != "" {
		l.keyPair(path, Certificate{ln.Cert, ln.Key})
	}
	for i, pair := range ln.Certificates {
		l.keyPair(fmt.Sprintf("%s.certificates[%d]", path, i), pair)
	}
	l.certificateFile(path+".client_ca", ln.ClientCA)
	for i, file := range ln.CRL {
		l.revocationList(fmt.Sprintf("%s.crl[%d]", path, i), file)
	}
}

func (l *loader) admin(a *Admin) {
	if a.Listen == "off" {
		return
	}
	if !isLoopback(a.Listen) && a.Token == "" && a.ClientCA == "" {
		l.wrong("admin.listen", "%s is not loopback: set admin.token, or admin.client_ca with admin.cert and admin.key", a.Listen)
	}
	if (a.Cert == "") != (a.Key == "") {
		l.wrong("admin.cert", "cert and key belong together; one of them is missing")
	}
	if a.ClientCA != "" && a.Cert == "" {
		l.wrong("admin.client_ca", "needs admin.cert and admin.key: client certificates are of TLS")
	}
	if a.Cert != "" && a.Key != "" {
		l.keyPair("admin", Certificate{a.Cert, a.Key})
	}
	l.certificateFile("admin.client_ca", a.ClientCA)
}

// AdminSocket returns the path of the admin unix socket, or "" if it is off.
func (c *Config) AdminSocket() string {
	switch c.Admin.Socket {
	case "off":
		return ""
	case "":
		return filepath.Join(c.DataDir, "admin.sock")
	}
	return c.Admin.Socket
}

// conflicts finds two listeners on one address or of one name. admin counts.
func (l *loader) conflicts(c *Config) {
	type place struct{ path, label, address, socket string }
	var places []place
	named := map[string]int{}
	for i := range c.Listeners {
		ln := &c.Listeners[i]
		path := fmt.Sprintf("listeners[%d]", i)
		p := place{path: path + "." + ln.Network(), label: path + " (" + ln.Name + ")"}
		if ln.Unix != "" {
			p.socket = filepath.Clean(ln.Unix)
		} else {
			p.address = ln.Address()
		}
		places = append(places, p)
		if first, taken := named[ln.Name]; taken {
			l.wrong(path+".name", "%s is the name of listeners[%d] already", quote(ln.Name), first)
		}
		named[ln.Name] = i
	}
	places = append(places, place{path: "admin.listen", label: "admin.listen", address: c.Admin.Listen})
	if s := c.AdminSocket(); s != "" {
		places = append(places, place{path: "admin.socket", label: "admin.socket", socket: filepath.Clean(s)})
	}
	for i, p := range places {
		j := slices.IndexFunc(places[:i], func(q place) bool {
			return p.socket != "" && p.socket == q.socket || p.socket == "" && q.socket == "" && overlap(p.address, q.address)
		})
		if j >= 0 {
			l.wrong(p.path, "%s is taken by %s", p.address+p.socket, places[j].label)
		}
	}
}

// pemLimit bounds certificate, key and CA files; a bundle of all public CAs is
// a quarter of a megabyte.
const pemLimit = 16 << 20

// keyPair checks that certificate and key can be read and belong together.
func (l *loader) keyPair(path string, pair Certificate) {
	cert, err := readLimited(pair.Cert, pemLimit)
	if err != nil {
		l.wrong(path+".cert", "%s: %s", pair.Cert, reason(err))
	}
	key, err2 := readLimited(pair.Key, pemLimit)
	if err2 != nil {
		l.wrong(path+".key", "%s: %s", pair.Key, reason(err2))
	}
	if err != nil || err2 != nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		l.wrong(path+".cert", "%s with key %s: %s", pair.Cert, pair.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
}

func (l *loader) certificateFile(path, file string) {
	if file == "" {
		return
	}
	content, err := readLimited(file, pemLimit)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(content) {
		err = errors.New("no certificate in it (PEM is wanted)")
	}
	if err != nil {
		l.wrong(path, "%s: %s", file, reason(err))
	}
}

func (l *loader) revocationList(path, file string) {
	content, err := readLimited(file, pemLimit)
	if err == nil {
		if block, _ := pem.Decode(content); block != nil {
			content = block.Bytes
		}
		_, err = x509.ParseRevocationList(content)
	}
	if err != nil {
		l.wrong(path, "%s: %s", file, strings.TrimPrefix(reason(err), "x509: "))
	}
}
