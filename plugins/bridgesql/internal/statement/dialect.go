package statement

import "strconv"

// Dialect says how statements of a database are read. It is immutable.
type Dialect struct {
	// Rows says that several rows in one INSERT save time.
	Rows bool
	// Parameter is the n-th parameter, from 1.
	Parameter func(n int) string

	// $1 and $tag$ (PostgreSQL), \ in strings and # (MySQL), [names] (SQLite), comments in
	// comments.
	dollar, backslash, brackets, nested bool
}

// Postgres is the dialect of PostgreSQL.
func Postgres() Dialect {
	return Dialect{dollar: true, nested: true, Parameter: func(n int) string { return "$" + strconv.Itoa(n) }}
}

// MySQL is the dialect of MySQL and MariaDB.
func MySQL() Dialect {
	return Dialect{backslash: true, Rows: true, Parameter: question}
}

// SQLite is the dialect of SQLite.
func SQLite() Dialect {
	return Dialect{brackets: true, Parameter: question}
}

func question(int) string { return "?" }
