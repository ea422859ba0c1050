package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
)

const head = `// File.
syntax = "proto3";
package patchbay.plugin.v1;
`

// compileText compiles one file.
func compileText(body string) (*Schema, error) {
	files := map[string]string{
		"patchbay/plugin/v1/test.proto": head + body,
		"other/other.proto":             "syntax = \"proto3\"; package other; message O {}",
	}
	return compile([]string{"patchbay/plugin/v1/test.proto"}, &protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(files),
	})
}

func TestRules(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"// M.\nmessage M {\n// a.\nmap<string, string> a = 1;\n}", "maps are not used"},
		{"// M.\nmessage M {\n// a.\noptional string a = 1;\n}", "oneof and optional are not used"},
		{"// M.\nmessage M {\noneof o {\n// a.\nstring a = 1;\n}\n}", "oneof and optional are not used"},
		{"// M.\nmessage M {\n// a.\nsint32 a = 1;\n}", "type sint32 is not used"},
		{"// M.\nmessage M {\n// a.\nfixed64 a = 1;\n}", "type fixed64 is not used"},
		{"// M.\nmessage M {\n// a.\nfloat a = 1;\n}", "type float is not used"},
		{"// M.\nmessage M {\n// a.\n// Limit: 3\nrepeated bool a = 1;\n}", "lists of bool"},
		{"// M.\nmessage M {\n// a.\n// Limit: 3\nrepeated uint32 a = 1 [packed = false];\n}", "is not packed"},
		{"// M.\nmessage M {\n// N.\nmessage N {}\n}", "types inside of messages"},
		{"// M.\nmessage M {\n// E.\nenum E {\n// Z.\nE_Z = 0;\n}\n}", "types inside of messages"},
		{"// M.\nmessage M {\n// a.\nM a = 1;\n}", "contains itself"},
		{"// M.\nmessage M {\n// a.\nN a = 1;\n}\n// N.\nmessage N {\n// a.\nM a = 1;\n}", "contains itself"},
		{deep(9), "nests deeper than 8"},
		{"message M {}", "M: has no comment"},
		{"// M.\nmessage M {\nstring a = 1;\n}", "M.a: has no comment"},
		{"// E.\nenum E {\nE_Z = 0;\n}", "E_Z: has no comment"},
		{"// M.\nmessage M {\n// a.\nrepeated string a = 1;\n}", "have a line Limit"},
		{"// M.\nmessage M {\n// a.\n// Limit: 3\nstring a = 1;\n}", "have a line Limit"},
		{"// M.\nmessage M {\n// a.\n// Limit: many\nrepeated string a = 1;\n}", "is not a number"},
		{"// E.\nenum E {\n// Z.\nZERO = 0;\n}", "does not begin with E_"},
		{"// E.\nenum E {\noption allow_alias = true;\n// Z.\nE_Z = 0;\n// Y.\nE_Y = 0;\n}", "is there twice"},
		{"import \"google/protobuf/empty.proto\";\n// M.\nmessage M {\n// a.\ngoogle.protobuf.Empty a = 1;\n}", "could not resolve"},
		{"import \"other/other.proto\";\n// M.\nmessage M {\n// a.\nother.O a = 1;\n}", "from outside of the contract"},
		{service("// Grant: none\nrpc A(M) returns (M);") + hostOp("A"), ""},
		{service("// Grant: none\nrpc A(M) returns (M);"), "there is no enum HostOp"},
		{service("// Grant: none\nrpc A(M) returns (M);") + hostOp("B"), "there is no HOST_OP_A"},
		{service("// A.\nrpc A(M) returns (M);") + hostOp("A"), "no line Grant"},
		{service("// Grant: none\n// Waits: no\nrpc A(M) returns (M);") + hostOp("A"), "is not yes"},
		{service("// Grant: none\nrpc A(stream M) returns (M);") + hostOp("A"), "has to go both ways"},
	} {
		_, err := compileText(c.body)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.body, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q", c.body, err, c.want)
		}
	}
}

func service(method string) string {
	return "// M.\nmessage M {}\n// Host.\nservice Host {\n// A does it.\n" + method + "\n}\n"
}

func hostOp(name string) string {
	return "// HostOp.\nenum HostOp {\n// Z.\nHOST_OP_UNSPECIFIED = 0;\n// It.\nHOST_OP_" + name + " = 1;\n}\n"
}

// deep makes n messages, each in the one before.
func deep(n int) string {
	var b strings.Builder
	for i := range n {
		next := string(rune('B' + i))
		b.WriteString("// M.\nmessage " + string(rune('A'+i)) + " {\n")
		if i < n-1 {
			b.WriteString("// f.\n" + next + " f = 1;\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"client_id": "ClientID", "HttpRequest": "HTTPRequest", "KV_GET": "KVGet", "qos": "QoS", "Tls": "TLS",
		"KvCompareAndSet": "KVCompareAndSet", "sha256": "SHA256", "max_batch": "MaxBatch", "ARGON2ID": "Argon2id",
	} {
		if got := goName(in); got != want {
			t.Errorf("%s is %s in Go, want %s", in, got, want)
		}
	}
}

// Two runs make the same bytes, and what is written is what the check compares with.
func TestOutputIsStable(t *testing.T) {
	s, err := load("..")
	if err != nil {
		t.Fatal(err)
	}
	first, err := emit(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := write(dir, first); err != nil {
		t.Fatal(err)
	}
	again, err := load("..")
	if err != nil {
		t.Fatal(err)
	}
	second, err := emit(again)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(dir, second); err != nil {
		t.Error(err)
	}
	second[0].Content = append(bytes.Clone(second[0].Content), '\n')
	if err := compare(dir, second); err == nil || !strings.Contains(err.Error(), second[0].Path) {
		t.Errorf("a change of %s is not found: %v", second[0].Path, err)
	}
	if err := compare(dir, second[1:]); err == nil || !strings.Contains(err.Error(), second[0].Path) {
		t.Errorf("%s, which is not generated any more, is not found: %v", second[0].Path, err)
	}
}
