package bridgesql

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// fault is what an error of a database means for what was tried.
type fault uint8

const (
	// faultOutage is about the connection, or the database as a whole.
	faultOutage fault = iota
	// faultAgain: the same may well go through when it is tried again, as after a deadlock.
	faultAgain
	// faultRow: there is something wrong with the values of a row.
	faultRow
	// faultMissing: a row needs another row, or a partition, that is not there, or not yet.
	faultMissing
	// faultStatement: the statement does not fit the database, as when a table is not there.
	faultStatement
)

// errValue is a value that a driver will not take.
var errValue = errors.New("a value cannot be sent")

// postgresFault reads SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
func postgresFault(err error) fault {
	var e *pgconn.PgError
	if !errors.As(err, &e) || len(e.Code) != 5 {
		if errors.Is(err, errValue) {
			return faultRow
		}
		return faultOutage
	}
	switch e.Code {
	case "40001", "40P01", "55P03", "55006": // serialization, deadlock, lock not available, in use
		return faultAgain
	case "23503":
		return faultMissing
	case "23514":
		if e.Routine == "ExecFindPartition" {
			return faultMissing
		}
	case "42501":
		if e.Routine == "ExecWithCheckOptions" { // a row-level security policy: about this row
			return faultRow
		}
	case "25006", "P0000": // a standby takes no rows
		return faultOutage
	}
	switch e.Code[:2] {
	case "21", "22", "23", "2F", "38", "39", "44", "54", "P0": // values, constraints, what triggers raise, limits
		return faultRow
	case "0A", "26", "42":
		return faultStatement
	}
	return faultOutage
}

// rowErrors are those of MySQL and MariaDB that are about values, and have no SQLSTATE that
// says so.
var rowErrors = []uint16{
	1264,                   // out of range
	1265,                   // data truncated
	1364,                   // no default value for the column
	1366,                   // incorrect value for the column
	1406,                   // data too long
	1411,                   // incorrect value for the function
	1153,                   // a packet larger than max_allowed_packet
	1301,                   // a result larger than max_allowed_packet
	1690,                   // out of range
	1977, 4025, 3819, 3820, // a check constraint
	3140, 3141, 3144, 4038, // no JSON
	1118, // the row is too large
	1071, // the key is too long
}

// mysqlFault reads the number of an error, then its SQLSTATE.
func mysqlFault(err error) fault {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		if errors.Is(err, mysql.ErrPktTooLarge) || errors.Is(err, errValue) {
			return faultRow
		}
		return faultOutage
	}
	switch e.Number {
	case 1205, 1213, 1020: // lock wait timeout, deadlock, the row has changed meanwhile
		return faultAgain
	case 1216, 1452, 1526: // a foreign key, or no partition
		return faultMissing
	case 1290, 1792, 1836: // read-only
		return faultOutage
	}
	if slices.Contains(rowErrors, e.Number) {
		return faultRow
	}
	switch state := string(e.SQLState[:]); {
	case state == "40001":
		return faultAgain
	case strings.HasPrefix(state, "21"), strings.HasPrefix(state, "22"), strings.HasPrefix(state, "23"), strings.HasPrefix(state, "44"), strings.HasPrefix(state, "45"):
		return faultRow
	case strings.HasPrefix(state, "42"):
		return faultStatement
	}
	return faultOutage
}

// sqliteFault reads result codes: https://www.sqlite.org/rescode.html
func sqliteFault(err error) fault {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		if errors.Is(err, errValue) {
			return faultRow
		}
		return faultOutage
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return faultMissing
	}
	switch e.Code() & 0xFF {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return faultAgain
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return faultRow
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA:
		return faultStatement
	}
	return faultOutage
}

// gone reports whether an error ends the connection that it is of, or says that another
// server is to be looked for.
func gone(err error) bool {
	var p *pgconn.PgError
	if errors.As(err, &p) {
		return p.Code == "25006" || strings.HasPrefix(p.Code, "57P") // read-only; shutdown
	}
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return slices.Contains([]uint16{1290, 1792, 1836, 1053, 1927, 4031}, m.Number) // the same
	}
	var n net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &n)
}
