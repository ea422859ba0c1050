package conformance

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

const reportFile = "../../docs/conformance.md"

var update = flag.Bool("update", false, "write docs/conformance.md instead of comparing it")

// TestMain runs the tests and then holds docs/conformance.md against what they
// showed: only after a complete and successful run on the broker of this module,
// because nothing else says anything about it.
func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait, for a protocol interval or for the broker, rather than
	// compute: on two processors the default of two at a time takes a minute.
	flag.Set("test.parallel", "64")
	code := m.Run()
	stopShared()
	if code == 0 && complete() {
		if err := compare(record.report()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// complete reports whether all tests were asked for, and of our own broker.
func complete() bool {
	for _, name := range []string{"run", "skip", "list", "fuzz"} {
		if flag.Lookup("test."+name).Value.String() != "" {
			return false
		}
	}
	return !testing.Short() && ownBroker()
}

func compare(report []byte) error {
	if *update {
		return os.WriteFile(reportFile, report, 0o644)
	}
	have, err := os.ReadFile(reportFile)
	if err != nil {
		return fmt.Errorf("%w: go test ./core/conformance -update writes it", err)
	}
	if !bytes.Equal(have, report) {
		return fmt.Errorf("%s is not what the tests showed: go test ./core/conformance -update writes it", reportFile)
	}
	return nil
}

// report renders docs/conformance.md.
func (r *registry) report() []byte {
	var b bytes.Buffer
	b.WriteString(`# Conformance

Written by ` + "`go test ./core/conformance -update`" + `; do not edit. A plain ` + "`go test ./core/conformance`" + ` fails if this file is not what the tests showed.

The OASIS specifications number their normative statements. Below are all of them, in our words, with the tests that show by
behaviour over a TCP connection that the broker does what it must. Where a statement binds the client, the tests show what the
broker answers to a client that breaks it; many such statements need no answer.

| | statements | bind the server | of these shown | not shown | bind the client only | broker's answer shown |
|---|---|---|---|---|---|---|
`)
	for _, v := range []version{v5, v311} {
		s := r.specs[v]
		var server, shown, client, answered int
		for _, st := range s.statements {
			tested := len(r.tests(v, st.id)) > 0
			switch {
			case st.binds == "client":
				client++
				if tested {
					answered++
				}
			default:
				server++
				if tested {
					shown++
				}
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d |\n", s.title, len(s.statements), server, shown, server-shown, client, answered)
	}
	for _, v := range []version{v5, v311} {
		r.reportVersion(&b, r.specs[v])
	}
	return b.Bytes()
}

func (r *registry) reportVersion(b *bytes.Buffer, s *specification) {
	fmt.Fprintf(b, "\n## %s\n", s.title)
	fmt.Fprintf(b, "\n### Statements without a test\n\n")
	none := true
	for _, st := range s.statements {
		if st.binds != "client" && len(r.tests(s.version, st.id)) == 0 {
			none = false
			why := st.why
			if why == "" {
				why = "not tested yet"
			}
			fmt.Fprintf(b, "- `%s` %s: %s.\n", st.id, st.text, why)
		}
	}
	if none {
		b.WriteString("None.\n")
	}
	for _, part := range []struct{ title, binds string }{
		{"Statements that bind a server", "server both"},
		{"Statements that bind a client only", "client"},
	} {
		fmt.Fprintf(b, "\n### %s\n\n| statement | asks for | shown by |\n|---|---|---|\n", part.title)
		for _, st := range s.statements {
			if !strings.Contains(part.binds, st.binds) {
				continue
			}
			tests := "—"
			if names := r.tests(s.version, st.id); len(names) > 0 {
				tests = "`" + strings.Join(names, "`, `") + "`"
			}
			fmt.Fprintf(b, "| %s | %s | %s |\n", st.id, st.text, tests)
		}
	}
}
