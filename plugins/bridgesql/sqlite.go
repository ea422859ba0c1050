package bridgesql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/patchbay-mq/patchbay/plugins/bridgesql/internal/statement"
)

func openSQLite(ctx context.Context, c *Database, _ target) (conn, error) {
	connector, err := sqlite.NewConnector("file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(c.File))
	if err != nil {
		return nil, err
	}
	s, err := openSession(ctx, connector)
	if err != nil {
		return nil, err
	}
	s.begin, s.bind, s.about = "BEGIN IMMEDIATE", sqliteValue, sqliteAbout
	if err := s.pragmas(ctx, c); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// pragmas sets the file up. With synchronous=FULL a row that is committed outlives a loss of
// power, which is what an acknowledgement says.
func (s *session) pragmas(ctx context.Context, c *Database) error {
	options := map[string]string{"journal_mode": "WAL", "synchronous": "FULL", "foreign_keys": "ON"}
	maps.Copy(options, c.Options)
	if _, ok := options["busy_timeout"]; !ok { // the first, since the others may have to wait
		options["busy_timeout"] = "5000"
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		value := options[name]
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			value = "'" + strings.ReplaceAll(value, "'", "''") + "'"
		}
		if err := s.exec(ctx, "PRAGMA "+name+" = "+value); err != nil {
			return fmt.Errorf("options: %s: %w", name, err)
		}
	}
	return nil
}

// sqliteAbout tells two meanings of SQLITE_ERROR apart: a statement that does not fit the
// tables cannot be prepared either; otherwise a function did not like a value, as json().
func sqliteAbout(ctx context.Context, s *session, st *statement.Statement, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) || e.Code()&0xFF != sqlite3.SQLITE_ERROR {
		return err
	}
	probe, no := s.c.PrepareContext(ctx, st.SQL)
	if no != nil {
		return err
	}
	_ = probe.Close() // it was for asking
	return &valueError{err}
}

// valueError is an error that is about values, which it does not say itself.
type valueError struct{ err error }

func (e *valueError) Error() string { return e.err.Error() }
func (e *valueError) Is(target error) bool {
	return target == errValue
}

// sqliteValue makes times and JSON texts, and booleans numbers, since SQLite has no types
// for them.
func sqliteValue(v any) any {
	switch x := v.(type) {
	case json.RawMessage:
		return string(x)
	case time.Time:
		return x.UTC().Format("2006-01-02T15:04:05.000Z")
	case bool:
		if x {
			return int64(1)
		}
		return int64(0)
	}
	return v
}
