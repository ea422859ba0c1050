package bridgewebhook

import (
	"net/textproto"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
)

func canonicalHeader(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

// validHeaderName reports whether a text is a token (RFC 9110 §5.6.2).
func validHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7F || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// validHeaderValue reports whether a text can be the value of a header (RFC 9110 §5.5):
// without line ends above all, behind which another header would begin.
func validHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7F })
}

// own are headers that net/http or this plugin makes.
var own = []string{"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent"}

// checkHeader says what is wrong with a header of the config; value is nil for one that
// the plugin makes.
func checkHeader(at, name string, value *template.Template, p *problems) {
	canonical := canonicalHeader(name)
	switch {
	case !validHeaderName(name):
		p.add(at, "%q is no name of a header", name)
	case slices.Contains(own, canonical):
		p.add(at, "%s cannot be set", canonical)
	}
	if value == nil {
		return
	}
	if text, ok := value.Constant(); ok && !validHeaderValue(text) {
		p.add(at, "%s has characters that a header cannot have", canonical)
	}
}
