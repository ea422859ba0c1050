package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the results in testdata/load")

// TestLoad runs testdata/load/*.txtar. Each has some of patchbay.yaml, env
// (NAME=value lines), flags (key=value lines), further files, and the result:
// the problems; or the warnings and every value that some source has set.
func TestLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		name, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			writeCertificates(t)
			src := Sources{Flags: map[string]string{}}
			want := -1
			for i, f := range archive.Files {
				lines := strings.Split(strings.TrimSpace(string(f.Data)), "\n")
				switch f.Name {
				case "result":
					want = i
				case "env":
					src.Environ = lines
				case "flags":
					for _, line := range lines {
						key, value, _ := strings.Cut(line, "=")
						src.Flags[key] = value
					}
				default:
					if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
					if f.Name == "patchbay.yaml" {
						src.File = f.Name
					}
				}
			}
			got := loadResult(t, src)
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(archive.Files[want].Data) {
				t.Errorf("got\n%s\nwant\n%s", got, archive.Files[want].Data)
			}
		})
	}
}

// loadResult loads src and returns what the golden files have as result.
func loadResult(t *testing.T, src Sources) string {
	cfg, meta, err := Load(src)
	var out strings.Builder
	if err != nil {
		if e, ok := errors.AsType[*Error](err); !ok || e.ExitCode() != 2 {
			t.Fatalf("%T is not the error of a wrong configuration: %v", err, err)
		}
		return err.Error() + "\n"
	}
	for _, w := range meta.Warnings {
		fmt.Fprintf(&out, "warning: %s\n", w)
	}
	var printed bytes.Buffer
	if err := Print(&printed, cfg, meta); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(printed.String()) {
		if strings.Contains(line, " # ") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// writeCertificates writes server.pem with server.key, other.pem with
// other.key, ca.pem and ca.crl to the working directory.
func writeCertificates(t *testing.T) {
	t.Helper()
	write := func(name, kind string, der []byte) {
		content := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"server", "other", "ca"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte{1},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign,
		}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		}, template, key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", cert)
		write(name+".key", "PRIVATE KEY", keyDER)
		write(name+".crl", "X509 CRL", crl)
	}
}

func TestLoadDefaults(t *testing.T) {
	cfg, meta, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if len(meta.Warnings) != 0 {
		t.Errorf("the defaults warn: %v", meta.Warnings)
	}
	if len(cfg.Listeners) != 1 {
		t.Fatalf("%d listeners, want 1", len(cfg.Listeners))
	}
	ln := &cfg.Listeners[0]
	if ln.Network() != "tcp" || ln.Address() != ":1883" || ln.Name != "tcp:1883" || ln.Secure() || ln.Local() {
		t.Errorf("default listener: %+v", ln)
	}
	// One of each type, as a program sees it.
	if cfg.MQTT.MaxPacketSize != 16<<20 || cfg.MQTT.ConnectTimeout.Std() != 10*time.Second || cfg.Session.MaxExpiry != Never ||
		cfg.Limits.PublishRate != 0 || !cfg.Limits.Memory.Auto || cfg.Session.RetryBackoff != 2 || cfg.MQTT.MaxQoS != 2 ||
		!cfg.MQTT.RetainAvailable || cfg.Store != "disk" || len(cfg.Sys.Disable) != 0 {
		t.Errorf("defaults: %+v", cfg)
	}
	if got := cfg.AdminSocket(); got != filepath.Join("patchbay-data", "admin.sock") {
		t.Errorf("admin socket %q", got)
	}
}

// TestEveryKeyByEnvironment sets every key that can be, and finds it in the
// Config under its source.
func TestEveryKeyByEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	writeCertificates(t)
	other := map[string]string{
		"listeners": "unix:///tmp/x.sock?name=x", "admin.cert": "server.pem", "admin.key": "server.key",
		"admin.client_ca": "ca.pem", "admin.listen": "127.0.0.1:1", "limits.memory": "64MiB", "sys.disable": "a/#, b",
		"limits.out_buffer_high": "1MiB", "limits.out_buffer_low": "100KB",
	}
	var environ []string
	values := map[string]string{}
	declaration().settable(func(k *key) {
		if k.path == "plugins" || k.kind >= freeform {
			_, _, err := Load(Sources{Environ: []string{k.envName() + "=x"}})
			if err == nil || !strings.Contains(err.Error(), "environment "+k.envName()+": "+k.path+": can only be set in a configuration file") {
				t.Errorf("%s: %v", k.path, err)
			}
			return
		}
		v := other[k.path]
		switch {
		case v != "":
		case k.kind == enum:
			v = k.enum[len(k.enum)-1]
		case k.kind == boolean:
			v = map[string]string{"true": "false", "false": "true"}[k.def]
		case k.kind == integer && k.max != "" && k.max != k.def:
			v = k.max
		case k.check == "sync":
			v = "interval(1s)"
		case k.check == "plugin_key":
			v = "ed25519:" + strings.Repeat("A", 43) + "="
		case k.path == "mqtt.max_qos":
			v = "1"
		case k.kind == integer && k.max != "":
			v = "100"
		case k.kind == integer:
			v = "7"
		case k.kind == number:
			v = "1.5"
		case k.kind == duration:
			v = "7s"
		case k.kind == size:
			v = "70000"
		case k.kind == rate || k.kind == byteRate:
			v = "7/s"
		default:
			v = "some-" + k.name
		}
		values[k.path] = v
		environ = append(environ, k.envName()+"="+v)
	})
	cfg, meta, err := Load(Sources{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defaults, _, _ := Load(Sources{})
	changed := map[string]bool{}
	for _, c := range Diff(defaults, cfg) {
		changed[c.Key] = true
	}
	for _, path := range slices.Sorted(maps.Keys(values)) {
		if src := meta.Source(path); src.Env == "" {
			t.Errorf("%s came from %s", path, src)
		}
		if path != "listeners" && !changed[path] {
			t.Errorf("%s=%s changed nothing", path, values[path])
		}
	}
	if cfg.Listeners[0].Unix != "/tmp/x.sock" || cfg.Listeners[0].Name != "x" || cfg.Listeners[0].Mode != "0660" {
		t.Errorf("listener %+v", cfg.Listeners[0])
	}
	if !slices.Equal(cfg.Sys.Disable, []string{"a/#", "b"}) {
		t.Errorf("sys.disable %q", cfg.Sys.Disable)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	check := func(flag string, environ []string, want string) {
		t.Helper()
		if got, err := Find(flag, environ, dir); got != want || err != nil {
			t.Errorf("Find(%q, %q) = %q, %v; want %q", flag, environ, got, err, want)
		}
	}
	check("", nil, "")
	check("", []string{"PATCHBAY_CONFIG="}, "")
	check("", []string{"PATCHBAY_CONFIG=/a/b.yaml"}, "/a/b.yaml")
	check("x.yaml", []string{"PATCHBAY_CONFIG=/a/b.yaml"}, "x.yaml")
	file := filepath.Join(dir, "patchbay.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check("", nil, file)
	check("", []string{"PATCHBAY_CONFIG=/a/b.yaml"}, "/a/b.yaml")
	if _, _, err := Load(Sources{File: file}); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	_, _, err := Load(Sources{File: "gone.yaml"})
	if err == nil || err.Error() != "gone.yaml: no such file or directory" {
		t.Errorf("a file that is not there: %v", err)
	}
}

// FuzzLoad: whatever is in the file, Load ends with an [*Error] or a Config
// that survives being printed and loaded, and that the schema allows.
func FuzzLoad(f *testing.F) {
	cases, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range cases {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == "patchbay.yaml" {
				f.Add(file.Data)
				f.Add(bytes.ReplaceAll(file.Data, []byte("$"), nil))
			}
		}
	}
	f.Add([]byte("plugins: [{name: a, plugin: b, config: {x: [1.50, 0x1, null], y: {}}, hooks: {tick: off, permit: {deadline: 1s}},\n" +
		"  grants: [kv, {kv: 1MiB}, {publish: [a]}, {clients: {namespaces: ['']}}, {http: ['http://a']}], namespaces: ['', b], revoke: [log]}]"))
	schema := compileSchema(f)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("${")) || bytes.ContainsAny(content, "/\\") {
			t.Skip("would read any file of the machine, and a secret is not printed")
		}
		file := filepath.Join(dir, fmt.Sprint(os.Getpid())+".yaml")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, meta, err := Load(Sources{File: file})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if err := validateYAML(schema, content); err != nil {
			t.Fatalf("the schema refuses what loads: %v", err)
		}
		if cfg.Admin.Token != "" || len(cfg.Secrets) > 0 || slices.ContainsFunc(cfg.Plugins, func(p Plugin) bool { return len(p.Env) > 0 }) {
			return
		}
		var printed bytes.Buffer
		if err := Print(&printed, cfg, meta); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, printed.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		again, _, err := Load(Sources{File: file})
		if err != nil {
			t.Fatalf("%v\nin what was printed:\n%s", err, printed.Bytes())
		}
		if changes := Diff(cfg, again); len(changes) > 0 {
			t.Fatalf("printed and loaded: %v\nin\n%s", changes, printed.Bytes())
		}
	})
}
