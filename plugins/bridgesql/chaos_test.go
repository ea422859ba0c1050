package bridgesql

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// arrivals reads what is in the tables "plain" and "sure", again and again.
type arrivals struct {
	d    *database
	mu   sync.Mutex
	last map[string]int64
	list []bridgetest.Message
}

func (a *arrivals) read(ctx context.Context) ([]bridgetest.Message, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, table := range []string{"plain", "sure"} {
		if err := a.table(ctx, table); err != nil {
			return nil, err
		}
	}
	return a.list, nil
}

func (a *arrivals) table(ctx context.Context, name string) error {
	rows, err := a.d.QueryContext(ctx, fmt.Sprintf("SELECT seq, k, n FROM %s WHERE seq > %d ORDER BY seq", name, a.last[name]))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var m bridgetest.Message
		var seq int64
		if err := rows.Scan(&seq, &m.Key, &m.N); err != nil {
			return err
		}
		a.last[name] = seq
		a.list = append(a.list, m)
	}
	return rows.Err()
}

// entry is the bridge in a broker's config, with these routes.
func (d *database) entry(routes string) string {
	config, err := json.Marshal(d.config)
	if err != nil {
		d.t.Fatal(err)
	}
	return fmt.Sprintf(`  - name: b
    plugin: bridge-sql
    runtime: process
    config:
      database: %s
      routes:
%s`, config, routes)
}

// Routes of which one makes a row of each message, and one makes a row of each id.
const (
	plainRoute = `        - {name: plain, filters: ["plain/#"], batch_messages: 64, retry_min: 20ms, retry_max: 500ms,
           statement: "INSERT INTO plain (id, k, n) VALUES (${id}, ${payload.key}, ${payload.n})"}
`
	sureRoute = `        - {name: sure, filters: ["sure/#"], batch_messages: 64, retry_min: 20ms, retry_max: 500ms,
           table: sure, columns: {id: "${id}", k: "${payload.key}", n: "${payload.n}"}, key: [id], on_conflict: ignore, ack: after_remote}
`
)

func (d *database) chaosTables() {
	seq := map[string]string{"postgres": "bigserial", "mysql": "BIGINT AUTO_INCREMENT", "sqlite": "INTEGER"}[d.kind]
	end := ""
	if d.kind == "sqlite" {
		end = " AUTOINCREMENT"
	}
	for _, table := range []string{"plain", "sure"} {
		unique := ""
		if table == "sure" {
			unique = " UNIQUE"
		}
		d.exec("CREATE TABLE " + table + " (seq " + seq + " PRIMARY KEY" + end + ", id BIGINT" + unique + ", k VARCHAR(40), n INT)")
	}
}

// The broker, the plugin's process and the database are killed, and the network between them
// fails, while messages go there.
func TestChaos(t *testing.T) {
	for _, kind := range []string{"sqlite", "postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // it waits, for the most part
			c := bridgetest.Chaos{Ledger: bridgetest.NewLedger(), AtOnce: true, Sure: func(key string) bool { return strings.HasPrefix(key, "sure/") }}
			var d *database
			if kind == "sqlite" {
				d = freshFile(t)
			} else {
				s := startServer(t, kind)
				d = s.fresh(t)
				c.There, c.Network = s, bridgetest.StartProxy(t, s.addr)
				d.with("addresses", []string{c.Network.Addr}).with("timeout", "3s")
			}
			d.chaosTables()
			a := &arrivals{d: d, last: map[string]int64{}}
			c.Arrived = a.read
			c.Here = bridgetest.StartBroker(t, bridgetest.BrokerOptions{Plugins: d.entry(plainRoute + sureRoute)})
			c.Load = bridgetest.Publish(t, c.Ledger, bridgetest.PublisherOptions{Addr: c.Here.Addr, Keys: []string{"plain/1", "plain/2", "sure/1", "sure/2"}})
			t.Log(c.Run(t))
		})
	}
}

// A message has the same id whenever it comes again, so that by an upsert on it each makes one
// row; without one it may make more.
func TestExactlyOnce(t *testing.T) {
	t.Parallel() // it waits, for the most part
	d := freshFile(t)
	d.chaosTables()
	// The bridge waits until all is published, since publishers publish again too.
	lock, err := d.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	here := bridgetest.StartBroker(t, bridgetest.BrokerOptions{Plugins: d.entry(strings.NewReplacer("sure/#", "plain/#", ", ack: after_remote", "", "messages: 64", "messages: 8").Replace(plainRoute + sureRoute))})
	const n = 2000
	load := bridgetest.Publish(t, bridgetest.NewLedger(), bridgetest.PublisherOptions{Addr: here.Addr, Keys: []string{"plain/1"}, Rate: 100_000, Limit: n})
	eventually(t, "all is published", load.Done)
	if _, err := lock.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	count := func() (a, b int) {
		if err := d.QueryRow("SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM sure)").Scan(&a, &b); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	for i := range 8 {
		_, before := count()
		eventually(t, "some more are there", func() bool {
			_, now := count()
			return now > before+20 || now == n
		})
		if i%2 == 0 {
			here.KillChildren()
		} else {
			here.Kill()
			here.Start()
		}
	}
	eventually(t, "all are there", func() bool {
		a, b := count()
		return a >= n && b >= n && d.rows("SELECT count(DISTINCT n) FROM plain") == fmt.Sprint(n)
	})
	d.expect("SELECT count(*), count(DISTINCT id), count(DISTINCT n) FROM sure", fmt.Sprintf("%d %d %d", n, n, n))
	d.expect("SELECT count(DISTINCT id), count(DISTINCT n) FROM plain", fmt.Sprintf("%d %d", n, n))
	a, _ := count()
	t.Logf("%d rows of %d messages without an upsert", a, n)
}
