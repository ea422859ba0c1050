package statement

import (
	"strings"
	"testing"
)

func dialectOf(kind string) *Dialect {
	d := map[string]func() Dialect{"postgres": Postgres, "mysql": MySQL, "sqlite": SQLite}[kind]()
	return &d
}

func TestCompile(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{"postgres", "INSERT INTO t VALUES (${topic}, ${payload.a|float}::real);\n-- the end", "INSERT INTO t VALUES ($1, $2::real)\n-- the end"},
		{"mysql", "INSERT INTO t VALUES (${topic}, ${payload.a|float})", "INSERT INTO t VALUES (?, ?)"},
		{"sqlite", "INSERT INTO t VALUES (${topic}, ${payload.a|float})", "INSERT INTO t VALUES (?, ?)"},
		// "}" in quotes, which a parameter has within.
		{"postgres", `SELECT f(${payload["a}b"]|default:"}"}, ${topic})`, "SELECT f($1, $2)"},
		{"postgres", `SELECT f(${topic|default:a"b}, "x")`, `SELECT f($1, "x")`},
		// What looks like a parameter, and is none.
		{"postgres", `SELECT '?', "$1", $$ $1 ? $$, $a$ '$$' $a$, a ? 'b', a$1, E'\'$1' FROM t WHERE x = ${topic} /* $1 /* ? */ $1 */`,
			`SELECT '?', "$1", $$ $1 ? $$, $a$ '$$' $a$, a ? 'b', a$1, E'\'$1' FROM t WHERE x = $1 /* $1 /* ? */ $1 */`},
		{"mysql", "SELECT '\\'?', \"?\", `?`, @v, 5--?\n -- ?\n # ?\n, ${topic}", "at character 32: ? is a parameter without a value: write a placeholder, as ${topic}"},
		{"mysql", "SELECT '\\'?', \"?\", `?`, @v -- ?\n # ?\n, ${topic}", "SELECT '\\'?', \"?\", `?`, @v -- ?\n # ?\n, ?"},
		{"sqlite", "SELECT '?', [?], `?`, \"?\", ${topic}", "SELECT '?', [?], `?`, \"?\", ?"},
		{"postgres", "SELECT '$${', ${topic}", "SELECT '${', $1"},
		// Mistakes, with their places.
		{"postgres", "SELECT '${topic}'", "at character 9: a placeholder is a parameter, and not a part of a text: take the quotes away"},
		{"postgres", "SELECT '$${', '$${x} ${topic}'", "at character 22: a placeholder is a parameter, and not a part of a text: take the quotes away"},
		{"postgres", "SELECT $1, ${topic}", "at character 8: $1 is a parameter without a value: write a placeholder, as ${topic}"},
		{"mysql", "SELECT ?", "at character 8: ? is a parameter without a value: write a placeholder, as ${topic}"},
		{"sqlite", "SELECT :a", "at character 8: :a is a parameter without a value: write a placeholder, as ${topic}"},
		{"sqlite", "SELECT 1; SELECT 2", "at character 9: only one statement can be given"},
		{"sqlite", "SELECT ${topik}", "at character 10: there is no variable \"topik\""},
		{"sqlite", "SELECT ${topic", "at character 8: \"${\" without its \"}\""},
		{"sqlite", "SELECT ${topic|uper}, ${topic}", "at character 16: there is no function \"uper\""},
		{"sqlite", "  ", "there is no statement"},
	} {
		s, err := Compile(dialectOf(c.kind), c.text)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = s.SQL
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %s\n     %s\nwant %s", c.kind, c.text, got, c.want)
		}
	}
}

// A row is repeated only where that is the same as one statement for each.
func TestRows(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"INSERT INTO t (a, b) VALUES (${topic}, lower(${payload}))", "INSERT INTO t (a, b) VALUES (?, lower(?)),(?, lower(?))"},
		{"insert into t value (${topic}) on duplicate key update a = values(a)", "insert into t value (?),(?) on duplicate key update a = values(a)"},
		{"/* x */ REPLACE t VALUES(${topic});", "/* x */ REPLACE t VALUES(?),(?)"},
		{"INSERT INTO t VALUES (1, ')', ${topic})", "INSERT INTO t VALUES (1, ')', ?),(1, ')', ?)"},
		{"INSERT INTO t VALUES (${topic}) ON DUPLICATE KEY UPDATE a = ${payload}", ""},
		{"INSERT INTO t VALUES (${topic}), (${payload})", ""},
		{"INSERT INTO t VALUES ((SELECT max(a) FROM t) + ${topic})", ""},
		{"INSERT INTO t SELECT a FROM u WHERE b = ${topic}", ""},
		{"UPDATE t SET a = VALUES(${topic})", ""},
		{"INSERT INTO t VALUES (1)", ""},
		{"INSERT INTO t SET a = ${topic}", ""},
		{"INSERT INTO t VALUES ROW(${topic})", ""},
	} {
		s, err := Compile(dialectOf("mysql"), c.text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if s.Row != "" {
			got = s.Many(2)
		}
		if got != c.want {
			t.Errorf("%s\n     %s\nwant %s", c.text, got, c.want)
		}
	}
	s, err := Compile(dialectOf("postgres"), "INSERT INTO t VALUES (${topic})")
	if err != nil || s.Row != "" {
		t.Errorf("%v, %q: PostgreSQL gets all rows at once anyway", err, s.Row)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("INSERT INTO t (a) VALUES (${topic|default:\"}\"}) ON CONFLICT DO NOTHING; -- ${x}")
	f.Add("SELECT '${', $$ ${topic} $$, E'\\'', [a], `b`, # c\n ${payload[\"a}\"]}")
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []string{"postgres", "mysql", "sqlite"} {
			s, err := Compile(dialectOf(kind), text)
			if err != nil {
				continue
			}
			for i := range s.Params {
				// A parameter is one placeholder and no text beside it: that would be sent as a value.
				if p := s.Params[i].String(); !strings.HasPrefix(p, "${") || !strings.HasSuffix(p, "}") {
					t.Fatalf("%s: parameter %q", kind, p)
				}
			}
			if s.Row == "" {
				continue
			}
			if all := s.Head + s.Row + s.Tail; strings.TrimSpace(all) != s.SQL || !strings.HasPrefix(s.Row, "(") || !strings.HasSuffix(s.Row, ")") {
				t.Fatalf("%s: %q | %q | %q of %q", kind, s.Head, s.Row, s.Tail, s.SQL)
			}
		}
	})
}
