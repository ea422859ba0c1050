package bridgesql

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Every key of the config is in the README, or in the page of all bridges.
func TestReadme(t *testing.T) {
	own, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := os.ReadFile("../../docs/bridges.md")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Plugin().Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	keys := s.keys()
	if len(keys) < 30 {
		t.Fatalf("the schema has %d keys", len(keys))
	}
	text := string(own) + string(shared)
	for _, k := range keys {
		if !strings.Contains(text, "`"+k+"`") {
			t.Errorf("%s is not described", k)
		}
	}
}

type schema struct {
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

func (s *schema) keys() (list []string) {
	for name, p := range s.Properties {
		list = append(list, name)
		list = append(list, p.keys()...)
	}
	if s.Items != nil {
		list = append(list, s.Items.keys()...)
	}
	return list
}

// examples are the configs of the README.
func examples(t testing.TB) (list []map[string]any) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		var file struct {
			Plugins []struct {
				Plugin string         `yaml:"plugin"`
				Config map[string]any `yaml:"config"`
			} `yaml:"plugins"`
		}
		if err := yaml.Unmarshal([]byte(example), &file); err != nil {
			t.Fatalf("%v\n%s", err, example)
		}
		for _, p := range file.Plugins {
			if p.Plugin != Plugin().Name {
				t.Errorf("plugin %q", p.Plugin)
			}
			list = append(list, p.Config)
		}
	}
	return list
}

// The examples of the README are configs that the plugin takes, but for a file that is not here.
func TestReadmeExamples(t *testing.T) {
	list := examples(t)
	for _, c := range list {
		d := c["database"].(map[string]any)
		switch d["type"] {
		case "sqlite":
			d["file"] = t.TempDir() + "/x.db"
		case "postgres":
			delete(d, "tls")
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if why := refusal(t, string(text)); why != "" {
			t.Errorf("%s\n%s", why, text)
		}
	}
	if len(list) != 3 {
		t.Errorf("%d examples", len(list))
	}
}

// Each does what the README says, with the database of its kind.
func testExample(t *testing.T, d *database) {
	for _, c := range examples(t) {
		example := c["database"].(map[string]any)
		if example["type"] != d.kind {
			continue
		}
		if setup, ok := example["setup"]; ok {
			d.with("setup", setup)
		}
		routes, err := json.Marshal(c["routes"])
		if err != nil {
			t.Fatal(err)
		}
		exampleTests[d.kind](t, d, func(route, message string) string {
			r := d.start(string(routes))
			b := r.batch(message)
			b.Deliveries[0].Message.ID = 7
			b.Consumer = route
			return r.hand(b)
		})
	}
}

var exampleTests = map[string]func(t *testing.T, d *database, say func(route, message string) string){
	"postgres": func(t *testing.T, d *database, say func(route, message string) string) {
		d.exec("CREATE TABLE measured (id bigint PRIMARY KEY, at timestamptz, device text, celsius real, raw text)", "CREATE TABLE state (device text PRIMARY KEY, state text, since timestamptz)",
			"CREATE TABLE customers (id int, name text)", "INSERT INTO customers VALUES (3, 'ann')", "CREATE TABLE orders (number int PRIMARY KEY, customer int, item text)")
		for _, m := range [][2]string{
			{"measured", `plant/p1/measured {"at":1767323045,"temperature":21.5}`}, {"measured", `plant/p1/measured {"at":1767323045,"temperature":21.5}`},
			{"state", `plant/p1/state {"state":"ON"}`}, {"state", `plant/p1/state {"state":"OFF"}`},
			{"orders", `orders/x {"number":5,"customer":"ann","item":"bolt"}`}, {"orders", `orders/x {"number":5,"customer":"ann","item":"nut"}`},
		} {
			if got := say(m[0], m[1]); got != "ok" {
				t.Errorf("%s: %s", m[1], got)
			}
		}
		d.expect("SELECT id, extract(epoch FROM at)::int, device, celsius, raw FROM measured", `7 1767323045 p1 21.5 {"at":1767323045,"temperature":21.5}`)
		d.expect("SELECT device, state FROM state", "p1 off")
		d.expect("SELECT number, customer, item FROM orders", "5 3 nut")
	},
	"mysql": func(t *testing.T, d *database, say func(route, message string) string) {
		d.exec("CREATE TABLE sold (shop VARCHAR(20), item VARCHAR(20), cents INT)")
		if got := say("sold", `shop/s1/sold {"item":"bolt","cents":"250"}`); got != "ok" {
			t.Error(got)
		}
		d.expect("SELECT * FROM sold", "s1 bolt 250")
	},
	"sqlite": func(t *testing.T, d *database, say func(route, message string) string) {
		for range 2 {
			if got := say("all", "a/b hello"); got != "ok" {
				t.Error(got)
			}
		}
		d.expect("SELECT id, at, topic, payload, typeof(payload) FROM log", "7 2026-01-02T03:04:05.678Z a/b hello text")
	},
}
