package bridgesql

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/bridgesql/internal/statement"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Database Database `json:"database" required:"true" doc:"Where the rows go."`
	Routes   []Route  `json:"routes" required:"true" doc:"Which messages become which rows." min:"1" max:"200"`
}

// Database is where the rows go.
type Database struct {
	Type           string            `json:"type" required:"true" doc:"postgres, mysql (also for MariaDB), or sqlite." enum:"postgres,mysql,sqlite"`
	Addresses      []string          `json:"addresses" doc:"host:port, or the path of a socket, tried in order: the first that can be written to counts. Not for sqlite." example:"db.example.com:5432,db2.example.com:5432" max:"32"`
	Name           string            `json:"name" doc:"Name of the database. Not for sqlite." example:"plant"`
	File           string            `json:"file" doc:"File of the database, which is made if it is not there. For sqlite alone." example:"/var/lib/patchbay/plant.db"`
	User           string            `json:"user" doc:"User at the database."`
	Password       sdk.Secret        `json:"password" doc:"Password at the database."`
	TLS            TLS               `json:"tls" doc:"TLS to the database."`
	Options        map[string]string `json:"options" doc:"Settings of each session: parameters of PostgreSQL, as search_path; variables of MySQL, as sql_mode; pragmas of SQLite, as cache_size."`
	Setup          []string          `json:"setup" doc:"Statements that are run when the bridge connects, as CREATE TABLE IF NOT EXISTS. They must bear repetition."`
	MaxConnections int               `json:"max_connections" doc:"How many connections there may be at once; each route at work needs one. sqlite has one always." default:"4" min:"1" max:"100"`
	ConnectTimeout sdk.Duration      `json:"connect_timeout" doc:"How long an address may take to let the bridge in." default:"10s" min:"100ms" max:"5m"`
	Timeout        sdk.Duration      `json:"timeout" doc:"How long a transaction may take. One that is slower is tried with fewer rows." default:"20s" min:"100ms" max:"50s"`
	RetryMin       sdk.Duration      `json:"retry_min" doc:"Pause when no address lets the bridge in; it doubles each time." default:"500ms" min:"10ms"`
	RetryMax       sdk.Duration      `json:"retry_max" doc:"The longest pause." default:"30s" min:"10ms" max:"1h"`
}

// TLS of the connections.
type TLS struct {
	Mode               string `json:"mode" doc:"on; off; or auto, which is on, but for loopback addresses and sockets." enum:"auto,on,off" default:"auto"`
	CAFile             string `json:"ca_file" doc:"PEM file of authorities that the server's certificate must lead to. Absent: the system's."`
	CertFile           string `json:"cert_file" doc:"PEM file of the bridge's own certificate, with cert_key_file."`
	KeyFile            string `json:"cert_key_file" doc:"PEM file of its key."`
	ServerName         string `json:"server_name" doc:"Name that the server's certificate must have. Absent: that of the address."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify" doc:"Take any certificate. Whoever is on the way can read and change everything."`
}

// Route is what becomes of some messages.
type Route struct {
	bridge.Route
	Statement  string                   `json:"statement" doc:"A statement of SQL in which each ${…} is a parameter." example:"INSERT INTO log (topic, payload) VALUES (${topic}, ${payload})"`
	Table      string                   `json:"table" doc:"In place of statement: the table into which rows are inserted, also as schema.table."`
	Columns    map[string]template.Text `json:"columns" doc:"With table: templates of the columns' values."`
	Key        []string                 `json:"key" doc:"With table: the columns of its primary key, or of another unique one. A row that is there already is replaced, or left alone."`
	OnConflict string                   `json:"on_conflict" doc:"With key: update writes the other columns of a row that is there already, ignore leaves it as it is." enum:"update,ignore" default:"update"`
}

// check says what is wrong with a config, as problems with pointers, and returns the
// statements of the routes, and TLS for each address.
func (c *Config) check() (statements []*statement.Statement, targets []target, err error) {
	var problems []error
	problem := func(at, format string, args ...any) {
		problems = append(problems, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
	}
	d := dialectOf(c.Database.Type)
	var names []string
	for i := range c.Routes {
		r := &c.Routes[i]
		at := "/routes/" + strconv.Itoa(i)
		names = append(names, r.Name)
		problems = append(problems, r.Route.Check(at)...)
		statements = append(statements, r.compile(d, at, problem))
	}
	problems = append(problems, bridge.CheckNames("/routes", names)...)
	targets, tlsProblem := c.Database.check(problem)
	if tlsProblem != nil {
		problems = append(problems, tlsProblem)
	}
	return statements, targets, sdk.Problems(problems...)
}

// compile makes the route's statement.
func (r *Route) compile(d *dialect, at string, problem func(at, format string, args ...any)) *statement.Statement {
	switch {
	case r.Statement == "" && r.Table == "":
		problem(at+"/statement", "a route needs a statement, as \"INSERT INTO log (topic, payload) VALUES (${topic}, ${payload})\", or a table with columns")
		return nil
	case r.Statement != "" && r.Table != "":
		problem(at+"/table", "it is in place of statement: one of them is enough")
		return nil
	case r.Table == "" && len(r.Columns) > 0:
		problem(at+"/columns", "they belong to a table; a statement has its own")
		return nil
	case r.Table == "" && len(r.Key) > 0:
		problem(at+"/key", "it belongs to a table; a statement says itself what becomes of a row that is there, as by ON CONFLICT")
		return nil
	case r.Statement != "":
		s, err := statement.Compile(&d.Dialect, r.Statement)
		if err != nil {
			problem(at+"/statement", "%v", err)
		}
		return s
	}
	if len(r.Key) == 0 && r.OnConflict == "ignore" {
		problem(at+"/on_conflict", "it needs the key by which a row that is there is found")
	}
	if len(r.Columns) == 0 {
		problem(at+"/columns", "a table needs columns, as {id: \"${id}\", topic: \"${topic}\"}")
		return nil
	}
	for i, k := range r.Key {
		if _, ok := r.Columns[k]; !ok {
			problem(at+"/key/"+strconv.Itoa(i), "%q is none of the columns %s", k, strings.Join(slices.Sorted(maps.Keys(r.Columns)), ", "))
		}
	}
	return insert(d, r)
}

// target is one address with its TLS; nil: none.
type target struct {
	network, address string // unix and its path, tcp and host:port
	host             string
	tls              tlsConfig
}

// check says what is wrong with the database, and returns its addresses.
func (c *Database) check(problem func(at, format string, args ...any)) (targets []target, err error) {
	if c.RetryMax < c.RetryMin {
		problem("/database/retry_max", "it is shorter than retry_min")
	}
	for k := range c.Options {
		if k == "" || strings.Trim(strings.ToLower(k), "abcdefghijklmnopqrstuvwxyz0123456789_.") != "" {
			problem("/database/options/"+k, "%q is no name of a setting", k)
		}
	}
	if c.Type == "sqlite" {
		c.checkFile(problem)
		return []target{{}}, nil
	}
	if c.File != "" {
		problem("/database/file", "it is for sqlite; %s has addresses and a name", c.Type)
	}
	if len(c.Addresses) == 0 {
		problem("/database/addresses", "%s needs an address, as \"db.example.com\"", c.Type)
	}
	if c.Name == "" {
		problem("/database/name", "%s needs the name of a database", c.Type)
	}
	if c.User == "" {
		problem("/database/user", "%s needs a user", c.Type)
	}
	base, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	for i, a := range c.Addresses {
		t, ok := parseAddress(c.Type, a)
		if !ok {
			problem("/database/addresses/"+strconv.Itoa(i), "%q is neither host, host:port, nor the path of a socket", a)
			continue
		}
		t.tls = c.TLS.of(base, t)
		targets = append(targets, t)
	}
	return targets, nil
}

// checkFile says what is wrong with the database of type sqlite.
func (c *Database) checkFile(problem func(at, format string, args ...any)) {
	if c.File == "" {
		problem("/database/file", "sqlite needs a file, as \"/var/lib/patchbay/plant.db\"")
	}
	if strings.HasPrefix(c.File, ":") {
		problem("/database/file", "a database in memory is gone with the plugin: give a file")
	}
	if len(c.Addresses) > 0 {
		problem("/database/addresses", "sqlite has none; it has a file")
	}
	if c.Name != "" {
		problem("/database/name", "sqlite has none; it has a file")
	}
	if c.User != "" || c.Password.Reveal() != "" {
		problem("/database/user", "sqlite knows no users; the file belongs to who runs the broker")
	}
}

// parseAddress reads "host", "host:port", "[::1]:port" and the path of a socket.
func parseAddress(kind, s string) (t target, ok bool) {
	if filepath.IsAbs(s) {
		return target{network: "unix", address: s}, true
	}
	port := "3306"
	if kind == "postgres" {
		port = "5432"
	}
	host := s
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	} else if strings.Count(s, ":") == 1 || strings.ContainsAny(s, "/@ ") {
		return t, false
	}
	host = strings.Trim(host, "[]")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return t, false
	}
	return target{network: "tcp", address: net.JoinHostPort(host, port), host: host}, true
}

// loopback reports whether what is sent to the address stays on this machine.
func (t *target) loopback() bool {
	ip := net.ParseIP(t.host)
	return t.network == "unix" || t.host == "localhost" || ip != nil && ip.IsLoopback()
}

// shown is the database for the status, without user and password.
func (c *Database) shown(t target) string {
	if c.Type == "sqlite" {
		return "sqlite:" + c.File
	}
	return c.Type + "://" + t.address + "/" + c.Name
}

// label is the database's name for the status.
func (c *Database) label() string {
	if c.Type == "sqlite" {
		return filepath.Base(c.File)
	}
	return c.Name
}
