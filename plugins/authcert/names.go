package authcert

import (
	"crypto/x509"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/sdk"
)

// fields are what a certificate says, by the names that match and templates use.
var fields = []string{"cn", "o", "ou", "dns", "email", "uri", "ip", "serial", "issuer", "sha256"}

// inDER are the fields for which the certificate itself has to be read.
var inDER = map[string]bool{"o": true, "ou": true}

// names are what one certificate says.
type names struct {
	c      *sdk.Certificate
	sha256 string
	parsed *x509.Certificate // nil unless a field needed it
	broken bool              // it cannot be parsed
}

func namesOf(c *sdk.Certificate) *names { return &names{c: c, sha256: hex.EncodeToString(c.SHA256)} }

// values of a field, in the certificate's order, without those that cannot be names.
func (n *names) values(field string) []string {
	var out []string
	switch field {
	case "cn":
		out = []string{n.c.CommonName}
	case "o", "ou":
		if n.parse(); n.parsed == nil {
			return nil
		}
		if out = n.parsed.Subject.Organization; field == "ou" {
			out = n.parsed.Subject.OrganizationalUnit
		}
	case "dns":
		for _, s := range n.c.DNSNames {
			out = append(out, strings.ToLower(s)) // DNS does not tell case (RFC 4343)
		}
	case "email":
		out = n.c.EmailAddresses
	case "uri":
		out = n.c.URIs
	case "ip":
		out = n.c.IPAddresses
	case "serial":
		out = []string{n.c.SerialNumber}
	case "issuer":
		out = []string{n.c.Issuer}
	case "sha256":
		out = []string{n.sha256}
	}
	var usable []string
	for _, s := range out {
		if isName(s) {
			usable = append(usable, strings.Clone(s))
		}
	}
	return usable
}

func (n *names) parse() {
	if n.parsed != nil || n.broken {
		return
	}
	var err error
	if n.parsed, err = x509.ParseCertificate(n.c.DER); err != nil {
		n.parsed, n.broken = nil, true
	}
}

// isName reports whether a text can be a name. U+FFFD stands where the certificate had
// something else than UTF-8, so that two certificates could have the same.
func isName(s string) bool {
	return s != "" && len(s) <= 65535 && utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\uFFFD")
}
