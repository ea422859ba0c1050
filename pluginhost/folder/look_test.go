package folder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// bench is a folder with a looker whose time is the test's.
type bench struct {
	testing.TB
	dir string
	*looker
}

// newBench makes a folder. Its settings are text: "bad" is a fault, "dev" is dev,
// "sum=X" a sum, anything else a config.
func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{TB: t, dir: t.TempDir()}
	b.looker = newLooker(&Options{Dir: b.dir, Settings: func(file string, program bool) (pluginhost.Spec, error) {
		text, err := os.ReadFile(file)
		s := strings.TrimSpace(string(text))
		sum, isSum := strings.CutPrefix(s, "sum=")
		switch {
		case err != nil:
			return pluginhost.Spec{}, err
		case s == "bad":
			return pluginhost.Spec{}, fmt.Errorf("%s: bad settings", file)
		case s == "dev":
			return pluginhost.Spec{Dev: true}, nil
		case isSum:
			return pluginhost.Spec{SHA256: sum}, nil
		}
		return pluginhost.Spec{Config: []byte(s), Fuel: map[bool]int64{true: 1}[program]}, nil
	}})
	return b
}

func (b *bench) write(name, content string, mode ...os.FileMode) {
	b.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	if len(mode) > 0 {
		b.chmod(name, mode[0])
	}
}

func (b *bench) chmod(name string, mode os.FileMode) {
	b.Helper()
	if err := os.Chmod(filepath.Join(b.dir, name), mode); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) rename(from, to string) {
	b.Helper()
	if err := os.Rename(filepath.Join(b.dir, from), filepath.Join(b.dir, to)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) remove(name string) {
	b.Helper()
	if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
		b.Fatal(err)
	}
}

// program writes a program with all that belongs to it.
func (b *bench) program(name, content string) {
	b.Helper()
	b.write(name, content, 0o700)
	b.write(name+".manifest.json", `{"name": "x", "version": "1"}`)
	b.write(name+".sha256", sumOf(content)+"  "+name+"\n")
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// rest looks until everything has come to rest.
func (b *bench) rest() (changed bool) {
	for range 3 {
		changed = b.look(time.Now()) || changed
	}
	return changed
}

// want compares the list: "name" or "name=content" for plugins, "name!" for problems.
func (b *bench) want(list ...string) map[string]error {
	b.Helper()
	specs, problems := b.list()
	var got []string
	for _, s := range specs {
		entry := s.Name
		for _, w := range list {
			if name, content, ok := strings.Cut(w, "="); ok && name == s.Name && s.SHA256 == sumOf(content) {
				entry = w
			}
		}
		got = append(got, entry)
	}
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		got = append(got, name+"!")
	}
	if !slices.Equal(got, list) {
		b.Errorf("got %q, want %q; problems %v", got, list, problems)
	}
	return problems
}

// still wants that nothing changes by itself.
func (b *bench) still() {
	b.Helper()
	if b.rest() {
		b.Error("a change where there is none")
	}
}

func TestModule(t *testing.T) {
	b := newBench(t)
	b.still()
	b.write("a.wasm", "one")
	if b.look(time.Now()) {
		t.Error("a file that was just written counts at the first look")
	}
	if !b.look(time.Now()) {
		t.Error("a file that is the same for two looks does not count")
	}
	b.want("a=one")
	specs, _ := b.list()
	path := filepath.Join(b.dir, "a.wasm")
	if s := specs[0]; s.Path != path || s.Source != path || s.Runtime != pluginhost.WASM {
		t.Errorf("%+v", s)
	}
	b.still()
	// What has been there for long counts at once.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	b.looker = newLooker(b.opts)
	if !b.look(time.Now()) {
		t.Error("an old file does not count at the first look")
	}
	b.want("a=one")
	b.write("b.wasm", "two")
	b.look(time.Now())
	b.want("a=one")
}

func TestReplacement(t *testing.T) {
	b := newBench(t)
	b.write("a.wasm", "one")
	b.rest()
	b.write(".a.wasm.new", "two")
	b.write("a.wasm.tmp", "two")
	b.write("a.wasm~", "two")
	b.still()
	b.rename("a.wasm.tmp", "a.wasm")
	b.look(time.Now())
	b.want("a=one")
	if !b.rest() {
		t.Error("a new file by rename is not seen")
	}
	b.want("a=two")
	// A copy in place goes on for several looks.
	for i := range 4 {
		b.write("a.wasm", strings.Repeat("three", i+1))
		b.look(time.Now())
		b.want("a=two")
	}
	if !b.rest() {
		t.Error("a copy in place is not seen")
	}
	b.want("a=" + strings.Repeat("three", 4))
	// Written again with the same content: the same plugin.
	b.write("a.wasm", strings.Repeat("three", 4))
	b.still()
	// Not there for a moment.
	b.remove("a.wasm")
	b.look(time.Now())
	b.want("a=" + strings.Repeat("three", 4))
	b.write("a.wasm", "four")
	b.rest()
	b.want("a=four")
	b.remove("a.wasm")
	if !b.rest() {
		t.Error("the end is not seen")
	}
	b.want()
	b.still()
}

func TestSettings(t *testing.T) {
	b := newBench(t)
	b.write("a.yaml", "1")
	b.still() // settings alone are no plugin
	b.write("a.wasm", "x")
	b.rest()
	config := func(want string) {
		t.Helper()
		specs, _ := b.list()
		if len(specs) != 1 || string(specs[0].Config) != want {
			t.Errorf("config %+v, want %s", specs, want)
		}
	}
	config("1")
	b.write("a.yaml", "22")
	if !b.rest() {
		t.Error("new settings are not seen")
	}
	config("22")
	b.write("a.yaml", "bad")
	if !b.rest() {
		t.Error("bad settings are not seen")
	}
	if problems := b.want("a=x", "a!"); problems["a"] == nil || problems["a"].Error() != filepath.Join(b.dir, "a.yaml")+": bad settings" {
		t.Error(problems)
	}
	config("22")
	b.still()
	b.write("a.yaml", "333")
	b.rest()
	b.want("a=x")
	config("333")
	b.remove("a.yaml")
	b.rest()
	config("")
	b.write("b.wasm", "y")
	b.write("b.yaml", "bad")
	b.rest()
	b.want("a=x", "b!")
}

func TestProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no permissions there")
	}
	b := newBench(t)
	problem := func(part string) {
		t.Helper()
		b.rest()
		_, problems := b.list()
		if err := problems["a"]; err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %q", err, part)
		}
	}
	fine := func() {
		t.Helper()
		b.rest()
		b.want("a=one")
	}
	b.write("a", "one")
	b.still() // some file
	b.chmod("a", 0o700)
	problem("there is no a.manifest.json beside it; if it is a plugin: " + filepath.Join(b.dir, "a") + " manifest > ")
	b.write("a.manifest.json", "{")
	problem("a.manifest.json: is not a plugin's manifest")
	b.write("a.manifest.json", "{ }")
	problem("it has no name")
	b.write("a.manifest.json", `{"name": "x", "later": [1]}`)
	problem("cd " + b.dir + " && sha256sum a > a.sha256")
	b.write("a.sha256", sumOf("two")+"  a\n")
	problem("its SHA-256 is " + sumOf("one") + ", but " + filepath.Join(b.dir, "a.sha256") + " says " + sumOf("two"))
	b.write("a.sha256", sumOf("one")+"  b\n")
	problem("has no SHA-256 of a")
	b.write("a.sha256", "# both\n"+sumOf("two")+"  b\n"+strings.ToUpper(sumOf("one"))+" *./a\r\n")
	fine()
	b.chmod("a", 0o600)
	problem("is not executable: chmod +x")
	b.chmod("a", 0o700)
	fine()
	b.remove("a.sha256")
	b.write("a.yaml", "sum="+sumOf("one"))
	fine()
	b.write("a.yaml", "sum="+sumOf("three"))
	problem("a.yaml says " + sumOf("three"))
	b.write("a.yaml", "dev")
	fine()
	b.write("a", "two", 0o700)
	if !b.rest() {
		t.Error("a change of a program under development is not seen")
	}
	b.want("a=two")
	specs, _ := b.list()
	if s := specs[0]; s.Runtime != pluginhost.Process || !s.Dev {
		t.Errorf("%+v", s)
	}
	b.remove("a")
	b.rest()
	b.want()
	b.program("b.exe", "x")
	b.rename("b.exe.manifest.json", "b.manifest.json")
	b.rename("b.exe.sha256", "b.sha256")
	b.rest()
	b.want("b=x")
}

func TestNames(t *testing.T) {
	b := newBench(t)
	b.write("README.md", "", 0o700)
	b.write("notes", "")
	b.write(".hidden.wasm", "")
	b.write("Big_Name.wasm", "")
	b.write("my.wasm.wasm", "")
	b.program("both", "x")
	b.write("both.wasm", "")
	if err := os.Mkdir(filepath.Join(b.dir, "folder.wasm"), 0o700); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "module")
	if err := os.WriteFile(elsewhere, []byte("linked"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(b.dir, "link.wasm")); err != nil {
		t.Fatal(err)
	}
	b.rest()
	problems := b.want("link=linked", "Big_Name!", "both!", "my.wasm!")
	for name, part := range map[string]string{"Big_Name": `"Big_Name" is not 1 to 64 of a-z`, "both": "both and both.wasm are both called both"} {
		if !strings.Contains(fmt.Sprint(problems[name]), part) {
			t.Errorf("%s: %v, want %s", name, problems[name], part)
		}
	}
	b.remove("both")
	b.remove("both.sha256")
	b.rest()
	b.want("both=", "link=linked", "Big_Name!", "my.wasm!")
}

// TestWhoMayWrite: what others could have written is not run.
func TestWhoMayWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no permissions there")
	}
	b := newBench(t)
	b.write("a.wasm", "one", 0o666)
	b.rest()
	if problems := b.want("a!"); !strings.Contains(fmt.Sprint(problems["a"]), "everyone can write to it (-rw-rw-rw-): chmod o-w ") {
		t.Error(problems)
	}
	b.chmod("a.wasm", 0o664)
	b.rest()
	b.want("a=one")
	b.write("a.yaml", "1", 0o602)
	b.rest()
	b.want("a=one", "a!")
	b.chmod("a.yaml", 0o600)
	b.rest()
	b.want("a=one")
	if err := os.Chmod(b.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	b.write("a.wasm", "two")
	b.write("b.wasm", "two")
	b.rest()
	if problems := b.want("a=one", DirProblem+"!"); !strings.Contains(fmt.Sprint(problems[DirProblem]), "everyone can write to it") {
		t.Error(problems)
	}
	b.still()
	if err := os.Chmod(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b.rest()
	b.want("a=two", "b=two")
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	if err := os.Chown(filepath.Join(b.dir, "b.wasm"), 12345, -1); err != nil {
		t.Fatal(err)
	}
	b.rest()
	if problems := b.want("a=two", "b=two", "b!"); !strings.Contains(fmt.Sprint(problems["b"]), "belongs to user 12345, and the broker runs as user 0") {
		t.Error(problems)
	}
}

func TestFolderItself(t *testing.T) {
	b := newBench(t)
	b.opts.Dir = filepath.Join(b.dir, "later")
	b.still()
	if err := os.WriteFile(b.opts.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.rest()
	if problems := b.want(DirProblem + "!"); !strings.HasSuffix(fmt.Sprint(problems[DirProblem]), "later: is not a folder") {
		t.Error(problems)
	}
	if err := errors.Join(os.Remove(b.opts.Dir), os.Mkdir(b.opts.Dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	b.dir = b.opts.Dir
	b.write("a.wasm", "x")
	b.rest()
	b.want("a=x")
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	b.rest()
	b.want()
}

func FuzzSumIn(f *testing.F) {
	f.Add(sumOf("a")+"  a", "a")
	f.Add(sumOf("a"), "a")
	f.Add("# "+sumOf("a")+" *a\n\n", "a")
	f.Fuzz(func(t *testing.T, text, name string) {
		sum := sumIn(text, name)
		if sum == "" {
			return
		}
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size || !strings.Contains(text, sum) {
			t.Errorf("%q is no sum of %q", sum, text)
		}
	})
}
