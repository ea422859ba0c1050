package bridgesql

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	bridgetest.Eventually(t, what, func() error {
		if !fn() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// One statement that all databases have.
const plain = `[{"name":"r","filters":["#"],"statement":"INSERT INTO t (v) VALUES (${payload.v})","retry_min":"10ms","retry_max":"20ms"}]`

// Ways to a server: sockets, TLS, several addresses, and what is wrong with them.
func testConnections(t *testing.T, s *server) {
	wrong := t.TempDir()
	if err := writeCertificate(wrong); err != nil {
		t.Fatal(err)
	}
	encrypted := map[string]string{
		"postgres": "(SELECT CASE WHEN ssl THEN version ELSE 'plain' END FROM pg_stat_ssl WHERE pid = pg_backend_pid())",
		"mysql":    "(SELECT coalesce(nullif(variable_value, ''), 'plain') FROM information_schema.session_status WHERE variable_name = 'Ssl_version')",
	}[s.kind]
	for _, c := range []struct {
		name   string
		change func(d *database)
		want   string // what the session is
		fault  string // a part of what health says
	}{
		{"tcp", func(*database) {}, "plain", ""},
		{"socket", func(d *database) { d.with("addresses", []string{s.socket}) }, "plain", ""},
		{"tls", func(d *database) { d.with("tls", map[string]any{"mode": "on", "ca_file": s.ca()}) }, "TLSv1.3", ""},
		{"tls of a stranger", func(d *database) {
			d.with("tls", map[string]any{"mode": "on", "ca_file": filepath.Join(wrong, "cert.pem")})
		}, "", "certificate"},
		{"tls for another name", func(d *database) {
			d.with("tls", map[string]any{"mode": "on", "ca_file": s.ca(), "server_name": "db.example.com"})
		}, "", "db.example.com"},
		{"tls unverified", func(d *database) {
			d.with("tls", map[string]any{"mode": "on", "insecure_skip_verify": true})
		}, "TLSv1.3", ""},
		{"second address", func(d *database) { d.with("addresses", []string{"127.0.0.1:1", s.addr}) }, "plain", ""},
		{"wrong password", func(d *database) { d.with("password", "xyzzy") }, "", "patchbay"},
		{"nobody there", func(d *database) { d.with("addresses", []string{"127.0.0.1:1"}) }, "", "refused"},
		{"no such database", func(d *database) { d.with("name", "nowhere") }, "", "nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.fresh(t)
			d.exec("CREATE TABLE t (v INT, s VARCHAR(20))")
			c.change(d)
			r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.v}, ` + encrypted + `)"}]`)
			if c.fault != "" {
				eventually(t, "health says it", func() bool {
					text := r.health()
					return strings.HasPrefix(text, "remote "+d.config["name"].(string)+" does not answer") && strings.Contains(text, c.fault)
				})
				if text := fmt.Sprint(r.health(), r.Host.Logs()); strings.Contains(text, "xyzzy") || strings.Contains(text, password) {
					t.Errorf("the password is told: %s", text)
				}
				return
			}
			if got := r.say(`t {"v":1}`); got != "ok" {
				t.Fatal(got, r.health())
			}
			d.expect("SELECT v, s FROM t", "1 "+c.want)
		})
	}
}

// A transaction that takes too long is tried with fewer rows.
func testSlow(t *testing.T, d *database) {
	d.exec("CREATE TABLE t (v INT, s INT)")
	sleep := map[string]string{"postgres": "CASE WHEN pg_sleep(0.05) IS NULL THEN 0 ELSE 1 END", "mysql": "SLEEP(0.05)"}[d.kind]
	r := d.with("timeout", "500ms").start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.v}, ` + sleep + `)","retry_min":"10ms","retry_max":"20ms"}]`)
	var messages []string
	for i := range 20 {
		messages = append(messages, fmt.Sprintf(`t {"v":%d}`, i))
	}
	b := r.batch(messages...)
	all := strings.TrimSpace(strings.Repeat("ok ", len(messages)))
	if first := r.hand(b); first == all {
		t.Fatal("1 s of work was done in half of one")
	}
	r.until(all, b)
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
	}
	d.expect("SELECT DISTINCT v FROM t ORDER BY v", strings.Join(want, "\n"))
}

// What only PostgreSQL has.
func testPostgres(t *testing.T, d *database) {
	d.exec("CREATE TABLE t (v int, tags text[], n int[], u uuid, s text)", "CREATE FUNCTION f(x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF x > 9 THEN RAISE 'too much'; END IF; INSERT INTO t (v) VALUES (x); RETURN x; END $$",
		"DROP ROLE IF EXISTS weak", "CREATE ROLE weak LOGIN PASSWORD 'pw'", "CREATE TABLE secured (v int)", "ALTER TABLE secured ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON secured USING (v < 5)", "GRANT INSERT ON secured TO weak")
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.v}, ${payload.tags}, ${payload.n}, ${payload.u}, ${payload|text})"}]`)
	id := "c0ffee00-0000-4000-8000-000000000000"
	if got := r.say(`t {"v":1e2,"tags":["a\"b","c,d",null],"n":[1,2],"u":"`+id+`"}`, "t {\"u\":\"x\"}", `t {"n":["x"]}`, "t \xff", `t {"v":1.5}`, `t {"n":{}}`); got != "ok dead dead dead dead dead" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT v, array_to_string(tags, '|', '-'), n[2], u FROM t", `100 a"b|c,d|- 2 `+id)
	f := d.start(`[{"name":"r","filters":["#"],"statement":"SELECT f(${payload.v})"}]`)
	if got := f.say(`t {"v":7}`, `t {"v":10}`, `t {"v":8}`); got != "ok dead ok" { // what a function raises is about the row
		t.Fatal(got, f.health())
	}
	d.expect("SELECT v FROM t WHERE v < 10 ORDER BY v", "7\n8")
	d.exec("DELETE FROM t", "INSERT INTO t (v) VALUES (0)")
	testSerialization(t, d)

	w := d.with("user", "weak").with("password", "pw").start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO secured VALUES (${payload.v})"},{"name":"denied","filters":["#"],"statement":"DELETE FROM t"}]`)
	if got := w.say(`t {"v":1}`, `t {"v":7}`, `t {"v":2}`); got != "ok dead ok" { // a policy is about the row, too
		t.Fatal(got, w.health())
	}
	b := w.batch("t {}")
	b.Consumer = "denied" // a privilege is not
	if got := w.hand(b); got != "again" || !strings.Contains(w.health(), "permission denied") {
		t.Fatal(got, w.health())
	}
	d.exec("DROP OWNED BY weak") // roles belong to the server, which another run may have again
}

// A transaction that somebody else's has come in between is tried again.
func testSerialization(t *testing.T, d *database) {
	s := d.with("options", map[string]string{"default_transaction_isolation": "repeatable read"}).start(`[{"name":"r","filters":["#"],"statement":"UPDATE t SET v = v + 1"}]`)
	c, err := d.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, q := range []string{"BEGIN", "UPDATE t SET v = 10"} {
		if _, err := c.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	said := make(chan string)
	go func() { said <- s.hand(s.batch("t {}")) }()
	eventually(t, "the bridge waits for the lock", func() bool {
		return d.rows("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") == "1"
	})
	if _, err := c.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if got := <-said; got != "ok" || s.repeated() == 0 {
		t.Errorf("%s, %v repeated: %s", got, s.repeated(), s.health())
	}
	d.expect("SELECT v FROM t", "11")
	delete(d.config, "options")
}

// What only MySQL has: many rows in a statement, of which the bad ones are found by halves, and
// limits.
func testMySQL(t *testing.T, d *database) {
	d.exec("CREATE TABLE t (v INT PRIMARY KEY, s VARCHAR(10), j JSON)")
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.v}, ${payload.s}, ${payload.j})"}]`)
	before := d.rows("SHOW GLOBAL STATUS LIKE 'Com_insert'")
	var messages []string
	for i := range 600 {
		messages = append(messages, fmt.Sprintf(`t {"v":%d}`, i))
	}
	if got := r.say(messages...); strings.Count(got, "ok") != 600 {
		t.Fatal(got, r.health())
	}
	var from, to int
	fmt.Sscanf(before, "Com_insert %d", &from)
	fmt.Sscanf(d.rows("SHOW GLOBAL STATUS LIKE 'Com_insert'"), "Com_insert %d", &to)
	if to-from > 10 {
		t.Errorf("%d statements for 600 rows", to-from)
	}
	if got := r.say(`t {"v":1001}`, `t {"v":1002,"s":"longer than it may be"}`, `t {"v":"x"}`, `t {"v":99999999999}`, `t {"v":1003,"j":{"a":1}}`, `t {"v":1}`, `t {"v":1004,"s":"\uD83D\uDE00"}`); got != "ok dead dead dead ok dead ok" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT v, s FROM t WHERE v > 1000 ORDER BY v", "1001 NULL\n1003 NULL\n1004 😀")
	// More than the server takes at once, and one that it never takes.
	d.exec("SET GLOBAL max_allowed_packet = 1048576", "CREATE TABLE big (b LONGBLOB)")
	defer d.exec("SET GLOBAL max_allowed_packet = 16777216")
	large := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO big VALUES (${payload})"}]`)
	b := large.batch("t", "t", "t", "t")
	for i, n := range []int{700 << 10, 700 << 10, 3 << 20, 1} {
		b.Deliveries[i].Message.Payload = make([]byte, n)
	}
	large.until("ok ok dead ok", b)
}
