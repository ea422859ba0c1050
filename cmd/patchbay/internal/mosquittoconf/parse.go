package mosquittoconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// entry is a line of a configuration file.
type entry struct {
	file  string // as it was named
	line  int
	key   string
	value string // the rest of the line
	taken bool   // it is accounted for
}

func (e *entry) place() string { return e.file + ":" + strconv.Itoa(e.line) }

// sizeLimit bounds a file that is read.
const sizeLimit = 64 << 20

// readFile reads a file that is not unreasonably large.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, plain(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("is no file")
	case info.Size() > sizeLimit:
		return nil, fmt.Errorf("is larger than %d MiB", sizeLimit>>20)
	}
	text, err := os.ReadFile(path)
	return text, plain(err)
}

// plain leaves the path out of an error of package os.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// readEntries reads a main configuration file and what it includes, in Mosquitto's order.
func readEntries(file string) ([]*entry, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []*entry
	for _, e := range parseEntries(file, string(text)) {
		all = append(all, e)
		if e.key != "include_dir" {
			continue
		}
		e.taken = true
		included, err := readFolder(locate(e.value, file))
		if err != nil {
			return nil, fmt.Errorf("%s: include_dir %s: %w", e.place(), e.value, err)
		}
		all = append(all, included...)
	}
	return all, nil
}

// readFolder reads all *.conf of a folder. An include_dir in there is not looked at by
// Mosquitto either.
func readFolder(dir string) (all []*entry, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, plain(err)
	}
	var names []string
	for _, d := range list {
		if strings.HasSuffix(d.Name(), ".conf") {
			names = append(names, d.Name())
		}
	}
	slices.SortFunc(names, includeOrder)
	for _, name := range names {
		file := filepath.Join(dir, name)
		text, err := readFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, parseEntries(file, string(text))...)
	}
	return all, nil
}

// includeOrder is alphabetical, each letter's upper case before its lower case.
func includeOrder(a, b string) int {
	if c := strings.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// parseEntries splits a file into lines, as Mosquitto does: a comment begins in the
// first column, a value goes to the end of its line, and may have blanks in it.
func parseEntries(file, text string) (all []*entry) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\r\n\v\f")
		if strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		if key == "" {
			continue
		}
		all = append(all, &entry{file: file, line: n, key: key, value: strings.TrimLeft(value, " ")})
	}
	return all
}

// locate makes a path absolute. One that is relative is where Mosquitto was started, which
// nobody knows: here, or beside the file that names it.
func locate(path, from string) string {
	if filepath.IsAbs(path) {
		return path
	}
	here, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if _, err := os.Stat(here); err != nil {
		beside, err := filepath.Abs(filepath.Join(filepath.Dir(from), path))
		if err == nil {
			if _, err := os.Stat(beside); err == nil {
				return beside
			}
		}
	}
	return here
}

// section is what belongs together: the broker, a listener, or a bridge.
type section struct {
	at   *entry // that begins it; nil for the broker and its default listener
	list []*entry
}

func (s *section) add(e *entry) { s.list = append(s.list, e) }

// last takes all entries of a key and returns the last one, which counts; nil if there is
// none.
func (s *section) last(key string) (found *entry) {
	for _, e := range s.list {
		if e.key == key {
			e.taken = true
			found = e
		}
	}
	return found
}

// all takes all entries of a key.
func (s *section) all(key string) (found []*entry) {
	for _, e := range s.list {
		if e.key == key {
			e.taken = true
			found = append(found, e)
		}
	}
	return found
}

// text is the value of a key; "" if it is not there.
func (s *section) text(key string) string {
	if e := s.last(key); e != nil {
		return e.value
	}
	return ""
}

// is reports whether a key is true; def if it is not there.
func (s *section) is(key string, def bool) bool {
	e := s.last(key)
	if e == nil {
		return def
	}
	switch strings.ToLower(e.value) {
	case "true", "1":
		return true
	case "false", "0":
		return false
	}
	return def
}

// conf is a configuration in its parts.
type conf struct {
	broker    section
	standard  section // the default listener
	listeners []*section
	bridges   []*section
	separate  bool // per_listener_settings
}

// Which keys belong to what; all others are the broker's.
var (
	listenerKeys = words(`bind_interface capath cafile certfile ciphers ciphers_tls1.3 crlfile dhparamfile http_dir keyfile
		max_connections max_qos max_topic_alias mount_point protocol psk_hint require_certificate socket_domain tls_engine
		tls_engine_kpass_sha1 tls_keyform tls_version use_identity_as_username use_subject_as_username use_username_as_clientid bind_address port`)
	bridgeKeys = words(`address addresses bridge_alpn bridge_attempt_unsubscribe bridge_bind_address bridge_cafile bridge_capath
		bridge_certfile bridge_identity bridge_insecure bridge_keyfile bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain
		bridge_protocol_version bridge_psk bridge_require_ocsp bridge_tls_version cleansession clientid idle_timeout keepalive_interval
		local_cleansession local_clientid local_password local_username notification_topic notifications notifications_local_only password
		remote_clientid remote_password remote_username restart_timeout round_robin start_type threshold topic try_private username`)
	securityKeys = words(`acl_file allow_anonymous allow_zero_length_clientid auth_plugin auth_plugin_deny_special_chars auto_id_prefix
		password_file plugin psk_file`)
)

func words(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

// divide puts entries into their sections.
func divide(all []*entry) *conf {
	c := &conf{}
	listener := &c.standard
	var bridge *section
	for _, e := range all {
		switch {
		case e.key == "listener":
			e.taken = true
			listener = &section{at: e}
			c.listeners = append(c.listeners, listener)
		case e.key == "connection":
			e.taken = true
			bridge = &section{at: e}
			c.bridges = append(c.bridges, bridge)
		case e.key == "per_listener_settings":
			e.taken = true
			c.separate = strings.EqualFold(e.value, "true") || e.value == "1"
		case e.key == "port" || e.key == "bind_address":
			c.standard.add(e)
		case listenerKeys[e.key]:
			listener.add(e)
		case bridgeKeys[e.key] && bridge != nil:
			bridge.add(e)
		case c.separate && (securityKeys[e.key] || option(e.key)):
			listener.add(e)
		default:
			c.broker.add(e)
		}
	}
	return c
}

// option reports whether a key is one of a Mosquitto plugin's.
func option(key string) bool {
	return strings.HasPrefix(key, "auth_opt_") || strings.HasPrefix(key, "plugin_opt_")
}
