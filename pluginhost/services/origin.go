package services

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// origin is scheme, host and port of a URL.
type origin struct {
	scheme string
	// host in lower case, without brackets and without a dot at its end.
	host string
	port uint16
	// below stands for all hosts below this one ("https://*.example.com"), not itself.
	below bool
}

// String writes it as it stands in a grant.
func (o origin) String() string {
	host := o.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if o.below {
		host = "*." + host
	}
	s := o.scheme + "://" + host
	if o.port != defaultPorts[o.scheme] {
		s += ":" + strconv.Itoa(int(o.port))
	}
	return s
}

var defaultPorts = map[string]uint16{"http": 80, "https": 443}

// covers reports whether a grant for o covers the origin of a URL.
func (o origin) covers(u origin) bool {
	if o.scheme != u.scheme || o.port != u.port {
		return false
	}
	if o.below {
		return strings.HasSuffix(u.host, "."+o.host) && len(u.host) > len(o.host)+1
	}
	return o.host == u.host
}

var errOrigin = errors.New(`an origin is scheme, host and port and no more, as "https://api.example.com" or "http://10.0.0.5:8080"`)

// parseOrigin reads the origin of a grant, which may stand for all hosts below one.
func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(strings.Replace(s, "://*.", "://", 1))
	if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" ||
		strings.HasSuffix(s, "#") {
		return origin{}, errOrigin
	}
	o, err := originOf(u)
	if err != nil {
		return origin{}, err
	}
	if o.below = strings.Contains(s, "://*."); o.below {
		if _, err := netip.ParseAddr(o.host); err == nil {
			return origin{}, errors.New("an address has no hosts below it")
		}
	}
	return o, nil
}

// originOf returns the origin of a URL.
func originOf(u *url.URL) (origin, error) {
	o := origin{scheme: strings.ToLower(u.Scheme)}
	o.port = defaultPorts[o.scheme]
	if o.port == 0 {
		return origin{}, errors.New("only http and https are possible")
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return origin{}, errors.New("the port is not a number from 1 to 65535")
		}
		o.port = uint16(n)
	} else if strings.HasSuffix(u.Host, ":") {
		return origin{}, errors.New("the port is missing after the colon")
	}
	host := strings.ToLower(u.Hostname())
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return origin{}, errors.New("an address with a zone is not possible")
		}
		o.host = a.String() // one spelling for each
		return o, nil
	}
	o.host = strings.TrimSuffix(host, ".")
	return o, checkHost(o.host)
}

// checkHost refuses what is no host name. International names come in their ASCII form, as
// they do in DNS.
func checkHost(host string) error {
	if host == "" {
		return errors.New("the host is missing")
	}
	if len(host) > 253 {
		return errors.New("the host is longer than a name can be")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return errors.New("the host has an empty or too long part")
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			case c >= 0x80:
				return errors.New("the host is not ASCII; an international name is written as xn--…")
			default:
				return errors.New("the host has a character that no name has")
			}
		}
	}
	return nil
}
