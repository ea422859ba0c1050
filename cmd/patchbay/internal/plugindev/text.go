package plugindev

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// sizeOf returns the size of a file for people.
func sizeOf(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	return size(info.Size()), nil
}

// size writes a number of bytes with three digits.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.3g KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.3g MiB", float64(n)/(1<<20))
}

// clean keeps what others have written from moving the cursor of a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\t' {
			return r
		}
		return '\uFFFD'
	}, s)
}

// plural is "1 event", "2 events".
func plural(n int, one string) string {
	switch {
	case n == 1:
		return "1 " + one
	case strings.HasSuffix(one, "ch"):
		return fmt.Sprintf("%d %ses", n, one)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// grantText is a grant as it is written in a configuration.
func grantText(g pluginv1.Grant) string {
	g.Reason, g.Optional = "", false
	text := config.Grants{g}.String()
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if strings.HasPrefix(text, `"`) { // its name alone
		text = g.Name
	}
	return clean(text)
}

// thousands writes a number with its digits in groups.
func thousands(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// indent writes a text that may have several lines.
func indent(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(w, "    %s\n", clean(strings.TrimRight(line, "\r\n")))
	}
}
