package bridgesql

import (
	"fmt"
	"strings"
	"testing"
)

// What every database has to do, each with a fresh one.
var databaseTests = []struct {
	name string
	test func(t *testing.T, d *database)
}{
	{"types", testTypes}, {"upsert", testUpsert}, {"ignore", testIgnore}, {"poison", testPoison}, {"foreign key", testForeignKey},
	{"lock", testLock}, {"misfit", testMisfit}, {"setup and options", testSetup}, {"large", testLarge}, {"codec", testCodec}, {"injection", testInjection}, {"example of the README", testExample},
}

func TestDatabases(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		for _, c := range databaseTests {
			t.Run(c.name, func(t *testing.T) { c.test(t, freshFile(t)) })
		}
		t.Run("poison at commit", func(t *testing.T) { testCommit(t, freshFile(t)) })
	})
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			s := startServer(t, kind)
			for _, c := range databaseTests {
				t.Run(c.name, func(t *testing.T) { c.test(t, s.fresh(t)) })
			}
			t.Run("connections", func(t *testing.T) { testConnections(t, s) })
			if kind == "postgres" {
				t.Run("poison at commit", func(t *testing.T) { testCommit(t, s.fresh(t)) })
				t.Run("own", func(t *testing.T) { testPostgres(t, s.fresh(t)) })
			} else {
				t.Run("own", func(t *testing.T) { testMySQL(t, s.fresh(t)) })
			}
			t.Run("slow", func(t *testing.T) { testSlow(t, s.fresh(t)) })
		})
	}
}

// types of columns: those of PostgreSQL, and what others call them.
func (d *database) table(columns string) {
	d.t.Helper()
	replace := map[string]*strings.Replacer{
		"mysql":  strings.NewReplacer("BYTES", "LONGBLOB", "TIME", "DATETIME(3)", "JSON", "JSON", "DOUBLE", "DOUBLE", "TEXT", "VARCHAR(200)"),
		"sqlite": strings.NewReplacer("BYTES", "BLOB", "TIME", "TEXT", "JSON", "TEXT", "DOUBLE", "REAL"),
		"postgres": strings.NewReplacer("BYTES", "bytea", "TIME", "timestamptz(3)", "JSON", "jsonb", "DOUBLE",
			"double precision"),
	}[d.kind]
	d.exec(replace.Replace("CREATE TABLE t (" + columns + ")"))
}

func testTypes(t *testing.T, d *database) {
	d.table("i BIGINT, f DOUBLE, n NUMERIC(30,10), b BOOLEAN, s TEXT, x TEXT, raw BYTES, ts TIME, j JSON, c TEXT, id BIGINT, u TEXT, q INT")
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.i}, ${payload.f}, ${payload.n|text}, ${payload.b}, ${payload.s}, ${payload.none}, ${payload}, ${timestamp}, ${payload.j|json}, ${client_id}, ${id}, ${user_property.site}, ${qos})"}]`)
	payload := `{"i":9007199254740993,"f":0.1,"n":12345678901234567890.0123456789,"b":true,"s":"ü'\"; DROP TABLE t; --","j":{"a":[1,null]}}`
	if got := r.say("a/b "+payload, "a/b {}"); got != "ok ok" {
		t.Fatal(got, r.health())
	}
	hex := map[string]string{"postgres": "encode(raw, 'hex')", "mysql": "lower(hex(raw))", "sqlite": "lower(hex(raw))"}[d.kind]
	number := "12345678901234567890.0123456789"
	if d.kind == "sqlite" {
		number = "1.2345678901234567e+19" // it has none
	}
	want := fmt.Sprintf("9007199254740993 0.1 %s 1 ü'\"; DROP TABLE t; -- NULL %x", number, payload)
	b := map[string]string{"postgres": "b::int"}[d.kind]
	if b == "" {
		b = "b"
	}
	d.expect("SELECT i, f, n, "+b+", s, x, "+hex+" FROM t WHERE i IS NOT NULL", want)
	ts := map[string]string{"postgres": "to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')", "mysql": "ts", "sqlite": "strftime('%Y-%m-%d %H:%M:%f', ts)"}[d.kind]
	j := map[string]string{"postgres": "j->'a'->>0", "mysql": "JSON_EXTRACT(j, '$.a[0]')", "sqlite": "json_extract(j, '$.a[0]')"}[d.kind]
	d.expect("SELECT "+ts+", "+j+", c, id, u, q FROM t WHERE i IS NOT NULL", "2026-01-02 03:04:05.678 1 dev-7 1001 hall 3 1")
	d.expect("SELECT i, f, n, b, s, id FROM t WHERE i IS NULL", "NULL NULL NULL NULL NULL 1002")
}

// What comes again does not make a second row, and the newest of a key stays; also within a
// batch.
func testUpsert(t *testing.T, d *database) {
	d.table("device TEXT NOT NULL PRIMARY KEY, v DOUBLE, id BIGINT")
	r := d.start(`[{"name":"r","filters":["#"],"table":"t","columns":{"device":"${topic[-1]}","v":"${payload.v}","id":"${id}"},"key":["device"]}]`)
	b := r.batch(`x/a {"v":1}`, `x/b {"v":2}`, `x/a {"v":3}`, `x/a {"v":4.5}`)
	for range 2 { // as after a crash
		if got := r.hand(b); got != "ok ok ok ok" {
			t.Fatal(got, r.health())
		}
	}
	d.expect("SELECT * FROM t ORDER BY device", "a 4.5 1004\nb 2 1002")
}

func testIgnore(t *testing.T, d *database) {
	d.table("id BIGINT PRIMARY KEY, s TEXT")
	r := d.start(`[{"name":"r","filters":["#"],"table":"t","columns":{"id":"${payload.id}","s":"<${payload.s}>"},"key":["id"],"on_conflict":"ignore"}]`)
	if got := r.say(`t {"id":1,"s":"one"}`, `t {"id":1,"s":"two"}`, `t {"id":2,"s":"three"}`); got != "ok ok ok" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT * FROM t ORDER BY id", "1 <one>\n2 <three>")
}

// Bad rows become dead letters, and take nobody with them.
func testPoison(t *testing.T, d *database) {
	d.table("v INT NOT NULL CHECK (v < 1000), s TEXT UNIQUE")
	r := d.start(`[{"name":"r","filters":["#"],"table":"t","columns":{"v":"${payload.v}","s":"${payload.s}"}}]`)
	var messages, words, rows []string
	for i := range 100 {
		switch {
		case i == 0 || i == 50 || i == 51:
			messages, words = append(messages, `t {"v":2000}`), append(words, "dead") // a check
		case i == 30:
			messages, words = append(messages, "t no JSON"), append(words, "dead") // the template
		case i == 31:
			messages, words = append(messages, `t {}`), append(words, "dead") // not null
		case i == 99:
			messages, words = append(messages, `t {"v":3,"s":"s1"}`), append(words, "dead") // unique
		default:
			messages, words = append(messages, fmt.Sprintf(`t {"v":%d,"s":"s%d"}`, i, i)), append(words, "ok")
			rows = append(rows, fmt.Sprint(i))
		}
	}
	if got := r.say(messages...); got != strings.Join(words, " ") {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT v FROM t ORDER BY v", strings.Join(rows, "\n"))
	bad := `t {"v":"hot"}` // a type
	if d.kind == "sqlite" {
		bad = `t {"v":"hot","s":"s1"}` // has no types
	}
	if got := r.say(bad, `t {"v":500}`); got != "dead ok" {
		t.Errorf("%s", got)
	}
	if text := r.health(); text != "" {
		t.Errorf("health: %s", text)
	}
}

// A row that is found bad when the transaction ends is found by halves. MySQL has no deferred
// constraints.
func testCommit(t *testing.T, d *database) {
	d.exec("CREATE TABLE p (id INT PRIMARY KEY)", "INSERT INTO p VALUES (1), (2), (3), (4), (5)", "CREATE TABLE t (p INT REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)")
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.p})"}]`)
	if got := r.say(`t {"p":1}`, `t {"p":2}`, `t {"p":77}`, `t {"p":3}`, `t {"p":4}`, `t {"p":78}`, `t {"p":5}`); got != "ok ok dead ok ok dead ok" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT p FROM t ORDER BY p", "1\n2\n3\n4\n5")
}

// A row that refers to one that is not there is tried max_attempts times, and nothing behind
// it overtakes it.
func testForeignKey(t *testing.T, d *database) {
	d.exec("CREATE TABLE p (id INT PRIMARY KEY)", "INSERT INTO p VALUES (1)", "CREATE TABLE t (p INT, FOREIGN KEY (p) REFERENCES p (id))")
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.p})","max_attempts":3,"retry_min":"10ms"}]`)
	b := r.batch(`t {"p":1}`, `t {"p":2}`, `t {"p":1}`)
	if got := r.hand(b); got != "ok again again" {
		t.Fatal(got, r.health())
	}
	b.Deliveries = b.Deliveries[1:]
	d.expect("SELECT p FROM t", "1")
	d.exec("INSERT INTO p VALUES (2)")
	if got := r.hand(b); got != "ok ok" {
		t.Fatal(got, r.health())
	}
	b = r.batch(`t {"p":9}`, `t {"p":1}`)
	for _, want := range []string{"again again", "again again", "dead ok"} {
		if got := r.hand(b); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	d.expect("SELECT p FROM t ORDER BY p", "1\n1\n1\n2")
}

// While somebody else has a lock, a transaction is tried again.
func testLock(t *testing.T, d *database) {
	d.table("k TEXT NOT NULL PRIMARY KEY, v INT")
	d.exec("INSERT INTO t VALUES ('a', 0)")
	d.with("options", map[string]map[string]string{"postgres": {"lock_timeout": "50ms"}, "mysql": {"innodb_lock_wait_timeout": "1"}, "sqlite": {"busy_timeout": "20"}}[d.kind])
	r := d.start(`[{"name":"r","filters":["#"],"statement":"UPDATE t SET v = ${payload.v} WHERE k = 'a'"}]`)
	if got := r.say(`t {"v":1}`); got != "ok" {
		t.Fatal(got, r.health())
	}
	c, err := d.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := "BEGIN"
	if d.kind == "sqlite" {
		begin = "BEGIN IMMEDIATE"
	}
	for _, s := range []string{begin, "UPDATE t SET v = 2"} {
		if _, err := c.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	b := r.batch(`t {"v":3}`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.until("ok", b)
	}()
	eventually(t, "it is tried again", func() bool { return r.repeated() > 0 })
	if _, err := c.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	<-done
	d.expect("SELECT v FROM t", "3")
}

// A table that is not there is no reason to throw messages away.
func testMisfit(t *testing.T, d *database) {
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t (v) VALUES (${payload.v})","retry_min":"10ms","retry_max":"20ms"}]`)
	eventually(t, "health says it", func() bool { return strings.HasPrefix(r.health(), "route r: ") })
	b := r.batch(`t {"v":1}`, `t {"v":2}`)
	if got := r.hand(b); got != "again again" {
		t.Fatal(got)
	}
	d.exec("CREATE TABLE t (v INT)")
	if got := r.hand(b); got != "ok ok" {
		t.Fatal(got, r.health())
	}
	if text := r.health(); text != "" {
		t.Errorf("health: %s", text)
	}
	d.exec("ALTER TABLE t RENAME TO other") // while there is a prepared statement
	b = r.batch(`t {"v":3}`)
	if got := r.hand(b); got != "again" {
		t.Fatal(got)
	}
	if text := r.health(); !strings.HasPrefix(text, "route r: ") {
		t.Errorf("health: %s", text)
	}
	d.exec("ALTER TABLE other RENAME TO t")
	if got := r.hand(b); got != "ok" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT v FROM t ORDER BY v", "1\n2\n3")
}

func testSetup(t *testing.T, d *database) {
	options := map[string]map[string]string{"postgres": {"application_name": "it's me"}, "mysql": {"sql_mode": "ANSI_QUOTES"}, "sqlite": {"cache_size": "-1234", "journal_mode": "wal"}}[d.kind]
	value := map[string]string{"postgres": "current_setting('application_name')", "mysql": "@@sql_mode", "sqlite": "(SELECT cache_size FROM pragma_cache_size)"}[d.kind]
	d.with("options", options).with("setup", []string{"CREATE TABLE IF NOT EXISTS t (v VARCHAR(100), o VARCHAR(100))"})
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload.v}, ` + value + `)"}]`)
	if got := r.say(`t {"v":1}`); got != "ok" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT v, o FROM t", "1 "+map[string]string{"postgres": "it's me", "mysql": "ANSI_QUOTES", "sqlite": "-1234"}[d.kind])
}

// Payloads of megabytes, and of all bytes.
func testLarge(t *testing.T, d *database) {
	d.table("id BIGINT PRIMARY KEY, raw BYTES")
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${id}, ${payload})"}]`)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	b := r.batch("t", "t", "t")
	b.Deliveries[1].Message.Payload = all
	b.Deliveries[2].Message.Payload = []byte(strings.Repeat("x", 3<<20))
	if got := r.hand(b); got != "ok ok ok" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT id, length(raw) FROM t ORDER BY id", "1001 0\n1002 256\n1003 3145728")
	hex := map[string]string{"postgres": "encode(raw, 'hex')", "mysql": "lower(hex(raw))", "sqlite": "lower(hex(raw))"}[d.kind]
	d.expect("SELECT "+hex+" FROM t WHERE id = 1002", fmt.Sprintf("%x", all))
}

func testCodec(t *testing.T, d *database) {
	d.table("j JSON")
	r := d.start(`[{"name":"r","filters":["#"],"codec":"json","statement":"INSERT INTO t VALUES (${payload|json})"}]`)
	if got := r.say(`t {"a":"ü"}`, `t nothing`, `t "text"`, `t [1]`); got != "ok dead ok ok" {
		t.Fatal(got, r.health())
	}
	d.expect("SELECT count(*) FROM t", "3")
}

// Whatever a device sends is a value, and never a part of a statement.
func testInjection(t *testing.T, d *database) {
	d.table("a TEXT, b TEXT")
	r := d.start(`[{"name":"r","filters":["#"],"statement":"INSERT INTO t VALUES (${payload|text}, ${topic})"}]`)
	list := []string{`'); DROP TABLE t; --`, `\'); DROP TABLE t; --`, `"`, "`", `?`, `$1`, `${topic}`, `/*`, `%s`, `\`, `'' OR 1=1`, `\0`}
	var messages []string
	for _, x := range list {
		messages = append(messages, "x/"+strings.ReplaceAll(x, " ", "_")+" "+x)
	}
	if got := r.say(messages...); got != strings.TrimSpace(strings.Repeat("ok ", len(list))) {
		t.Fatal(got, r.health())
	}
	for _, x := range list {
		var n int
		query := "SELECT count(*) FROM t WHERE a = ? AND b = ?"
		if d.kind == "postgres" {
			query = "SELECT count(*) FROM t WHERE a = $1 AND b = $2"
		}
		if err := d.QueryRow(query, x, "x/"+strings.ReplaceAll(x, " ", "_")).Scan(&n); err != nil || n != 1 {
			t.Errorf("%q: %d, %v", x, n, err)
		}
	}
}
