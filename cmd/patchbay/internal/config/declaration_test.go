package config

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// TestDeclaration proves that what the tags say holds together, for every key.
func TestDeclaration(t *testing.T) {
	root, err := documented()
	if err != nil {
		t.Fatal(err)
	}
	var example bytes.Buffer
	if err := Example(&example); err != nil {
		t.Fatal(err)
	}
	envNames := map[string]string{}
	root.settable(func(k *key) {
		if other := envNames[k.envName()]; other != "" {
			t.Errorf("%s is the variable of both %s and %s", k.envName(), other, k.path)
		}
		envNames[k.envName()] = k.path
	})
	inExample := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)(?:^[ #-]*|[{,] ?)([a-z_0-9]+):`).FindAllSubmatch(example.Bytes(), -1) {
		inExample[string(m[1])] = true
	}
	keys := 0
	root.all(func(k *key) {
		keys++
		if k.doc == "" {
			t.Errorf("%s has no documentation", k.path)
		}
		if !inExample[k.name] {
			t.Errorf("%s is not in the example", k.path)
		}
		if k.kind <= sections {
			return
		}
		if k.def != "" {
			if v, err := k.parse(k.def); err != nil {
				t.Errorf("default of %s: %v", k.path, err)
			} else if k.kind != textList && format(v) != k.def {
				t.Errorf("default of %s is written %q and shown %q", k.path, k.def, format(v))
			}
		} else if k.kind != text && k.kind != textList && k.kind < freeform {
			t.Errorf("%s has no default", k.path)
		}
		for _, bound := range []string{k.min, k.max} {
			if _, err := k.read(bound); bound != "" && err != nil {
				t.Errorf("bound of %s: %v", k.path, err)
			}
		}
		for _, network := range k.only {
			if c := root.child("listeners").child(network); c == nil || !isTransport(c) {
				t.Errorf("%s is only for %q, which is no transport", k.path, network)
			}
		}
		if k.kind == integer && k.unit == "" {
			t.Errorf("%s counts what?", k.path)
		}
	})
	if keys < 80 {
		t.Errorf("only %d keys found", keys)
	}
}

// TestChecksExist: a tag that names a check which nobody wrote would let
// everything pass.
func TestChecksExist(t *testing.T) {
	wrong := map[string]string{
		"address": "x", "address_or_off": "x", "cidr": "x", "url_path": "x", "origin": "x", "mode": "x",
		"topic_filter": "a#", "cipher_suite": "x", "utf8": strings.Repeat("x", 65536), "required": "",
		"plugin_name": "Auth", "secret_name": "a/b", "revocable": "kv", "plugin_key": "ed25519:AAAA", "sha256": "abc", "variable": "1A=2",
		"sync": "interval(0s)", "whole_seconds": "1500ms", "expiry": "1500ms", "retry_interval": "10ms",
	}
	declaration().all(func(k *key) {
		if k.check == "" {
			return
		}
		s, ok := wrong[k.check]
		if !ok {
			t.Errorf("%s: no value is known that the check %q refuses", k.path, k.check)
			return
		}
		if _, err := k.parse(s); err == nil {
			t.Errorf("%s: the check %q lets %q pass", k.path, k.check, s)
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"max_qos", "max_packet_size", "log", "tcp", "level"}
	for s, want := range map[string]string{
		"max_qs": "max_qos", "MAX_QOS": "max_qos", "max_paket_sise": "max_packet_size", "lgo": "log",
		"levle": "level", "zzz": "", "port": "", "": "",
	} {
		if got := nearest(s, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", s, got, want)
		}
	}
	if d := editDistance("kitten", "sitting"); d != 3 {
		t.Errorf("distance of kitten and sitting is %d, want 3", d)
	}
	if d := editDistance("ab", "ba"); d != 1 {
		t.Errorf("distance of ab and ba is %d, want 1", d)
	}
}

func TestOverlap(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{":1883", ":1883", true},
		{":1883", "127.0.0.1:1883", true},
		{":1883", "[::1]:1883", true},
		{":1883", ":1884", false},
		{":0", ":0", false},
		{"127.0.0.1:1883", "127.0.0.1:01883", true},
		{"127.0.0.1:1883", "localhost:1883", true},
		{"127.0.0.1:1883", "127.0.0.2:1883", false},
		{"127.0.0.1:1883", "[::1]:1883", false},
		{"0.0.0.0:1883", "127.0.0.1:1883", true},
		{"127.0.0.1:1883", "0.0.0.0:1883", true},
		{"0.0.0.0:1883", "[::1]:1883", false},
		{"0.0.0.0:1883", "[::]:1883", true},
		{"[::ffff:127.0.0.1]:1883", "127.0.0.1:1883", true},
		{"broker.example:1883", "BROKER.example:1883", true},
		{"broker.example:1883", "127.0.0.1:1883", false},
		{"off", ":1883", false},
	}
	for _, tt := range tests {
		if got := overlap(tt.a, tt.b); got != tt.want {
			t.Errorf("overlap(%s, %s) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
