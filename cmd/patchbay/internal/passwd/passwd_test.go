package passwd

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// run runs `patchbay passwd ARGS…` and returns its exit code.
func run(t *testing.T, stdin io.Reader, args ...string) (code int, message string) {
	t.Helper()
	var out bytes.Buffer
	code, message = runWith(t, stdin, &out, args...)
	return code, message + out.String()
}

func runWith(t *testing.T, stdin io.Reader, out io.Writer, args ...string) (code int, message string) {
	t.Helper()
	root := &cobra.Command{Use: "patchbay", SilenceErrors: true}
	root.AddCommand(Command())
	root.SetArgs(append([]string{"passwd"}, args...))
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(out)
	err := root.Execute()
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &coded):
		return coded.ExitCode(), err.Error()
	}
	t.Fatalf("an error without exit code: %v", err)
	return 0, ""
}

func TestCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.txt")
	steps := []struct {
		what  string
		stdin string
		args  []string
		code  int
		says  string // part of the message
	}{
		{"no file yet", "x\n", []string{file, "alice"}, 1, "does not exist; -c creates it"},
		{"create", "", []string{"-c", "-b", file, "alice", "wonder"}, 0, ""},
		{"right", "wonder\n", []string{"--verify", file, "alice"}, 0, ""},
		{"wrong", "Wonder\n", []string{"--verify", file, "alice"}, 1, "user alice: wrong password"},
		{"second user", "builder\r\n", []string{"--hash", "bcrypt", file, "bob"}, 0, ""},
		{"bcrypt right", "", []string{"--verify", "-b", file, "bob", "builder"}, 0, ""},
		{"bcrypt wrong", "", []string{"--verify", "-b", file, "bob", "builde"}, 1, "wrong password"},
		{"change", "rabbit", []string{file, "alice"}, 0, ""},
		{"old password", "wonder", []string{"--verify", file, "alice"}, 1, "wrong password"},
		{"new password", "rabbit", []string{"--verify", file, "alice"}, 0, ""},
		{"unknown user", "x", []string{"--verify", file, "carol"}, 1, "no user carol"},
		{"delete unknown", "", []string{"-D", file, "carol"}, 1, "no user carol"},
		{"delete", "", []string{"-D", file, "alice"}, 0, ""},
		{"deleted", "rabbit", []string{"--verify", file, "alice"}, 1, "no user alice"},
		{"the other stays", "builder", []string{"--verify", file, "bob"}, 0, ""},
		{"long for bcrypt", strings.Repeat("x", 73), []string{"--hash=bcrypt", file, "dora"}, 1, "bcrypt takes 72 bytes, not 73; use --hash argon2id"},
		{"empty", "\n", []string{file, "dora"}, 1, "the password is empty"},
		{"too long", strings.Repeat("x", 65536), []string{file, "dora"}, 1, "longer than 65535"},
		{"create anew", "x", []string{"-c", file, "dora"}, 0, ""},
		{"users gone", "builder", []string{"--verify", file, "bob"}, 1, "no user bob"},
		{"no directory", "x", []string{"-c", file + "/not/here", "dora"}, 1, "cannot write"},

		{"no arguments", "", nil, 2, "want 2 arguments: FILE USER"},
		{"batch without password", "", []string{"-b", file, "x"}, 2, "want 3 arguments: FILE USER PASSWORD"},
		{"password without batch", "", []string{file, "x", "y"}, 2, "needs -b"},
		{"hash", "", []string{"--hash", "md5", file, "x"}, 2, "want argon2id or bcrypt"},
		{"flag", "", []string{"--nonsense", file, "x"}, 2, "unknown flag"},
		{"exclusive", "", []string{"-c", "-D", file, "x"}, 2, "create delete"},
		{"colon", "", []string{file, "a:b"}, 2, "a colon ends the name"},
		{"comment", "", []string{file, "#a"}, 2, "is a comment"},
		{"newline", "", []string{file, "a\nb"}, 2, "no control characters"},
		{"empty name", "", []string{file, ""}, 2, "the user name is empty"},
		{"blank", "", []string{file, " a"}, 2, "no blanks at the ends"},
		{"not UTF-8", "", []string{file, "\xff"}, 2, "not UTF-8"},
	}
	for _, s := range steps {
		code, message := run(t, strings.NewReader(s.stdin), s.args...)
		if code != s.code || !strings.Contains(message, s.says) {
			t.Errorf("%s: exit code %d, %q; want %d, …%q…", s.what, code, message, s.code, s.says)
		}
	}
}

func TestFileOnDisk(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "users.txt"), filepath.Join(dir, "link")
	mode := func() fs.FileMode {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if code, message := run(t, strings.NewReader("x"), "-c", file, "alice"); code != 0 {
		t.Fatal(message)
	}
	if mode() != 0o600 {
		t.Errorf("a new file has mode %o, want 600", mode())
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if code, message := run(t, strings.NewReader("x"), link, "bob"); code != 0 {
		t.Fatal(message)
	}
	if mode() != 0o640 {
		t.Errorf("an existing file with mode 644 has mode %o now, want 640", mode())
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
	if code, message := run(t, strings.NewReader("x"), "--verify", file, "bob"); code != 0 {
		t.Errorf("written through a link: %s", message)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("temporary files stay: %v, %v", entries, err)
	}
}

func TestEdit(t *testing.T) {
	for name, c := range map[string]struct{ before, user, hash, after string }{
		"empty":            {"", "a", "H", "a:H\n"},
		"append":           {"x:1\n", "a", "H", "x:1\na:H\n"},
		"no last newline":  {"x:1", "a", "H", "x:1\na:H\n"},
		"in place":         {"# c\na:1\n\nb:2\n", "a", "H", "# c\na:H\n\nb:2\n"},
		"twice":            {"a:1\nb:2\na:3\n", "a", "H", "a:H\nb:2\n"},
		"comment stays":    {"#a:1\n", "a", "H", "#a:1\na:H\n"},
		"prefix":           {"aa:1\n", "a", "H", "aa:1\na:H\n"},
		"no entry":         {"junk\r\n", "junk", "H", "junk\r\njunk:H\n"},
		"remove":           {"x:1\na:2\ny:3\n", "a", "", "x:1\ny:3\n"},
		"remove the last":  {"x:1\na:2", "a", "", "x:1\n"},
		"remove all":       {"a:2\na:3\n", "a", "", ""},
		"remove not there": {"x:1", "a", "", "x:1"},
	} {
		if got, _ := edit([]byte(c.before), c.user, c.hash); string(got) != c.after {
			t.Errorf("%s: got %q, want %q", name, got, c.after)
		}
	}
}

// TestVerifyForms: what the broker can verify, --verify can, and names what it cannot.
func TestVerifyForms(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.txt")
	for hash, want := range map[string]string{
		"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": "",
		"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeX": "user alice: wrong password",
		"plain": "user alice: not a hash that we know",
	} {
		if err := os.WriteFile(file, []byte("alice:"+hash+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, message := run(t, strings.NewReader("U*U"), "--verify", file, "alice")
		if (code == 0) != (want == "") || !strings.Contains(message, want) {
			t.Errorf("%s: exit code %d, %q; want %q", hash, code, message, want)
		}
	}
}

// FuzzEdit: the user gets the hash, and every other line stays.
func FuzzEdit(f *testing.F) {
	f.Add([]byte("# users\nalice:$2b$x\n\nbob:1\r\nno newline"), "alice", true)
	f.Add([]byte("a:1\na:2"), "a", false)
	f.Fuzz(func(t *testing.T, content []byte, user string, add bool) {
		if validUser(user) != nil {
			return
		}
		hash := ""
		if add {
			hash = "HASH"
		}
		got, _ := edit(content, user, hash)
		if read, found := hashOf(got, user); found != add || read != hash {
			t.Fatalf("reading back %q from %q: %q, %t", user, got, read, found)
		}
		if was, is := others(content, user), others(got, user); was != is {
			t.Fatalf("other lines: %q became %q", was, is)
		}
	})
}

// others is every line that is not the user's.
func others(content []byte, user string) string {
	var rest []string
	for _, line := range strings.Split(string(content), "\n") {
		if !strings.HasPrefix(line, user+":") {
			rest = append(rest, line)
		}
	}
	return strings.TrimRight(strings.Join(rest, "\n"), "\n")
}
