package bridgesql

import (
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// refusal is what is wrong with a config, a line for each problem.
func refusal(t testing.TB, config string) string {
	t.Helper()
	_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
	var out []string
	for _, p := range res.Problems {
		out = append(out, p.Pointer+" "+p.Message)
	}
	return strings.Join(out, "\n")
}

func TestConfig(t *testing.T) {
	const (
		file  = `{"type":"sqlite","file":"/nowhere/x.db"}`
		db    = `{"type":"postgres","addresses":["db"],"name":"n","user":"u"}`
		route = `{"name":"r","filters":["a/#"],"statement":"SELECT ${topic}"}`
	)
	for _, c := range []struct{ database, routes, want string }{
		{file, route, ""},
		{db, route, ""},
		{`{"type":"mysql","addresses":["[::1]:3307","db.example.com:1","/run/x.sock"],"name":"n","user":"u","tls":{"mode":"off"}}`, route, ""},
		{`{"type":"oracle"}`, route, `/database/type must be one of postgres, mysql, sqlite`},
		{`{"type":"sqlite"}`, route, `/database/file sqlite needs a file, as "/var/lib/patchbay/plant.db"`},
		{`{"type":"sqlite","file":":memory:"}`, route, `/database/file a database in memory is gone with the plugin: give a file`},
		{`{"type":"sqlite","file":"x","addresses":["db"],"name":"n","user":"u"}`, route, "/database/addresses sqlite has none; it has a file\n/database/name sqlite has none; it has a file\n/database/user sqlite knows no users; the file belongs to who runs the broker"},
		{`{"type":"mysql","file":"x"}`, route, "/database/file it is for sqlite; mysql has addresses and a name\n/database/addresses mysql needs an address, as \"db.example.com\"\n/database/name mysql needs the name of a database\n/database/user mysql needs a user"},
		{`{"type":"postgres","addresses":["postgres://u@db/n","db:x","db:70000",""],"name":"n","user":"u"}`, route,
			"/database/addresses/0 \"postgres://u@db/n\" is neither host, host:port, nor the path of a socket\n/database/addresses/1 \"db:x\" is neither host, host:port, nor the path of a socket\n" +
				"/database/addresses/2 \"db:70000\" is neither host, host:port, nor the path of a socket\n/database/addresses/3 \"\" is neither host, host:port, nor the path of a socket"},
		{strings.Replace(db, `"db"`, `"db"],"options":{"a = 1; --":"x"},"retry_min":"1m","retry_max":"1s","setup":[`, 1), route,
			"/database/retry_max it is shorter than retry_min\n/database/options/a = 1; -- \"a = 1; --\" is no name of a setting"},
		{strings.Replace(db, `"db"`, `"db"],"tls":{"ca_file":"/nowhere/ca.pem"},"setup":[`, 1), route, "/database/tls/ca_file open /nowhere/ca.pem: no such file or directory"},
		{strings.Replace(db, `"db"`, `"db"],"tls":{"ca_file":"config_test.go"},"setup":[`, 1), route, "/database/tls/ca_file config_test.go has no certificate in PEM"},
		{strings.Replace(db, `"db"`, `"db"],"tls":{"cert_file":"x"},"setup":[`, 1), route, "/database/tls/cert_file a certificate needs its key: cert_file and cert_key_file belong together"},
		{strings.Replace(db, `"db"`, `"db"],"tls":{"mode":"off","ca_file":"x"},"setup":[`, 1), route, "/database/tls/mode it is off, and there are certificates for it: one of the two is wrong"},
		{file, `{"name":"r","filters":["a"]}`, `/routes/0/statement a route needs a statement, as "INSERT INTO log (topic, payload) VALUES (${topic}, ${payload})", or a table with columns`},
		{file, `{"name":"r","filters":["a"],"statement":"SELECT '${topic}'"}`, "/routes/0/statement at character 9: a placeholder is a parameter, and not a part of a text: take the quotes away"},
		{file, `{"name":"r","filters":["a"],"statement":"SELECT 1","table":"t"}`, "/routes/0/table it is in place of statement: one of them is enough"},
		{file, `{"name":"r","filters":["a"],"statement":"SELECT 1","columns":{"a":"x"}}`, "/routes/0/columns they belong to a table; a statement has its own"},
		{file, `{"name":"r","filters":["a"],"statement":"SELECT 1","key":["a"]}`, "/routes/0/key it belongs to a table; a statement says itself what becomes of a row that is there, as by ON CONFLICT"},
		{file, `{"name":"r","filters":["a"],"table":"t"}`, `/routes/0/columns a table needs columns, as {id: "${id}", topic: "${topic}"}`},
		{file, `{"name":"r","filters":["a"],"table":"t","columns":{"a":"${topik}"}}`, `/routes/0/columns/a at character 3: there is no variable "topik"`},
		{file, `{"name":"r","filters":["a"],"table":"t","columns":{"a":"x","b":"y"},"key":["c"]}`, `/routes/0/key/0 "c" is none of the columns a, b`},
		{file, `{"name":"r","filters":["a"],"table":"t","columns":{"a":"x"},"on_conflict":"ignore"}`, "/routes/0/on_conflict it needs the key by which a row that is there is found"},
		{file, `{"name":"R","filters":["a"],"statement":"SELECT 1"},{"name":"R","filters":["a/#/b"],"statement":"SELECT 1"}`,
			"/routes/0/name \"R\" has characters other than a-z, 0-9 and \"-\"\n/routes/1/name \"R\" has characters other than a-z, 0-9 and \"-\"\n/routes/1/filters/0 "},
	} {
		got := refusal(t, `{"database":`+c.database+`,"routes":[`+c.routes+`]}`)
		if got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s %s\n     %s\nwant %s", c.database, c.routes, got, c.want)
		}
	}
}

// Where TLS is used without being asked for: wherever somebody else could listen.
func TestTLS(t *testing.T) {
	for _, c := range []struct {
		mode, address, server string // "": no TLS
	}{
		{"auto", "db.example.com", "db.example.com"}, {"auto", "10.0.0.1:99", "10.0.0.1"}, {"auto", "[2001:db8::1]", "2001:db8::1"},
		{"auto", "localhost", ""}, {"auto", "127.0.0.2", ""}, {"auto", "[::1]:99", ""}, {"auto", "/run/db.sock", ""},
		{"on", "localhost", "localhost"}, {"on", "/run/db.sock", ""}, {"off", "db.example.com", ""},
	} {
		x := TLS{Mode: c.mode}
		base, err := x.config()
		if err != nil {
			t.Fatal(err)
		}
		to, ok := parseAddress("mysql", c.address)
		if !ok {
			t.Fatal(c.address)
		}
		got := ""
		if o := x.of(base, to); o != nil {
			got = o.ServerName
		}
		if got != c.server {
			t.Errorf("%s %s: %q, want %q", c.mode, c.address, got, c.server)
		}
	}
}
