// Package bridgesql is the plugin "bridge-sql": messages become rows of PostgreSQL, MySQL,
// MariaDB or SQLite.
//
//	queue of the route ──► Send ──► values of the parameters ──► one transaction ──► database
//	                         ▲                                        │
//	                         └── rows one by one, halves, again ◄─────┘ an error
//
// It owns what an error of a database means (a bad row, a deadlock, an outage), and
// connections. Statements with ${…} in them are package internal/statement; what waits is
// the host's (package plugins/internal/bridge).
//
// PostgreSQL is spoken to by pgconn, which can send a batch without waiting for each row;
// the others by database/sql, with many rows in a statement where that is the same.
//
// Start at plugin.go; config.go, insert.go, send.go, link.go (connections),
// fault.go, then postgres.go, mysql.go and sqlite.go, of which session.go has what the last
// two share.
package bridgesql
