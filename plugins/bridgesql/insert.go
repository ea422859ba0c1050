package bridgesql

import (
	"maps"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/bridgesql/internal/statement"
)

// insert makes the statement of a route with a table.
func insert(d *dialect, r *Route) *statement.Statement {
	columns := slices.Sorted(maps.Keys(r.Columns))
	s := new(statement.Statement)
	var names, row, others []string
	for i, name := range columns {
		t := r.Columns[name]
		s.Params = append(s.Params, t)
		s.Fields |= t.Fields()
		names = append(names, d.quote(name))
		row = append(row, d.Parameter(i+1))
		if !slices.Contains(r.Key, name) {
			others = append(others, d.quote(name))
		}
	}
	var table []string
	for _, part := range strings.Split(r.Table, ".") {
		table = append(table, d.quote(part))
	}
	head := "INSERT INTO " + strings.Join(table, ".") + " (" + strings.Join(names, ", ") + ") VALUES "
	values := "(" + strings.Join(row, ", ") + ")"
	tail := ""
	if len(r.Key) > 0 {
		var key []string
		for _, k := range r.Key {
			key = append(key, d.quote(k))
		}
		if r.OnConflict == "ignore" {
			others = nil
		}
		tail = d.conflict(key, others)
	}
	s.SQL = head + values + tail
	if d.Rows {
		s.Head, s.Row, s.Tail = head, values, tail
	}
	return s
}

// conflict is what becomes of rows that are there already, as SQLite and PostgreSQL have it.
func conflict(key, others []string) string {
	to := " ON CONFLICT (" + strings.Join(key, ", ") + ") DO "
	if len(others) == 0 {
		return to + "NOTHING"
	}
	var set []string
	for _, c := range others {
		set = append(set, c+" = excluded."+c)
	}
	return to + "UPDATE SET " + strings.Join(set, ", ")
}
