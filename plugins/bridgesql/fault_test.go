package bridgesql

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// What of a database's errors makes a dead letter, and what makes messages wait.
func TestFaults(t *testing.T) {
	pg := func(code, routine string) error {
		return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code, Routine: routine})
	}
	my := func(number uint16, state string) error {
		e := &mysql.MySQLError{Number: number}
		copy(e.SQLState[:], state)
		return fmt.Errorf("wrapped: %w", e)
	}
	for _, c := range []struct {
		of   func(error) fault
		err  error
		want fault
		gone bool
	}{
		{postgresFault, pg("22P02", ""), faultRow, false},
		{postgresFault, pg("23505", ""), faultRow, false},
		{postgresFault, pg("23503", ""), faultMissing, false},
		{postgresFault, pg("23514", "ExecConstraints"), faultRow, false},
		{postgresFault, pg("23514", "ExecFindPartition"), faultMissing, false},
		{postgresFault, pg("P0001", ""), faultRow, false},
		{postgresFault, pg("42501", "aclcheck_error"), faultStatement, false},
		{postgresFault, pg("42501", "ExecWithCheckOptions"), faultRow, false},
		{postgresFault, pg("42P01", ""), faultStatement, false},
		{postgresFault, pg("40P01", ""), faultAgain, false},
		{postgresFault, pg("53100", ""), faultOutage, false}, // the disk is full
		{postgresFault, pg("25006", ""), faultOutage, true},
		{postgresFault, pg("57P01", ""), faultOutage, true},
		{postgresFault, io.ErrUnexpectedEOF, faultOutage, true},
		{postgresFault, fmt.Errorf("%w: x", errValue), faultRow, false},
		{mysqlFault, my(1062, "23000"), faultRow, false},
		{mysqlFault, my(1366, "HY000"), faultRow, false},
		{mysqlFault, my(1644, "45000"), faultRow, false},
		{mysqlFault, my(1452, "23000"), faultMissing, false},
		{mysqlFault, my(1526, "HY000"), faultMissing, false},
		{mysqlFault, my(1205, "HY000"), faultAgain, false},
		{mysqlFault, my(1213, "40001"), faultAgain, false},
		{mysqlFault, my(1146, "42S02"), faultStatement, false},
		{mysqlFault, my(1114, "HY000"), faultOutage, false}, // the table is full
		{mysqlFault, my(1290, "HY000"), faultOutage, true},
		{mysqlFault, my(1053, "08S01"), faultOutage, true},
		{mysqlFault, mysql.ErrInvalidConn, faultOutage, true},
		{mysqlFault, mysql.ErrPktTooLarge, faultRow, false},
		{sqliteFault, errors.New("other"), faultOutage, false},
	} {
		if got := c.of(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
		if got := gone(c.err); got != c.gone {
			t.Errorf("%v: gone %v", c.err, got)
		}
	}
}
