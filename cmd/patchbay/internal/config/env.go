package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

const envPrefix = "PATCHBAY_"

// notKeys are the variables below envPrefix that set no key: the program's own,
// and go-plugin's for attaching to a plugin under a debugger.
var notKeys = [...]string{fileVariable, "PATCHBAY_REATTACH_PLUGINS"}

// serviceVariable matches what Kubernetes puts into every container for a
// Service called patchbay or patchbay-something. They are no settings, and a
// broker that refuses to start because of them would be a riddle.
var serviceVariable = regexp.MustCompile(`^PATCHBAY_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// servicePort matches the value of the one that cannot be told by its name.
var servicePort = regexp.MustCompile(`^(tcp|udp|sctp)://`)

// environment turns "NAME=value" lines into a map. An empty value is left out:
// that is how compose files and scripts say "not set".
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, line := range environ {
		if name, value, _ := strings.Cut(line, "="); value != "" {
			env[name] = value
		}
	}
	return env
}

// environmentLayer returns the layer of the PATCHBAY_… variables that are keys.
func (l *loader) environmentLayer() map[string]any {
	layer := map[string]any{}
	l.root.settable(func(k *key) {
		if s, ok := l.env[k.envName()]; ok {
			l.setText(layer, k, s, Source{Env: k.envName()})
		}
	})
	return layer
}

// unknownVariables finds PATCHBAY_… variables that are no keys, after all
// layers: one that a ${env:…} names is the operator's own.
func (l *loader) unknownVariables() {
	known := slices.Clone(notKeys[:])
	l.root.settable(func(k *key) { known = append(known, k.envName()) })
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		switch {
		case !strings.HasPrefix(name, envPrefix), slices.Contains(known, name), l.referenced[name]:
		case serviceVariable.MatchString(name):
		case strings.HasSuffix(name, "_PORT") && servicePort.MatchString(l.env[name]):
		default:
			hint := "; `patchbay config example` shows all keys"
			if near := nearest(name[len(envPrefix):], trimPrefixes(known)); near != "" {
				hint = "; did you mean " + envPrefix + near + "?"
			}
			l.problem(Source{Env: name}, "", "no key has this name%s", hint)
		}
	}
}

func trimPrefixes(names []string) []string {
	trimmed := make([]string, len(names))
	for i, n := range names {
		trimmed[i] = strings.TrimPrefix(n, envPrefix)
	}
	return trimmed
}

// compact reads the one-line form of listeners:
// "tcp://:1883,tls://:8883?cert=server.pem&key=server.key,ws://:8083/mqtt".
func (l *loader) compact(k *key, s string, src Source) []any {
	l.forget(k.path)
	l.sources[k.path] = src
	list := []any{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		path := fmt.Sprintf("%s[%d]", k.path, len(list))
		l.sources[path] = src
		list = append(list, l.compactListener(k, path, part, src))
	}
	return list
}

func (l *loader) compactListener(k *key, path, s string, src Source) map[string]any {
	listener := k.defaults()
	network, rest, found := strings.Cut(s, "://")
	transport := k.child(network)
	if !found || transport == nil || !slices.Contains([]string{"tcp", "tls", "ws", "wss", "unix"}, network) {
		l.problem(src, path, "%s is not a listener such as tcp://:1883, ws://:8083/mqtt or unix:///run/patchbay.sock", quote(s))
		return listener
	}
	address, query, _ := strings.Cut(rest, "?")
	set := func(c *key, text string) {
		if v, ok := l.value(c, path+"."+c.name, text, src); ok {
			listener[c.name] = v
		}
	}
	if i := strings.IndexByte(address, '/'); i >= 0 && strings.HasPrefix(network, "ws") {
		set(k.child("path"), address[i:])
		address = address[:i]
	}
	set(transport, address)
	values, err := url.ParseQuery(query)
	if err != nil {
		l.problem(src, path, "%s: %s", quote(s), err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		c := k.child(name)
		switch {
		case c == nil:
			l.problem(src, path+"."+name, "unknown key%s", l.suggest(k, name))
		case c.kind == sections:
			l.problem(src, path+"."+name, "can only be set in a file")
		case c.kind == textList:
			set(c, strings.Join(values[name], ","))
		default:
			set(c, values[name][len(values[name])-1])
		}
	}
	return listener
}

// expand replaces the references in s: ${env:NAME} by the variable, and
// ${file:PATH} by the file's content without the line break at its end. $${
// stands for ${ itself. What is put in is not expanded again. found reports
// whether there was a reference: the value is a secret then.
func (l *loader) expand(s string) (expanded string, found bool, err error) {
	return l.replace(s, func(string) bool { return true })
}

// expandOnly is expand for text that may have placeholders of somebody else: what is in
// ${ } and begins with neither env: nor file: stays as it is.
func (l *loader) expandOnly(s string) (expanded string, found bool, err error) {
	return l.replace(s, func(reference string) bool {
		return strings.HasPrefix(reference, "env:") || strings.HasPrefix(reference, "file:")
	})
}

// replace replaces the references that are ours, told by what follows ${.
func (l *loader) replace(s string, ours func(rest string) bool) (expanded string, found bool, err error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			return b.String() + s, found, nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		if !ours(s[i+2:]) {
			b.WriteString(s[:i+2])
			s = s[i+2:]
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return "", true, errors.New("a ${ without closing }; $${ stands for ${ itself")
		}
		content, err := l.resolve(s[i+2 : i+end])
		if err != nil {
			return "", true, err
		}
		b.WriteString(s[:i] + content)
		s, found = s[i+end+1:], true
	}
}

// secretLimit bounds a file named by ${file:…}: no secret is so long, and a
// path such as /dev/zero should not take the memory of the machine.
const secretLimit = 1 << 20

func (l *loader) resolve(reference string) (string, error) {
	from, name, _ := strings.Cut(reference, ":")
	switch {
	case name == "":
	case from == "env":
		l.referenced[name] = true
		value, ok := l.env[name]
		if !ok {
			return "", fmt.Errorf("${env:%s}: the environment variable %s is not set, or empty", name, name)
		}
		return value, nil
	case from == "file":
		content, err := readLimited(name, secretLimit)
		if err != nil {
			return "", fmt.Errorf("${file:%s}: %s", name, reason(err))
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), nil
	}
	return "", errors.New("a ${…} that is neither ${env:NAME} nor ${file:PATH}; $${ stands for ${ itself")
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("larger than %s", Size(limit))
	}
	return content, err
}
