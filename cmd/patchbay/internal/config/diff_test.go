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
		{
			"plugins by name",
			load("plugins: [{name: a, config: {x: 1}}, {name: b, grants: [kv]}, {name: gone}]"),
			load("plugins: [{name: new, plugin: a}, {name: b, grants: [kv, {http: ['http://a']}], hooks: {tick: off}}, {name: a, config: {x: '${env:X}'}}]", "X=hunter2"),
			[]Change{
				{"plugins[new]", "", "builtin a", Live},
				{"plugins[b].grants", `["kv"]`, `["kv", {"http": {"origins": ["http://a"]}}]`, Live},
				{"plugins[b].hooks", `{}`, `{"tick": "off"}`, Live},
				{"plugins[a].config.x", "***", "***", Live},
				{"plugins[gone]", "builtin gone", "", Live},
				{"plugins", "a, b", "b, a", Live},
			},
		},
		{
			"a config", load("plugins: [{name: a, config: {x: '${env:X}', y: {z: 1}, gone: 1, same: 1}}]", "X=1"),
			load("plugins: [{name: a, config: {same: 1, x: '${env:X}', y: {z: 2}, new: null}}]", "X=2"),
			[]Change{
				{"plugins[a].config.gone", "***", "", Live}, {"plugins[a].config.new", "", "***", Live},
				{"plugins[a].config.x", "***", "***", Live}, {"plugins[a].config.y", "***", "***", Live},
			},
		},
		{
			"secrets", load("secrets: {a: one, b: two, c: three}"), load("secrets: {a: one, b: other, d: four}"),
			[]Change{{"secrets.b", "***", "***", Live}, {"secrets.c", "***", "", Live}, {"secrets.d", "", "***", Live}},
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
