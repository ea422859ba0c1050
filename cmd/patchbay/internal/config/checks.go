package config

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// checkValue runs the check that k names on v, on each element of a list. Empty
// text is "not set" and only refused by the check "required".
func (k *key) checkValue(v any) error {
	switch v := v.(type) {
	case string:
		if v == "" && k.check != "required" {
			return nil
		}
		return checkText(k.check, v)
	case []string:
		for _, s := range v {
			if err := checkText(k.check, s); err != nil {
				return err
			}
		}
	case Duration:
		return checkDuration(k.check, v)
	}
	return nil
}

func checkText(check, s string) error {
	if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
		return fmt.Errorf("%s is not valid UTF-8 text without U+0000", quote(s))
	}
	switch check {
	case "required":
		if s == "" {
			return errors.New("must not be empty")
		}
	case "address":
		return checkAddress(s)
	case "address_or_off":
		if s != "off" {
			return checkAddress(s)
		}
	case "cidr":
		if _, err := netip.ParsePrefix(s); err != nil {
			return fmt.Errorf("%s is not a network such as 10.0.0.0/8 or fd00::/8", quote(s))
		}
	case "url_path":
		if u, err := url.Parse(s); err != nil || !strings.HasPrefix(s, "/") || u.Path != s {
			return fmt.Errorf("%s is not a URL path such as /mqtt", quote(s))
		}
	case "origin":
		if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != s {
			return fmt.Errorf("%s is not an origin such as https://app.example.com", quote(s))
		}
	case "mode":
		if n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32); err != nil || n > 0o777 {
			return fmt.Errorf("%s is not an octal file mode such as 0660", quote(s))
		}
	case "topic_filter":
		return checkTopicFilter(s)
	case "sync":
		_, _, err := ParseSync(s)
		return err
	case "cipher_suite":
		return checkCipherSuite(s)
	case "plugin_key":
		b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "ed25519:"))
		if err != nil || len(b) != ed25519.PublicKeySize || !strings.HasPrefix(s, "ed25519:") {
			return fmt.Errorf("%s is not a public key as `patchbay plugin keygen` writes it, ed25519: and 32 bytes in base64", quote(s))
		}
	case "plugin_name":
		if !ValidPluginName(s) {
			return fmt.Errorf("%s is not 1 to 64 of a-z, 0-9 and -, beginning with a letter", quote(s))
		}
	case "secret_name":
		if !secretName.MatchString(s) {
			return fmt.Errorf("%s is not 1 to 64 of letters, digits, dots, _ and -", quote(s))
		}
	case "revocable":
		if !slices.Contains(revocable, s) {
			return errors.New(oneOf(s, "thing that every plugin may do", revocable))
		}
	case "sha256":
		if sum, err := hex.DecodeString(s); err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("%s is not 64 hexadecimal digits", quote(s))
		}
	case "variable":
		if !variable.MatchString(s) {
			return fmt.Errorf("%s is neither NAME nor NAME=VALUE", quote(s))
		}
	case "utf8":
		if len(s) > 65535 {
			return fmt.Errorf("%s has %d bytes; MQTT strings end at 65535", quote(s), len(s))
		}
	}
	return nil
}

// ValidPluginName reports whether a plugin can have that name.
func ValidPluginName(s string) bool { return pluginName.MatchString(s) }

var (
	pluginName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	secretName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(=|$)`)
)

// oneOf says that name is none of names, and what was probably meant.
func oneOf(name, what string, names []string) string {
	if near := nearest(strings.ReplaceAll(name, "-", "_"), names); near != "" {
		return fmt.Sprintf("%s is no %s; did you mean %s?", quote(name), what, near)
	}
	return fmt.Sprintf("%s is no %s; there are %s", quote(name), what, strings.Join(names, ", "))
}

// ParseSync reads the value of sync: always, never, or interval with a time.
func ParseSync(s string) (mode string, interval time.Duration, err error) {
	switch rest, ok := strings.CutPrefix(s, "interval"); {
	case s == "always" || s == "never":
		return s, 0, nil
	case ok && rest == "":
		return "interval", 100 * time.Millisecond, nil
	case ok && strings.HasPrefix(rest, "(") && strings.HasSuffix(rest, ")"):
		interval, err = time.ParseDuration(rest[1 : len(rest)-1])
		if err == nil && interval >= time.Millisecond && interval <= time.Minute {
			return "interval", interval, nil
		}
		return "", 0, fmt.Errorf("%s: the interval must be a time from 1ms to 1m, as in interval(100ms)", quote(s))
	}
	return "", 0, fmt.Errorf("%s is not always, interval(100ms) or never", quote(s))
}

func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%s is not an address such as :1883, 127.0.0.1:1883 or [::1]:1883", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 32); err != nil || n > 65535 {
		return fmt.Errorf("%s: port %s is not a number from 0 to 65535", quote(s), quote(port))
	}
	if strings.ContainsAny(host, "/ @?#") {
		return fmt.Errorf("%s: %s is not a host name or IP address", quote(s), quote(host))
	}
	return nil
}

func checkTopicFilter(s string) error {
	levels := strings.Split(s, "/")
	for i, level := range levels {
		wildcard := level == "+" || level == "#" && i == len(levels)-1
		if s == "" || strings.ContainsAny(level, "+#") && !wildcard {
			return fmt.Errorf("%s is not a Topic Filter", quote(s))
		}
	}
	return nil
}

func checkCipherSuite(s string) error {
	var names []string
	for _, suite := range tls.CipherSuites() {
		if slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
			names = append(names, suite.Name)
		}
	}
	if !slices.Contains(names, s) {
		return fmt.Errorf("%s is not one of %s", quote(s), strings.Join(names, ", "))
	}
	return nil
}

func checkDuration(check string, d Duration) error {
	whole := d == Never || d.Std()%time.Second == 0
	switch check {
	case "whole_seconds":
		if !whole {
			return fmt.Errorf("%s is not a number of whole seconds", d)
		}
	case "expiry":
		// 0xFFFFFFFF seconds means "never" on the wire (MQTT 5.0, 3.1.2.11.2).
		if d != Never && (!whole || d.Std()/time.Second >= 0xFFFFFFFF) {
			return fmt.Errorf("%s is not a number of whole seconds below 4294967295, or never", d)
		}
	case "retry_interval":
		if d != 0 && d.Std() < time.Second {
			return fmt.Errorf("%s is too short: 0 or at least 1s", d)
		}
	}
	return nil
}

// overlap reports whether two TCP addresses cannot both be listened on: same
// port, and the same host or a wildcard that includes the other.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return false
	}
	numA, _ := strconv.Atoi(portA)
	numB, _ := strconv.Atoi(portB)
	if numA != numB || numA == 0 {
		return false
	}
	ipA, ipB := addressIP(hostA), addressIP(hostB)
	switch {
	case !ipA.IsValid() || !ipB.IsValid(): // a name: what it resolves to is not known here
		return strings.EqualFold(hostA, hostB)
	case ipA == ipB, ipA == netip.IPv6Unspecified(), ipB == netip.IPv6Unspecified():
		return true // Go's [::] takes IPv4 too
	case ipA == netip.IPv4Unspecified():
		return ipB.Is4()
	case ipB == netip.IPv4Unspecified():
		return ipA.Is4()
	}
	return false
}

// addressIP returns the IP of a host; not valid if it is another name.
func addressIP(host string) netip.Addr {
	switch host {
	case "":
		return netip.IPv6Unspecified()
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap()
}
