package acl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/sdk"
)

// aclFile is a Mosquitto acl_file.
type aclFile struct {
	path string
	// users are the rules below "user NAME"; anonymous those before the first of these,
	// which are about clients without a user name and nobody else.
	users     map[string][]fileRule
	anonymous []fileRule
	patterns  []fileRule
}

// fileRule is a line "topic …" or "pattern …".
type fileRule struct {
	line    int
	allow   bool
	actions sdk.Access
	topic   template
	text    string
}

// parseFile reads a Mosquitto acl_file as Mosquitto 2.0 does, which knows comments in the
// first column only, blanks but no tabs, and trailing white space. Errors name the line.
func parseFile(path string, content []byte) (*aclFile, error) {
	f := &aclFile{path: path, users: map[string][]fileRule{}}
	user, line := "", 0
	for text := range strings.Lines(string(content)) {
		line++
		text = strings.TrimRight(text, " \t\n\v\f\r")
		if strings.HasPrefix(text, "#") {
			continue
		}
		if text = strings.TrimLeft(text, " "); text == "" {
			continue
		}
		if err := f.line(&user, line, text); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
	}
	deniesFirst(f.anonymous)
	deniesFirst(f.patterns)
	for _, rules := range f.users {
		deniesFirst(rules)
	}
	return f, nil
}

// deniesFirst is Mosquitto's order of the rules of a section.
func deniesFirst(rules []fileRule) {
	slices.SortStableFunc(rules, func(a, b fileRule) int {
		switch {
		case a.allow == b.allow:
			return 0
		case b.allow:
			return -1
		}
		return 1
	})
}

func (f *aclFile) line(user *string, line int, text string) error {
	if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
		return errors.New("the line is not UTF-8 without U+0000")
	}
	word, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimLeft(rest, " ")
	switch word {
	case "user":
		if rest == "" {
			return errors.New(`"user" is followed by a user name`)
		}
		*user = rest
		return nil
	case "topic", "pattern":
	default:
		return fmt.Errorf(`%q is none of "topic", "pattern" and "user", which begin a line`, word)
	}
	r := fileRule{line: line, allow: true, actions: sdk.AccessPublish | sdk.AccessReceive, text: text}
	topic := rest
	if access, name, ok := strings.Cut(rest, " "); ok {
		topic = strings.TrimLeft(name, " ")
		switch access {
		case "read":
			r.actions = sdk.AccessReceive
		case "write":
			r.actions = sdk.AccessPublish
		case "readwrite":
		case "deny":
			r.allow = false
		default:
			return fmt.Errorf("%q is none of read, write, readwrite and deny", access)
		}
	}
	if err := checkFilter(topic); err != nil {
		return fmt.Errorf("%q: %w", topic, err)
	}
	switch {
	case word == "pattern":
		r.topic = mosquittoTemplate(topic)
		f.patterns = append(f.patterns, r)
	case *user != "":
		r.topic = literalTemplate(topic)
		f.users[*user] = append(f.users[*user], r)
	default:
		r.topic = literalTemplate(topic)
		f.anonymous = append(f.anonymous, r)
	}
	return nil
}

// aclFile adds what an acl_file means for the client. In Mosquitto a client may subscribe
// to anything, and "read" is about what it then gets.
func (v *resolver) aclFile(f *aclFile) {
	section := f.anonymous
	if v.client.Username != "" {
		section = f.users[v.client.Username]
	}
	for i := range section {
		v.fileRule(f, &section[i], "")
	}
	v.patterns(f)
	for _, filter := range append(everything[:], v.roots(sdk.AccessReceive)...) {
		v.add(entry{
			allow: true, actions: sdk.AccessSubscribe, filter: filter, where: f.path,
			text: "an acl_file does not restrict subscriptions, but what comes of them",
		})
	}
}

// patterns adds the lines "pattern …". None of them is for a client whose name has a
// wildcard in it, as in Mosquitto, also where the pattern would not use the name.
func (v *resolver) patterns(f *aclFile) {
	c := v.client
	why := ""
	for _, name := range []string{c.Username, c.ClientID} {
		if strings.ContainsAny(name, "+#") {
			why = strconv.Quote(name) + ` has "+" or "#" in it, and patterns are not for such clients`
		}
	}
	for i := range f.patterns {
		r := &f.patterns[i]
		if why == "" && c.Username == "" && r.topic.has(userPlaceholder) {
			v.fileRule(f, r, "the client has no user name")
			continue
		}
		v.fileRule(f, r, why)
	}
}

func (v *resolver) fileRule(f *aclFile, r *fileRule, skipped string) {
	e := entry{allow: r.allow, actions: r.actions}
	if v.words {
		e.where, e.text = f.path+":"+strconv.Itoa(r.line), r.text
	}
	if strings.HasPrefix(r.topic.source, "$share/") {
		skipped = "no topic begins with $share"
	}
	if skipped != "" {
		v.skip(e, skipped)
		return
	}
	v.fill(e, &r.topic, "")
}
