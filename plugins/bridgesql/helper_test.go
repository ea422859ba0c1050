package bridgesql

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// password of the user patchbay.
const password = "pass word'\\"

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // of the tests' own connections; it takes any but nil
	code := bridgetest.Main(m, nil)
	removeFolders()
	os.Exit(code)
}

// server is a PostgreSQL or a MariaDB.
type server struct {
	*bridgetest.Process
	kind, dir, addr, socket string
}

// databases counts, since servers that come one after the other have the same folder.
var databases atomic.Int32

// ca is the file of the certificate, which is its own authority.
func (s *server) ca() string { return filepath.Join(s.dir, "cert.pem") }

// open opens a database as somebody who may do everything.
func (s *server) open(name string) (*sql.DB, error) {
	if s.kind == "postgres" {
		return sql.Open("pgx", "host="+s.dir+" port="+strings.TrimPrefix(filepath.Base(s.socket), ".s.PGSQL.")+" user=patchbay dbname="+name+" sslmode=disable")
	}
	return sql.Open("mysql", "root@unix("+s.socket+")/"+name+"?multiStatements=true&parseTime=false")
}

// ready says when the server serves, and makes the user.
func (s *server) ready() error {
	name := "postgres"
	if s.kind == "mysql" {
		name = ""
	}
	db, err := s.open(name)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.kind == "postgres" {
		return db.PingContext(ctx)
	}
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
	_, err = db.ExecContext(ctx, fmt.Sprintf(`CREATE USER IF NOT EXISTS patchbay@'%%' IDENTIFIED BY '%s'; GRANT ALL ON *.* TO patchbay@'%%'`, quoted))
	return err
}

// database is one that a test has for itself.
type database struct {
	*sql.DB
	t      testing.TB
	kind   string
	server *server // nil: sqlite
	config map[string]any
}

// fresh makes an empty database.
func (s *server) fresh(t testing.TB) *database {
	t.Helper()
	name := fmt.Sprintf("d%d", databases.Add(1))
	first := "postgres"
	if s.kind == "mysql" {
		first = ""
	}
	admin, err := s.open(first)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	create := "CREATE DATABASE " + name
	if s.kind == "mysql" {
		create += " CHARACTER SET utf8mb4"
	}
	if _, err := admin.Exec(create); err != nil {
		t.Fatal(err)
	}
	db, err := s.open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &database{db, t, s.kind, s, map[string]any{
		"type": s.kind, "addresses": []string{s.addr}, "name": name, "user": "patchbay", "password": password,
		"retry_min": "20ms", "retry_max": "200ms", "connect_timeout": "5s",
	}}
}

// freshFile makes an empty database of SQLite.
func freshFile(t testing.TB) *database {
	t.Helper()
	file := filepath.Join(t.TempDir(), "100% #1?.db")
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(file)+"?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec("PRAGMA journal_mode=WAL"); err != nil {
		t.Fatal(err)
	}
	return &database{db, t, "sqlite", nil, map[string]any{"type": "sqlite", "file": file, "retry_min": "20ms", "retry_max": "200ms"}}
}

// with changes the config.
func (d *database) with(key string, value any) *database {
	d.config[key] = value
	return d
}

func (d *database) exec(statements ...string) {
	d.t.Helper()
	for _, s := range statements {
		if _, err := d.Exec(s); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
}

// rows is what a query returns, a line for each row, with blanks between the columns.
func (d *database) rows(query string) string {
	d.t.Helper()
	text, err := d.query(query)
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

func (d *database) query(query string) (string, error) {
	rows, err := d.Query(query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var out []string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		to := make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return "", err
		}
		var line []string
		for _, v := range values {
			if !v.Valid {
				v.String = "NULL"
			}
			line = append(line, v.String)
		}
		out = append(out, strings.Join(line, " "))
	}
	return strings.Join(out, "\n"), rows.Err()
}

func (d *database) expect(query, want string) {
	d.t.Helper()
	if got := d.rows(query); got != want {
		d.t.Errorf("%s: %q, want %q", query, got, want)
	}
}

// text is the plugin's config with these routes, in JSON.
func (d *database) text(routes string) string {
	b, err := json.Marshal(map[string]any{"database": d.config, "routes": json.RawMessage(routes)})
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// running is a started plugin without a broker.
type running struct {
	*plugintest.Instance
	t      testing.TB
	offset uint64
}

// start starts the plugin with these routes.
func (d *database) start(routes string) *running {
	d.t.Helper()
	return &running{plugintest.Start(d.t, plugintest.Builtin(Plugin()), plugintest.NewHost(), d.text(routes)), d.t, 0}
}

// batch is a batch of the route "r" with messages "topic payload".
func (r *running) batch(messages ...string) *pluginv1.ConsumeBatch {
	b := &pluginv1.ConsumeBatch{Consumer: "r", DeadlineMs: 60_000}
	for _, text := range messages {
		topic, payload, _ := strings.Cut(text, " ")
		r.offset++
		b.Deliveries = append(b.Deliveries, pluginv1.Delivery{Offset: r.offset, Attempt: 1, Message: &pluginv1.Message{
			Topic: topic, Payload: []byte(payload), QoS: 1, ID: 1000 + r.offset, ReceivedMs: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC).UnixMilli(), Publisher: "dev-7",
			UserProperties: []sdk.Pair{{Name: "site", Value: "hall 3"}}, ContentType: "application/json",
		}})
	}
	return b
}

// say hands messages over, and returns what is said of them: ok, again or dead.
func (r *running) say(messages ...string) string { return r.hand(r.batch(messages...)) }

func (r *running) hand(b *pluginv1.ConsumeBatch) string {
	r.t.Helper()
	result, err := r.ConsumeErr(b)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, d := range b.Deliveries {
		word := "nothing"
		if d.Offset <= result.AcknowledgedOffset {
			word = "ok"
		}
		for _, x := range result.Results {
			if x.Offset == d.Offset {
				word = []string{"?", "ok", "again", "dead"}[x.Outcome]
			}
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// until hands a batch over until it is said what is wanted.
func (r *running) until(want string, b *pluginv1.ConsumeBatch) {
	r.t.Helper()
	bridgetest.Eventually(r.t, want, func() error {
		if got := r.hand(b); got != want {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
}

// health is the plugin's, as text.
func (r *running) health() string {
	r.t.Helper()
	h, err := r.Plugin.Health(r.t.Context(), &pluginv1.HealthRequest{})
	if err != nil {
		return err.Error()
	}
	return h.Message
}

// repeated is how many transactions were tried again.
func (r *running) repeated() (n float64) {
	for _, c := range r.Host.Calls(pluginv1.HostOpMetric) {
		for _, s := range c.Request.(*pluginv1.MetricRequest).Samples {
			if s.Name == "repeated_total" {
				n += s.Value
			}
		}
	}
	return n
}

// writeCertificate writes a certificate for 127.0.0.1 and its key.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "database"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
