package config

import (
	"reflect"
	"testing"
)

func TestDiff(t *testing.T) {
	t.Chdir(t.TempDir())
	writeCertificates(t)
	load := func(content string, environ ...string) *Config {
		t.Helper()
		writeFile(t, "patchbay.yaml", content)
		cfg, _, err := Load(Sources{File: "patchbay.yaml", Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	secure := "{tls: ':8883', cert: server.pem, key: server.key}"
	tests := []struct {
		name     string
		old, new *Config
		want     []Change
	}{
		{"nothing", load(""), load("log: {level: info}"), nil},
		{
			"live and restart", load("log: {level: info, format: text}\nsession: {max_expiry: 1h}"),
			load("log: {level: debug, format: json}\nsys: {disable: ['a/#']}"),
			[]Change{
				{"log.level", "info", "debug", Live},
				{"log.format", "text", "json", Restart},
				{"session.max_expiry", "1h", "never", Live},
				{"sys.disable", "", "a/#", Live},
			},
		},
		{
			"a secret", load("admin: {token: first-of-two-secrets}"), load("admin: {token: second-of-two-secrets}"),
			[]Change{{"admin.token", "***", "***", Restart}},
		},
		{
			"a secret that was not there", load(""), load("admin: {token: second-of-two-secrets}"),
			[]Change{{"admin.token", "", "***", Restart}},
		},
		{
			"a reference", load("data_dir: /a"), load("data_dir: '${env:DIR}'", "DIR=/b"),
			[]Change{{"data_dir", "/a", "***", Restart}},
		},
		{
			"listeners by name", load("listeners: [{tcp: ':1'}, " + secure + "]"),
			load("listeners: [{ws: ':2'}, {tls: ':8883', cert: other.pem, key: other.key, max_connections: 5}]"),
			[]Change{
				{"listeners[ws:2]", "", "ws :2", Restart},
				{"listeners[tls:8883].max_connections", "0", "5", Restart},
				{"listeners[tls:8883].cert", "server.pem", "other.pem", Live},
				{"listeners[tls:8883].key", "server.key", "other.key", Live},
				{"listeners[tcp:1]", "tcp :1", "", Restart},
			},
		},
		{
			"order is nothing", load("listeners: [{tcp: ':1'}, {tcp: ':2'}]"), load("listeners: [{tcp: ':2'}, {tcp: ':1'}]"), nil,
		},
		{
			"another address under the same name", load("listeners: [{tcp: ':1', name: a}]"), load("listeners: [{ws: ':1', name: a}]"),
			[]Change{{"listeners[a].tcp", ":1", "", Restart}, {"listeners[a].ws", "", ":1", Restart}},
		},
		{
			"a list of sections", load("listeners: [" + secure + "]"),
			load("listeners: [{tls: ':8883', cert: server.pem, key: server.key, certificates: [{cert: '${env:C}', key: other.key}]}]", "C=other.pem"),
			[]Change{{"listeners[tls:8883].certificates", "[]", `[{"cert":"***","key":"other.key"}]`, Live}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Diff(tt.old, tt.new); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}
