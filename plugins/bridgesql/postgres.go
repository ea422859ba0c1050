package bridgesql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/patchbay-mq/patchbay/plugins/bridgesql/internal/statement"
)

// postgres is a connection to PostgreSQL. It takes values as text, as people write them,
// so that PostgreSQL makes of them what the column is, and says which it cannot.
type postgres struct {
	c        *pgconn.PgConn
	prepared map[*statement.Statement]*pgconn.StatementDescription
}

func openPostgres(ctx context.Context, c *Database, t target) (conn, error) {
	// A Config has to come from here, which looks into the environment and files of libpq.
	// All that matters is then said by the bridge's own config.
	o, err := pgconn.ParseConfig("host=localhost port=5432 user=none password=none dbname=none sslmode=disable")
	if err != nil {
		return nil, err
	}
	o.User, o.Password, o.Database = c.User, c.Password.Reveal(), c.Name
	o.TLSConfig, o.Fallbacks = t.tls, nil
	o.Host, o.Port = t.host, 5432
	if t.network == "unix" {
		o.Host = t.address
		if dir, file := filepath.Split(t.address); strings.HasPrefix(file, ".s.PGSQL.") {
			o.Host = filepath.Clean(dir)
			if n, err := strconv.ParseUint(strings.TrimPrefix(file, ".s.PGSQL."), 10, 16); err == nil {
				o.Port = uint16(n)
			}
		}
	} else if _, p, err := net.SplitHostPort(t.address); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			o.Port = uint16(n)
		}
	}
	o.RuntimeParams = map[string]string{"application_name": "patchbay", "timezone": "UTC"}
	maps.Copy(o.RuntimeParams, c.Options)
	o.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	p, err := pgconn.ConnectConfig(ctx, o)
	if err != nil {
		return nil, err
	}
	return &postgres{p, map[*statement.Statement]*pgconn.StatementDescription{}}, nil
}

func (p *postgres) prepare(ctx context.Context, s *statement.Statement) error {
	if p.prepared[s] != nil {
		return nil
	}
	d, err := p.c.Prepare(ctx, "patchbay_"+strconv.Itoa(len(p.prepared)), s.SQL, nil)
	if err != nil {
		return err
	}
	p.prepared[s] = d
	return nil
}

// transact sends all rows before it looks at an answer. COMMIT goes apart from them: what a
// broken connection still brings to the server must not become valid after the rows have
// been sent again on another one, and newer ones behind them.
func (p *postgres) transact(ctx context.Context, s *statement.Statement, rows [][]any) (at int, err error) {
	if err := p.prepare(ctx, s); err != nil {
		return -1, err
	}
	args := make([]arguments, len(rows))
	for i, row := range rows {
		if args[i], err = encode(row, p.prepared[s].ParamOIDs); err != nil {
			return i, err
		}
	}
	at, err = p.pipeline(ctx, s, args)
	if err != nil {
		if p.c.IsClosed() {
			return at, err
		}
		if _, rollback := p.c.Exec(ctx, "ROLLBACK").ReadAll(); rollback != nil {
			return -1, errors.Join(rollback, err)
		}
		return at, err
	}
	results, err := p.c.Exec(ctx, "COMMIT").ReadAll()
	if err == nil && (len(results) != 1 || results[0].CommandTag.String() != "COMMIT") {
		err = errors.New("the transaction was rolled back by the server")
	}
	return -1, err
}

// pipeline begins a transaction with all rows.
func (p *postgres) pipeline(ctx context.Context, s *statement.Statement, args []arguments) (at int, err error) {
	line := p.c.StartPipeline(ctx)
	line.SendQueryParams("BEGIN", nil, nil, nil, nil)
	for i := range args {
		line.SendQueryPrepared(p.prepared[s].Name, args[i].values, args[i].formats, nil)
	}
	if err := line.Sync(); err != nil {
		return -1, errors.Join(err, line.Close())
	}
	at = -1
	for i := range len(args) + 1 {
		r, e := line.GetResults()
		if reader, ok := r.(*pgconn.ResultReader); ok && e == nil {
			_, e = reader.Close()
		}
		if e != nil {
			at, err = i-1, e
			break
		}
	}
	if e := line.Close(); err == nil {
		err = e
	}
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		at = -1
	}
	return at, err
}

func (p *postgres) exec(ctx context.Context, sql string) error {
	_, err := p.c.Exec(ctx, sql).ReadAll()
	return err
}

func (p *postgres) ping(ctx context.Context) error { return p.c.Ping(ctx) }

func (p *postgres) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.c.Close(ctx) // it is of no use any more, whatever it says
}

// arguments are the values of a row as they are sent.
type arguments struct {
	values  [][]byte
	formats []int16
}

const oidBytea = 17

// arrays are the types to which lists of JSON are sent as arrays: of bool, int2, int4, text,
// varchar, int8, float4, float8, timestamptz, numeric, uuid.
var arrays = map[uint32]bool{1000: true, 1005: true, 1007: true, 1009: true, 1015: true, 1016: true, 1021: true, 1022: true, 1185: true, 1231: true, 2951: true}

// encode makes text of values, and bytes for bytea.
func encode(row []any, types []uint32) (a arguments, err error) {
	if len(row) != len(types) {
		return a, fmt.Errorf("%w: %d values for %d parameters", errValue, len(row), len(types))
	}
	a = arguments{make([][]byte, len(row)), make([]int16, len(row))}
	for i, v := range row {
		if types[i] == oidBytea {
			a.formats[i] = 1
		}
		if list, ok := v.(json.RawMessage); ok && arrays[types[i]] {
			if v, err = array(list); err != nil {
				return a, fmt.Errorf("%w: $%d: %w", errValue, i+1, err)
			}
		}
		a.values[i] = text(v)
	}
	return a, nil
}

// text is a value as people write it; nil is NULL.
func text(v any) []byte {
	switch x := v.(type) {
	case nil:
		return nil
	case bool:
		return strconv.AppendBool(nil, x)
	case int64:
		return strconv.AppendInt(nil, x, 10)
	case float64:
		return number(x)
	case string:
		return append(make([]byte, 0, len(x)), x...) // not nil if it is empty
	case []byte:
		if x == nil {
			return []byte{}
		}
		return x
	case json.RawMessage:
		return x
	case time.Time:
		return x.AppendFormat(nil, time.RFC3339Nano)
	}
	return fmt.Append(nil, v)
}

// number writes a number without an exponent where that is not too long: integers of JSON may
// come as 1e6, and have to fit a column of integers.
func number(x float64) []byte {
	if abs := max(x, -x); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(nil, x, 'f', -1, 64)
	}
	return strconv.AppendFloat(nil, x, 'g', -1, 64)
}

// array makes {1,"two",NULL} of [1,"two",null].
func array(list json.RawMessage) (string, error) {
	var items []any
	d := json.NewDecoder(strings.NewReader(string(list)))
	d.UseNumber()
	if err := d.Decode(&items); err != nil {
		return "", errors.New("an object is no array")
	}
	var b strings.Builder
	if err := appendArray(&b, items); err != nil {
		return "", err
	}
	return b.String(), nil
}

func appendArray(b *strings.Builder, items []any) error {
	b.WriteByte('{')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		switch x := item.(type) {
		case nil:
			b.WriteString("NULL")
		case []any:
			if err := appendArray(b, x); err != nil {
				return err
			}
		case map[string]any:
			return errors.New("an object cannot be in an array")
		default:
			b.WriteByte('"')
			b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(fmt.Sprint(x)))
			b.WriteByte('"')
		}
	}
	b.WriteByte('}')
	return nil
}
