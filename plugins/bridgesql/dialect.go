package bridgesql

import (
	"context"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/bridgesql/internal/statement"
)

// dialect is what is different between databases. It is immutable.
type dialect struct {
	statement.Dialect
	quote func(name string) string
	// conflict is the end of an INSERT for rows that may be there; without other columns
	// they are left alone. All names are quoted.
	conflict func(key, others []string) string
	// fault says what an error means.
	fault func(err error) fault
	// open connects.
	open func(ctx context.Context, c *Database, t target) (conn, error)
}

// conn is a connection to a database. It is for one goroutine.
type conn interface {
	// prepare has the database look at a statement.
	prepare(ctx context.Context, s *statement.Statement) error
	// transact does a statement for each of the rows in one transaction. After an error
	// nothing of it is done, but if the connection got lost in the end that is not known.
	// at is the row that is to blame, -1 if that is not known.
	transact(ctx context.Context, s *statement.Statement, rows [][]any) (at int, err error)
	// exec does a statement without parameters.
	exec(ctx context.Context, sql string) error
	ping(ctx context.Context) error
	close()
}

func dialectOf(kind string) *dialect {
	switch kind {
	case "postgres":
		return &dialect{statement.Postgres(), quoteDouble, conflict, postgresFault, openPostgres}
	case "mysql":
		return &dialect{statement.MySQL(), quoteBacktick, mysqlConflict, mysqlFault, openMySQL}
	}
	return &dialect{statement.SQLite(), quoteDouble, conflict, sqliteFault, openSQLite}
}

func quoteDouble(name string) string   { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
func quoteBacktick(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
