package mosquittoconf

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listener is one with what is known of its protection.
type listener struct {
	*section
	at       *entry // nil: the default one
	security *security
	out      object
	secure   bool // TLS
	identity bool // the user name is that of the certificate
	certs    bool // it demands certificates
}

// entry is the line that the report names for a listener.
func (l *listener) entry(fallback *entry) *entry {
	if l.at != nil {
		return l.at
	}
	return fallback
}

// connections converts listeners, and who may connect.
func (c *converter) connections() {
	var list []*listener
	port, address := c.standard.last("port"), c.standard.last("bind_address")
	local := len(c.listeners) == 0 && port == nil && address == nil
	if local || port != nil || address != nil {
		l := &listener{section: &c.standard, at: port}
		if l.at == nil {
			l.at = address
		}
		list = append(list, l)
	}
	for _, s := range c.listeners {
		list = append(list, &listener{section: s, at: s.at})
	}
	var kept []*listener
	for _, l := range list {
		l.security = c.securityOf(l.section, local)
		if c.listener(l, local, port, address) {
			kept = append(kept, l)
		} else {
			c.forget(l.section)
		}
	}
	kept = c.protect(kept)
	c.shared(kept)
	items := make([]object, 0, len(kept))
	for _, l := range kept {
		items = append(items, l.out)
	}
	if len(items) == 0 { // or the default one would be opened
		c.out.set("listeners", []string{}, nil)
		return
	}
	c.out.set("listeners", items, nil)
}

// listener converts one, and reports whether it can be had.
func (c *converter) listener(l *listener, local bool, port, address *entry) bool {
	for _, e := range l.list {
		if e.value == "" {
			c.add(e, lost, "the listener is left out: the line has no value")
			return false
		}
	}
	if !c.possible(l) {
		return false
	}
	l.secure = l.text("certfile") != "" && l.text("keyfile") != ""
	network := "tcp"
	ws := l.last("protocol")
	switch {
	case ws != nil && ws.value == "websockets" && l.secure:
		network = "wss"
	case ws != nil && ws.value == "websockets":
		network = "ws"
	case l.secure:
		network = "tls"
	}
	if !c.address(l, network, local, port, address) {
		return false
	}
	if strings.HasPrefix(network, "ws") {
		l.out.set("path", "/mqtt", ws)
		c.add(ws, changed, "Mosquitto takes any path; Patchbay takes /mqtt (path), and clients that ask for the subprotocol mqtt")
	}
	if e := l.last("max_connections"); e != nil && !strings.HasPrefix(e.value, "-") {
		if n, err := number(e.value); err != nil {
			c.add(e, lost, "%q %v", e.value, err)
		} else {
			l.out.set("max_connections", n, e)
		}
	}
	if e := l.last("use_username_as_clientid"); e != nil && l.is("use_username_as_clientid", false) {
		c.add(e, lost, "the id stays what the client says; client_ids: [\"%%u\"] of the plugin authfile refuses those that say another one than their user name")
	}
	return c.tls(l)
}

// possible reports whether a listener needs nothing that Patchbay does not have.
func (c *converter) possible(l *listener) bool {
	ok := true
	for _, k := range []struct{ key, text string }{
		{"mount_point", "there are no mount points: a namespace keeps clients apart from all others, and does not show their topics to anybody else (namespace of a listener)"},
		{"bind_interface", "name its address in place of it (tcp: ADDRESS:PORT)"},
		{"psk_hint", "TLS with pre-shared keys does not exist here: give the clients certificates (plugin auth-cert), or TLS with passwords"},
		{"tls_engine", "there are no engines of OpenSSL: the key has to be a PEM file"},
	} {
		if e := l.last(k.key); e != nil {
			c.add(e, lost, "the listener is left out. %s", strings.ToUpper(k.text[:1])+k.text[1:])
			ok = false
		}
	}
	if e := l.last("tls_keyform"); e != nil && e.value != "pem" {
		c.add(e, lost, "the listener is left out. The key has to be a PEM file")
		ok = false
	}
	return ok
}

// address converts where a listener listens.
func (c *converter) address(l *listener, network string, local bool, port, address *entry) bool {
	if l.section == &c.standard {
		host, number := "", "1883"
		if local {
			host = "localhost"
		}
		if address != nil {
			host = address.value
		}
		if port != nil {
			number = port.value
		}
		l.out.set(network, net.JoinHostPort(host, number), l.at)
		return true
	}
	number, host, _ := strings.Cut(l.at.value, " ")
	host = strings.TrimSpace(host)
	if n, err := strconv.Atoi(number); err != nil || n < 0 || n > 65535 {
		c.add(l.at, lost, "%q is no port", number)
		return false
	}
	if number == "0" {
		if host == "" || network != "tcp" {
			c.add(l.at, lost, "the listener is left out: port 0 is for a unix socket, with its path, without TLS and WebSocket")
			return false
		}
		l.out.set("unix", locate(host, l.at.file), l.at)
		return true
	}
	if e := l.last("socket_domain"); e != nil && host == "" {
		host = map[string]string{"ipv4": "0.0.0.0", "ipv6": "::"}[e.value]
	}
	l.out.set(network, net.JoinHostPort(host, number), l.at)
	return true
}

// tls converts what a listener says of TLS, and reports whether it can be had.
func (c *converter) tls(l *listener) bool {
	cert, key := l.last("certfile"), l.last("keyfile")
	l.certs = l.is("require_certificate", false)
	if !l.secure {
		for _, e := range []*entry{cert, key, l.last("require_certificate")} {
			if e != nil && (e.key != "require_certificate" || l.certs) {
				c.add(e, lost, "the listener is left out: TLS needs certfile and keyfile")
				return false
			}
		}
		for _, name := range []string{"cafile", "capath", "crlfile", "ciphers", "ciphers_tls1.3", "tls_version", "use_identity_as_username", "use_subject_as_username"} {
			l.last(name) // without TLS they mean nothing
		}
		return true
	}
	l.out.set("cert", locate(cert.value, cert.file), cert)
	l.out.set("key", locate(key.value, key.file), key)
	c.version(l)
	if l.certs && !c.authorities(l) {
		return false
	}
	if e := l.last("crlfile"); e != nil && l.certs {
		l.out.set("crl", []string{locate(e.value, e.file)}, e)
	}
	for _, name := range []string{"cafile", "capath"} {
		l.last(name) // without require_certificate nobody is asked for one
	}
	return c.identityOf(l)
}

// version converts versions and ciphers.
func (c *converter) version(l *listener) {
	if e := l.last("tls_version"); e != nil {
		switch e.value {
		case "tlsv1.3":
			l.out.set("min_version", "1.3", e)
		case "tlsv1.1":
			c.add(e, changed, "TLS 1.2 is the oldest that there is")
		}
	}
	if e := l.last("ciphers"); e != nil {
		var names []string
		for cipher := range strings.SplitSeq(e.value, ":") {
			if name := ciphers[cipher]; name != "" {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			l.out.set("cipher_suites", names, e)
		}
		c.add(e, changed, "of the ciphers of TLS 1.2 Patchbay has these: %s; with none of them, its own choice", strings.Join(names, " "))
	}
	if e := l.last("ciphers_tls1.3"); e != nil {
		c.add(e, needless, "the ciphers of TLS 1.3 are all good ones, and fixed")
	}
}

// ciphers are OpenSSL's names of what can be chosen for TLS 1.2.
var ciphers = map[string]string{
	"ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
	"ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
	"ECDHE-ECDSA-AES128-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
	"ECDHE-ECDSA-AES256-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
	"ECDHE-RSA-AES128-GCM-SHA256":   "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"ECDHE-RSA-AES256-GCM-SHA384":   "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"ECDHE-RSA-CHACHA20-POLY1305":   "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	"ECDHE-RSA-AES128-SHA":          "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
	"ECDHE-RSA-AES256-SHA":          "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
}

// authorities converts whose client certificates are taken.
func (c *converter) authorities(l *listener) bool {
	at := l.last("require_certificate")
	l.out.set("client_cert", "required", at)
	file, folder := l.last("cafile"), l.last("capath")
	switch {
	case file != nil && folder == nil:
		l.out.set("client_ca", locate(file.value, file.file), file)
		return true
	case file == nil && folder == nil:
		c.add(at, lost, "the listener is left out: whose certificates are taken is said by neither cafile nor capath")
		return false
	}
	text, err := bundle(file, folder)
	if err == nil && len(text) > 0 && c.dir != "" {
		name := "client-ca-" + strconv.Itoa(l.entry(at).line) + ".pem"
		l.out.set("client_ca", c.save(name, "", text), folder)
		c.add(folder, changed, "its certificates of now are in %s, which is to be changed from now on", name)
		return true
	}
	why := "there is no certificate in it"
	switch {
	case err != nil:
		why = err.Error()
	case len(text) > 0:
		why = "with --output its certificates are put into one file"
	}
	c.add(folder, lost, "the listener is left out: %s", why)
	return false
}

// bundle puts all certificates of a folder into one text.
func bundle(file, folder *entry) ([]byte, error) {
	var all []byte
	var paths []string
	if file != nil {
		paths = append(paths, locate(file.value, file.file))
	}
	list, err := filepath.Glob(filepath.Join(locate(folder.value, folder.file), "*.pem"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(paths, list...) {
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
			continue // what openssl rehash makes
		}
		text, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(text, []byte("BEGIN CERTIFICATE")) {
			all = append(append(all, bytes.TrimSpace(text)...), '\n')
		}
	}
	return all, nil
}

// identityOf converts user names out of certificates.
func (c *converter) identityOf(l *listener) bool {
	if e := l.last("use_identity_as_username"); e != nil && l.certs && l.is("use_identity_as_username", false) {
		l.identity = true
		l.out.set("use_identity_as_username", true, e)
	}
	if e := l.last("use_subject_as_username"); e != nil && l.certs && l.is("use_subject_as_username", false) && !l.identity {
		c.add(e, lost, "the listener is left out. The plugin auth-cert makes user names of parts of the subject: see its README")
		return false
	}
	return true
}

// shared converts what Mosquitto has for each listener and Patchbay for all of them.
func (c *converter) shared(list []*listener) {
	for _, k := range []struct{ from, to string }{{"max_qos", "max_qos"}, {"max_topic_alias", "topic_alias_maximum"}} {
		var found []*entry
		for _, l := range list {
			if e := l.last(k.from); e != nil {
				found = append(found, e)
			}
		}
		same := len(found) == len(list)
		for _, e := range found {
			same = same && e.value == found[0].value
		}
		for _, e := range found {
			n, err := number(e.value)
			switch {
			case err != nil:
				c.add(e, lost, "%q %v", e.value, err)
			case same:
				c.out.at("mqtt").set(k.to, n, e)
			default:
				c.add(e, lost, "mqtt.%s is for all listeners, and these differ", k.to)
			}
		}
	}
}
