package assistant

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// always are what no redacted text shows: e-mail addresses, keys, bearer tokens, and
// numbers of seven digits and more, with what people put between them.
var always = []*regexp.Regexp{
	regexp.MustCompile(`[\w.+-]+@[\w-]+(\.[\w-]+)+`),
	regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}`),
	regexp.MustCompile(`\b(sk|pk|ghp|gho|glpat|xox[a-z])[-_][\w-]{8,}`),
	regexp.MustCompile(`(?i)\b(password|passwd|pwd|secret|token|api[_-]?key)("?\s*[:=]\s*"?)[^\s",;]+`),
	regexp.MustCompile(`\+?\d([ ./-]?\d){6,}`),
}

// redactor takes out of texts what is not to be logged.
type redactor []*regexp.Regexp

// newRedactor compiles further patterns. Its error is a problem with a pointer.
func newRedactor(more []string) (redactor, error) {
	list := append(redactor(nil), always...)
	for i, s := range more {
		re, err := regexp.Compile(s)
		if err != nil {
			return nil, sdk.NewProblem("/log/redact/"+strconv.Itoa(i), err.Error())
		}
		list = append(list, re)
	}
	return list, nil
}

// redact returns a text in which "***" stands for what must not be seen, cut to what a log
// takes.
func (r redactor) redact(s string) string {
	for _, re := range r {
		s = re.ReplaceAllString(s, "***")
	}
	return short(s)
}

// maxLogged bounds a text in the log, in bytes.
const maxLogged = 2000

func short(s string) string {
	if len(s) > maxLogged {
		return strings.ToValidUTF8(s[:maxLogged], "") + "…"
	}
	return s
}
