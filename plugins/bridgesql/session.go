package bridgesql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgesql/internal/statement"
)

// session is a connection by database/sql, which has a pool of its own: it has one here.
type session struct {
	db       *sql.DB
	c        *sql.Conn
	begin    string
	bind     func(v any) any // makes of a value what the driver takes
	prepared map[statementSize]*sql.Stmt
	most     int // rows in a statement
	largest  int // bytes of a value; 0 is without limit
	// about says more of an error of a row than itself, if it can.
	about func(ctx context.Context, s *session, st *statement.Statement, err error) error
}

// statementSize is a statement for a number of rows.
type statementSize struct {
	s *statement.Statement
	n int
}

func openSession(ctx context.Context, connector driver.Connector) (*session, error) {
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	c, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close() // nothing is open
		return nil, err
	}
	return &session{db: db, c: c, prepared: map[statementSize]*sql.Stmt{}, most: 1}, nil
}

func (s *session) prepare(ctx context.Context, st *statement.Statement) error {
	_, err := s.sized(ctx, st, 1)
	return err
}

// sized returns a statement for n rows.
func (s *session) sized(ctx context.Context, st *statement.Statement, n int) (*sql.Stmt, error) {
	key := statementSize{st, n}
	if p := s.prepared[key]; p != nil {
		return p, nil
	}
	text := st.SQL
	if n > 1 {
		text = st.Many(n)
	}
	p, err := s.c.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s.prepared[key] = p
	return p, nil
}

func (s *session) transact(ctx context.Context, st *statement.Statement, rows [][]any) (at int, err error) {
	if err := s.prepare(ctx, st); err != nil {
		return -1, err
	}
	if err := s.exec(ctx, s.begin); err != nil {
		return -1, err
	}
	if at, err = s.all(ctx, st, rows); err == nil {
		at, err = -1, s.exec(ctx, "COMMIT")
	}
	if err == nil {
		return -1, nil
	}
	// What has run into its time must not keep the transaction open.
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if rollback := s.exec(back, "ROLLBACK"); rollback != nil {
		return -1, errors.Join(rollback, err)
	}
	if s.about != nil {
		err = s.about(back, s, st, err)
	}
	return at, err
}

// all does the rows, many at a time if it can: by powers of two, so that there are few
// statements to prepare.
func (s *session) all(ctx context.Context, st *statement.Statement, rows [][]any) (at int, err error) {
	most := 1
	if st.Row != "" && len(st.Params) > 0 {
		most = max(1, min(s.most, 65535/len(st.Params))) // what a statement may have of parameters
	}
	for done := 0; done < len(rows); {
		n := min(most, len(rows)-done)
		n = 1 << (bits.Len(uint(n)) - 1)
		p, err := s.sized(ctx, st, n)
		if err != nil {
			return -1, err
		}
		args := make([]any, 0, n*len(st.Params))
		for i, row := range rows[done : done+n] {
			for _, v := range row {
				if v = s.bind(v); s.largest > 0 && size(v) > s.largest {
					return done + i, fmt.Errorf("%w: it has %d bytes, and the server takes %d", errValue, size(v), s.largest)
				}
				args = append(args, v)
			}
		}
		if _, err := p.ExecContext(ctx, args...); err != nil {
			if n > 1 {
				return -1, err
			}
			return done, err
		}
		done += n
	}
	return -1, nil
}

// size is how long a text is, or bytes are.
func size(v any) int {
	switch x := v.(type) {
	case string:
		return len(x)
	case []byte:
		return len(x)
	}
	return 0
}

func (s *session) exec(ctx context.Context, text string) error {
	_, err := s.c.ExecContext(ctx, text)
	return err
}

func (s *session) ping(ctx context.Context) error { return s.c.PingContext(ctx) }

func (s *session) close() {
	_ = s.c.Close() // it is of no use any more, whatever it says
	_ = s.db.Close()
}
