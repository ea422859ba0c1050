package parcel_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/packtest"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/parcel"
)

func key(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) parcel.Key { return parcel.KeyOf(k.Public().(ed25519.PublicKey)) }

var about = parcel.About{
	Name: "gate", Version: "1.2.3", Runtime: "wasm", File: "gate.wasm", Manifest: []byte(`{"name":"gate","hooks":[{"point":"POINT_PERMIT"}]}`),
}

func packed(t testing.TB, a parcel.About, content string, k ed25519.PrivateKey) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := parcel.Pack(&b, a, []byte(content), k); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPackAndOpen(t *testing.T) {
	k := key(t)
	b := packed(t, about, "the module", k)
	if again := packed(t, about, "the module", k); !bytes.Equal(b, again) {
		t.Error("the same plugin makes different packages")
	}
	p, err := parcel.Open(bytes.NewReader(b), []parcel.Key{"ed25519:other", public(k)})
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "gate" || string(p.Content) != "the module" || p.Signer != public(k) || p.Manifest.Name != "gate" || len(p.Manifest.Hooks) != 1 {
		t.Errorf("%+v", p)
	}
	if err := p.Describes(p.Manifest); err != nil {
		t.Error(err)
	}
	other := *p.Manifest
	other.Grants = nil
	other.Name = "gates"
	if err := p.Describes(&other); err == nil {
		t.Error("another manifest is taken for that of the package")
	}
}

func TestOpenRefuses(t *testing.T) {
	k := key(t)
	trusted := []parcel.Key{public(k)}
	change := func(c func(*parcel.About)) []byte {
		a := about
		c(&a)
		return packed(t, a, "x", k)
	}
	for name, c := range map[string]struct {
		b     []byte
		is    error
		words string
	}{
		"unsigned":      {packed(t, about, "x", nil), parcel.ErrUnsigned, "not signed"},
		"stranger":      {packed(t, about, "x", ed25519.NewKeyFromSeed(make([]byte, 32))), parcel.ErrUntrusted, "plugin_keys"},
		"other file":    {repack(t, packed(t, about, "x", k), "gate.wasm", []byte("y")), parcel.ErrTampered, "SHA-256"},
		"other about":   {repack(t, packed(t, about, "x", k), "package.json", []byte(`{"patchbay_package":1}`)), parcel.ErrTampered, "signature"},
		"bad signature": {repack(t, packed(t, about, "x", k), "package.sig", []byte(`{"key":"`+string(public(k))+`","signature":"AAAA"}`)), parcel.ErrTampered, "signature"},
		"no signature":  {repack(t, packed(t, about, "x", k), "package.sig", []byte(`no`)), parcel.ErrTampered, "package.sig"},
		"format":        {repack(t, packed(t, about, "x", k), "package.json", []byte(`{"patchbay_package":2}`)), nil, "has format 2"},
		"path":          {change(func(a *parcel.About) { a.File = "../gate.wasm" }), nil, "does not fit its name"},
		"name":          {change(func(a *parcel.About) { a.Name = "other" }), nil, "does not fit its name"},
		"runtime":       {change(func(a *parcel.About) { a.Runtime = "process" }), nil, "does not fit its file"},
		"platform":      {change(func(a *parcel.About) { a.Runtime, a.File, a.Platform = "process", "gate", "plan9/386" }), nil, "is for plan9/386"},
		"manifest":      {change(func(a *parcel.About) { a.Manifest = []byte(`{"name":7}`) }), nil, "its manifest"},
		"empty":         {nil, nil, "not a package"},
		"text":          {[]byte("hello"), nil, "not a package"},
		"truncated":     {packed(t, about, strings.Repeat("x", 1000), k)[:200], nil, "not a package"},
		"link":          {archive(t, tar.Header{Name: "package.json", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""), nil, "does not belong there"},
		"twice":         {archive(t, tar.Header{Name: "package.json", Typeflag: tar.TypeReg, Size: 2}, "{}", "{}"), nil, "does not belong there"},
	} {
		_, err := parcel.Open(bytes.NewReader(c.b), trusted)
		if err == nil || !strings.Contains(err.Error(), c.words) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func repack(t testing.TB, b []byte, name string, content []byte) []byte {
	t.Helper()
	return packtest.Repack(t, b, name, content)
}

func archive(t testing.TB, h tar.Header, contents ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, c := range contents {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestNoByteCanBeChanged: whatever byte of what is in a package is changed, it is refused,
// or is the same package.
func TestNoByteCanBeChanged(t *testing.T) {
	k := key(t)
	b := packed(t, about, "the module", k)
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1 << (i % 8)
		var out bytes.Buffer
		w, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(changed); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		p, err := parcel.Open(&out, []parcel.Key{public(k)})
		if err != nil {
			continue
		}
		taken++ // what fills the blocks of a tar counts for nothing
		if string(p.Content) != "the module" || p.Version != "1.2.3" || p.File != "gate.wasm" {
			t.Fatalf("byte %d: %+v", i, p)
		}
	}
	if taken == len(raw) {
		t.Error("nothing was refused")
	}
}

func FuzzOpen(f *testing.F) {
	k := key(f)
	f.Add(packed(f, about, "x", k))
	f.Add(packed(f, about, "x", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parcel.Open(bytes.NewReader(b), []parcel.Key{public(k)})
		if err == nil && (p.Name != "gate" || string(p.Content) != "x") {
			t.Errorf("taken: %+v", p)
		}
	})
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.key")
	k, err := parcel.GenerateKey(file)
	if err != nil {
		t.Fatal(err)
	}
	private, err := parcel.ReadKey(file)
	if err != nil || public(private) != k {
		t.Errorf("%v: %s, want %s", err, public(private), k)
	}
	if text, err := os.ReadFile(file + ".pub"); err != nil || string(text) != string(k)+"\n" {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := parcel.GenerateKey(file); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another key: %v", err)
	}
	if openssl, err := exec.LookPath("openssl"); err == nil {
		theirs := filepath.Join(dir, "openssl.key")
		if out, err := exec.Command(openssl, "genpkey", "-algorithm", "ed25519", "-out", theirs).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := parcel.ReadKey(theirs); err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{"", "ed25519:", "ed25519:AAAA", "rsa:" + strings.Repeat("A", 43) + "=", "x"} {
		if _, err := parcel.Key(text).Public(); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
}

// TestSettings: what people have written into a plugin's settings stays.
func TestSettings(t *testing.T) {
	for before, want := range map[string]string{
		"": "grants: [kv]\n",
		"# mine\nconfig: {a: 1} # why\n\n# further\noptional: true\n": "# mine\nconfig: {a: 1} # why\n# further\noptional: true\ngrants: [kv]\n",
		"grants:\n  - publish # old\nconfig: {}\n":                    "grants: [kv]\nconfig: {}\n",
		"# nothing\n": "grants: [kv]\n",
	} {
		dir := t.TempDir()
		if before != "" {
			if err := os.WriteFile(filepath.Join(dir, "gate.yaml"), []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := parcel.ReadSettings(dir, "gate")
		if err != nil || s.There != (before != "") {
			t.Fatal(err, s.There)
		}
		if err := s.SetGrants("[kv]"); err != nil {
			t.Fatal(err)
		}
		p := &parcel.Package{About: about, Content: []byte("x")}
		if _, err := parcel.Place(dir, p, s); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "gate.yaml"))
		if err != nil || strings.ReplaceAll(string(got), "\n\n", "\n") != want {
			t.Errorf("%q: %q, want %q (%v)", before, got, want, err)
		}
		info, err := os.Stat(filepath.Join(dir, "gate.yaml"))
		if mode := map[bool]string{true: "-rw-------", false: "-rw-r--r--"}[before != ""]; err != nil || info.Mode().String() != mode {
			t.Errorf("%q: %v, %v", before, info.Mode(), err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gate.yaml"), []byte("- a list"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parcel.ReadSettings(dir, "gate"); err == nil {
		t.Error("a list is taken for settings")
	}
}

func TestFetchLimit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for limit, fine := range map[int64]bool{99: false, 100: true} {
		if _, err := parcel.Fetch(t.Context(), file, limit); (err == nil) != fine {
			t.Errorf("%d: %v", limit, err)
		}
	}
}
