package bridgesql

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
)

func TestInsert(t *testing.T) {
	text := func(s string) template.Text {
		x, err := template.ParseText(s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	columns := map[string]template.Text{"id": text("${id}"), "b": text("${payload}"), `a"` + "`": text("x/${topic}")}
	for _, c := range []struct {
		kind, conflict string
		key            []string
		want           string
	}{
		{"postgres", "update", nil, `INSERT INTO "s"."t" ("a""` + "`" + `", "b", "id") VALUES ($1, $2, $3)`},
		{"postgres", "update", []string{"id"}, `INSERT INTO "s"."t" ("a""` + "`" + `", "b", "id") VALUES ($1, $2, $3) ON CONFLICT ("id") DO UPDATE SET "a""` + "`" + `" = excluded."a""` + "`" + `", "b" = excluded."b"`},
		{"sqlite", "ignore", []string{"id", "b"}, `INSERT INTO "s"."t" ("a""` + "`" + `", "b", "id") VALUES (?, ?, ?) ON CONFLICT ("id", "b") DO NOTHING`},
		{"mysql", "update", []string{"id", "b"}, "INSERT INTO `s`.`t` (`a\"```, `b`, `id`) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE `a\"``` = VALUES(`a\"```)"},
		{"mysql", "ignore", []string{"id"}, "INSERT INTO `s`.`t` (`a\"```, `b`, `id`) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE `id` = `id`"},
	} {
		s := insert(dialectOf(c.kind), &Route{Table: "s.t", Columns: columns, Key: c.key, OnConflict: c.conflict})
		if s.SQL != c.want {
			t.Errorf("%s\nwant %s", s.SQL, c.want)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{true, "true"}, {int64(-5), "-5"}, {1e6, "1000000"}, {0.1, "0.1"}, {1e21, "1e+21"}, {1e-7, "1e-07"}, {-3.0, "-3"}, {"", ""}, {"a", "a"}, {[]byte(nil), ""},
		{json.RawMessage(`{"a":1}`), `{"a":1}`}, {time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), "2026-01-02T03:04:05.678Z"},
	} {
		if got := text(c.value); got == nil || string(got) != c.want {
			t.Errorf("%v: %q, want %q", c.value, got, c.want)
		}
	}
	if text(nil) != nil {
		t.Error("nil is not NULL")
	}
	for _, c := range []struct{ list, want string }{
		{`[]`, `{}`}, {`[1,2.5,null,true]`, `{"1","2.5",NULL,"true"}`}, {`[["a\"b","\\"],[]]`, `{{"a\"b","\\"},{}}`}, {`{"a":1}`, "an object is no array"},
		{`[{}]`, "an object cannot be in an array"},
	} {
		got, err := array(json.RawMessage(c.list))
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.list, got, c.want)
		}
	}
}

// The route's own fields are those of the statement.
func TestFields(t *testing.T) {
	r := &Route{Route: bridge.Route{Name: "r"}, Statement: "SELECT ${user_property.a}, ${content_type}"}
	s := r.compile(dialectOf("postgres"), "", func(_, format string, args ...any) { t.Fatalf(format, args...) })
	if s.Fields != fields {
		t.Errorf("%d", s.Fields)
	}
}
