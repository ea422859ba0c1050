// Package clientid decides which Client Identifiers a user may have: who takes another
// client's id takes its session.
package clientid

import (
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/glob"
)

// Allowed reports whether a client of a user may have an id. In patterns "*" stands for
// any text and "%u" for the user name; nil allows all. A name with a "*" in it would
// stand for others' ids, so patterns with %u do not fit it.
func Allowed(patterns []string, username, clientID string) bool {
	if patterns == nil {
		return true
	}
	for _, p := range patterns {
		if strings.Contains(p, "%u") {
			if strings.Contains(username, "*") {
				continue
			}
			p = strings.ReplaceAll(p, "%u", username)
		}
		if glob.Match(p, clientID) {
			return true
		}
	}
	return false
}
