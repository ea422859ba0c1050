package bridgesql

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mostRows is how many rows one INSERT has: with more the gain is small.
const mostRows = 256

func openMySQL(ctx context.Context, c *Database, t target) (conn, error) {
	o := mysql.NewConfig()
	o.User, o.Passwd, o.DBName = c.User, c.Password.Reveal(), c.Name
	o.Net, o.Addr, o.TLS = t.network, t.address, t.tls
	o.Timeout = c.ConnectTimeout.Std()
	o.Loc = time.UTC
	o.MaxAllowedPacket = 0        // ask the server: one that gets more closes the connection
	o.Logger = &mysql.NopLogger{} // errors are returned too
	o.ConnectionAttributes = "program_name:patchbay"
	if err := o.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(o)
	if err != nil {
		return nil, err
	}
	s, err := openSession(ctx, connector)
	if err != nil {
		return nil, err
	}
	s.begin, s.bind, s.most = "START TRANSACTION", mysqlValue, mostRows
	if err := s.greet(ctx, c); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// greet sets the session up, and looks whether rows can be written.
func (s *session) greet(ctx context.Context, c *Database) error {
	var readOnly bool
	if err := s.c.QueryRowContext(ctx, "SELECT @@global.read_only, @@max_allowed_packet").Scan(&readOnly, &s.largest); err != nil {
		return err
	}
	if readOnly && len(c.Addresses) > 1 {
		return fmt.Errorf("the server is read-only")
	}
	// DATETIME and TIMESTAMP are to have the same times, whatever the server's zone is.
	options := map[string]string{"time_zone": "+00:00", "autocommit": "1"}
	maps.Copy(options, c.Options)
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if _, err := s.c.ExecContext(ctx, "SET SESSION "+name+" = ?", setting(options[name])); err != nil {
			return fmt.Errorf("options: %s: %w", name, err)
		}
	}
	return nil
}

// setting is a setting's value: a number if it is one.
func setting(s string) any {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	return s
}

func mysqlValue(v any) any {
	if x, ok := v.(json.RawMessage); ok {
		return string(x) // bytes would be no JSON to MySQL
	}
	return v
}

func mysqlConflict(key, others []string) string {
	if len(others) == 0 {
		return " ON DUPLICATE KEY UPDATE " + key[0] + " = " + key[0]
	}
	var set []string
	for _, c := range others {
		set = append(set, c+" = VALUES("+c+")")
	}
	return " ON DUPLICATE KEY UPDATE " + strings.Join(set, ", ")
}
