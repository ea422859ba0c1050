package plugindev_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/packtest"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/parcel"
)

// packed is a package with its key.
type packed struct{ dir, pbp, key, public string }

func pack(t *testing.T) packed {
	t.Helper()
	p := packed{dir: t.TempDir()}
	p.key, p.pbp = filepath.Join(p.dir, "author.key"), filepath.Join(p.dir, "gate-keeper.pbp")
	p.public = strings.TrimSpace(must(t, p.dir, "plugin", "keygen", "-o", p.key))
	contains(t, must(t, p.dir, "plugin", "pack", filepath.Join(project(t), "gate-keeper.wasm"), "--key", p.key), "gate-keeper.pbp: gate-keeper 0.1.0", "signed by "+p.public)
	return p
}

// TestFromNewToClients is the way of a plugin: written, packed, installed into a broker
// that runs, and asked by real clients.
func TestFromNewToClients(t *testing.T) {
	t.Parallel()
	p := pack(t)
	if info, err := os.Stat(p.key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("private key: %v, %v", info.Mode(), err)
	}
	refused(t, 1, p.dir, []string{"plugin", "keygen", "-o", p.key}, "file exists")
	write(t, filepath.Join(p.dir, "patchbay.yaml"), fmt.Sprintf(
		"listeners: [{tcp: \"127.0.0.1:0\"}]\nstore: memory\nadmin: {listen: off}\nlog: {format: text}\nplugin_keys: [%q]\n", p.public))
	b := begin(t, p.dir, "serve")
	b.says(b.stderr, "  tcp ")
	port := tcpAddress.FindStringSubmatch(b.stderr.String())[1]
	if r := connect(t, port, "anything"); r.code != 0 {
		t.Fatalf("without the plugin: %s", r.stderr)
	}
	refused(t, 2, p.dir, []string{"plugin", "install", p.pbp}, "nobody is there to accept it", "+ grant  kv: remembers who was here")
	folder := filepath.Join(p.dir, "patchbay-data", "plugins")
	if list, err := os.ReadDir(folder); err == nil && len(list) > 0 {
		t.Errorf("what was not accepted has left %v", list)
	}
	// Its settings may be there before it.
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "gate-keeper.yaml"), "# mine\nconfig: {password: hush} # the password\n")
	contains(t, must(t, p.dir, "plugin", "install", p.pbp, "--yes"), "installed "+filepath.Join("patchbay-data", "plugins", "gate-keeper.wasm"))
	settings, err := os.ReadFile(filepath.Join(folder, "gate-keeper.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(settings), "# mine", "config: {password: hush} # the password", `grants: ["kv"]`)
	eventually(t, "the plugin is serving", func() bool {
		return strings.Contains(patchbay(t, p.dir, "plugin", "list").stdout, "gate-keeper  serving")
	})
	if r := connect(t, port, "hush"); r.code != 0 {
		t.Errorf("with the right password: %s", r.stderr)
	}
	if r := connect(t, port, "guess"); r.code != 1 || !strings.Contains(r.stderr, "wrong user name or password") {
		t.Errorf("with a wrong password: %+v", r)
	}
	// Again: nothing new to accept, and the settings stay as they are.
	must(t, p.dir, "plugin", "install", p.pbp, "--yes")
	if again, err := os.ReadFile(filepath.Join(folder, "gate-keeper.yaml")); err != nil || string(again) != string(settings) {
		t.Errorf("the settings were changed: %s, %v", again, err)
	}
	list, err := os.ReadDir(folder)
	if err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestInstallFrom: a package comes from wherever, and is refused from anywhere.
func TestInstallFrom(t *testing.T) {
	t.Parallel()
	p := pack(t)
	content, err := os.ReadFile(p.pbp)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/good.pbp", func(w http.ResponseWriter, _ *http.Request) { w.Write(content) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good.pbp", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	server := httptest.NewServer(mux)
	defer server.Close()
	layout := layout(t, content)

	install := func(from string) []string {
		return []string{"plugin", "install", from, "--yes", "--into", filepath.Join(t.TempDir(), "plugins"), "--trusted", p.key + ".pub"}
	}
	for _, from := range []string{p.pbp, server.URL + "/good.pbp", server.URL + "/moved", layout, layout + ":1.0"} {
		args := install(from)
		contains(t, must(t, p.dir, args...), "installed", "It needs a configuration (password)")
		if got, err := os.ReadFile(filepath.Join(args[5], "gate-keeper.wasm")); err != nil || len(got) < 1<<20 {
			t.Errorf("%s: %v", from, err)
		}
	}
	unsigned := filepath.Join(p.dir, "unsigned.pbp")
	contains(t, must(t, p.dir, "plugin", "pack", filepath.Join(project(t), "gate-keeper.wasm"), "-o", unsigned), "NOT SIGNED")
	tampered := filepath.Join(p.dir, "tampered.pbp")
	tamper(t, p, tampered)
	other := pack(t)
	for from, words := range map[string]string{
		unsigned: "unsigned.pbp: the package is not signed", tampered: "tampered.pbp: the package was changed after it was signed",
		other.pbp: "it was signed by " + other.public, filepath.Join(p.dir, "absent"): "no such file",
		p.key: "it is not a package of patchbay plugin pack", p.dir: "is neither a package nor an OCI image layout",
		server.URL + "/absent": "404 Not Found", server.URL + "/loop": "it redirects again and again", layout + ":2.0": `there is no image "2.0"; there are: 1.0`,
		"http://127.0.0.1:1/x": "connection refused",
	} {
		args := install(from)
		refused(t, 1, p.dir, args, words)
		if _, err := os.Stat(args[5]); !os.IsNotExist(err) {
			t.Errorf("%s has left something behind: %v", from, err)
		}
	}
	refused(t, 2, p.dir, []string{"plugin", "install", p.pbp, "--trusted", "rsa:xyz"}, `"rsa:xyz" is not a public key`)
	// Both kinds of file under one name would be no plugin at all.
	args := install(p.pbp)
	if err := os.MkdirAll(args[5], 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(args[5], "gate-keeper"), "#!/bin/sh\n")
	refused(t, 1, p.dir, args, "is there already, and two files cannot make one plugin")
	if list, err := os.ReadDir(args[5]); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	// A digest of the layout that does not fit.
	blobs, err := filepath.Glob(filepath.Join(layout, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		write(t, b, "changed")
	}
	refused(t, 1, p.dir, install(layout), "it was changed")
}

// tamper packs another file under the signature of a package.
func tamper(t *testing.T, p packed, to string) {
	t.Helper()
	f, err := os.Open(p.pbp)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	opened, err := parcel.Open(f, []parcel.Key{parcel.Key(p.public)})
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(opened.Content)
	changed[len(changed)-1] ^= 1
	content, err := os.ReadFile(p.pbp)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(packtest.Repack(t, content, opened.File, changed)))
}

// layout makes an OCI image layout of one image, 1.0, with a package as its layer.
func layout(t *testing.T, content []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	blob := func(b []byte, mediaType string) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		write(t, filepath.Join(dir, "blobs", "sha256", sum), string(b))
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(b)}
	}
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	manifest := blob(text(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": "application/vnd.patchbay.plugin.v1",
		"config": blob([]byte("{}"), "application/vnd.oci.empty.v1+json"), "layers": []any{blob(content, parcel.MediaType)},
	}), "application/vnd.oci.image.manifest.v1+json")
	manifest["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "1.0"}
	write(t, filepath.Join(dir, "index.json"), string(text(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})))
	write(t, filepath.Join(dir, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
	return dir
}

// TestInstallProgram: a program comes with what a plugin folder wants beside it.
func TestInstallProgram(t *testing.T) {
	t.Parallel()
	p := pack(t)
	exe := filepath.Join(p.dir, "gate-keeper")
	goBuild(t, project(t), exe)
	must(t, p.dir, "plugin", "pack", exe, "--key", p.key, "-o", "program.pbp")
	into := filepath.Join(p.dir, "plugins")
	contains(t, must(t, p.dir, "plugin", "install", "program.pbp", "--yes", "--into", into, "--trusted", p.public), "It is a program: it can do whatever")
	for _, name := range []string{"gate-keeper", "gate-keeper.manifest.json", "gate-keeper.sha256", "gate-keeper.yaml"} {
		info, err := os.Stat(filepath.Join(into, name))
		if err != nil || name == "gate-keeper" && info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	refused(t, 1, p.dir, []string{"plugin", "pack", p.key, "--key", p.key}, "a broker would not run this")
	refused(t, 2, p.dir, []string{"plugin", "pack", exe, "--key", exe}, "is not a private key in PEM")
	refused(t, 2, p.dir, []string{"plugin", "keygen"}, "--output is missing")
}
