package conformance

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// statement is one numbered normative statement of a specification.
type statement struct {
	id, binds, text string
	why             string // why no test can show it
}

// specification is the list of statements of one version.
type specification struct {
	version    version
	title      string
	statements []statement
	index      map[string]int
}

// registry knows which tests showed which statements.
type registry struct {
	specs map[version]*specification

	mu    sync.Mutex
	shown map[version]map[string]map[string]bool // version, statement, test
}

// record is filled by shows while the tests run and read when they are done.
var record = newRegistry()

func newRegistry() *registry {
	r := &registry{specs: map[version]*specification{}, shown: map[version]map[string]map[string]bool{v5: {}, v311: {}}}
	r.specs[v5] = readSpecification(v5, "MQTT 5.0", "testdata/mqtt5.txt")
	r.specs[v311] = readSpecification(v311, "MQTT 3.1.1", "testdata/mqtt311.txt")
	return r
}

// readSpecification panics if the list is missing or ill-formed: it is part of the tests.
func readSpecification(v version, title, file string) *specification {
	f, err := os.Open(file)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	s := &specification{version: v, title: title, index: map[string]int{}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, " | ")
		if len(fields) < 3 || len(fields) > 4 || !slices.Contains([]string{"server", "client", "both"}, fields[1]) {
			panic(fmt.Sprintf("%s: %q is not a statement", file, line))
		}
		st := statement{id: fields[0], binds: fields[1], text: fields[2]}
		if len(fields) == 4 {
			st.why = fields[3]
		}
		if _, dup := s.index[st.id]; dup {
			panic(fmt.Sprintf("%s: %s is listed twice", file, st.id))
		}
		s.index[st.id] = len(s.statements)
		s.statements = append(s.statements, st)
	}
	return s
}

// shows says that the test, if it passes, shows the statements for the version.
func shows(t *testing.T, v version, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, ok := record.specs[v].index[id]; !ok {
			t.Fatalf("%s has no statement %s", record.specs[v].title, id)
		}
	}
	// The version is what the list is for, and so not part of the name.
	name := strings.NewReplacer("/"+v5.String(), "", "/"+v311.String(), "").Replace(t.Name())
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		record.mu.Lock()
		defer record.mu.Unlock()
		for _, id := range ids {
			if record.shown[v][id] == nil {
				record.shown[v][id] = map[string]bool{}
			}
			record.shown[v][id][name] = true
		}
	})
}

// statements maps a version to what a test of both versions shows in it.
type statements map[version][]string

// eachVersion runs a test for MQTT 5.0 and 3.1.1, as two parallel subtests.
func eachVersion(t *testing.T, s statements, f func(t *testing.T, v version)) {
	t.Helper()
	t.Parallel()
	for _, v := range []version{v5, v311} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			shows(t, v, s[v]...)
			f(t, v)
		})
	}
}

// tests lists the tests that showed a statement. Where many parts of one did, the
// test stands for them all.
func (r *registry) tests(v version, id string) []string {
	parts := map[string][]string{}
	for name := range r.shown[v][id] {
		test, _, _ := strings.Cut(name, "/")
		parts[test] = append(parts[test], name)
	}
	var out []string
	for test, names := range parts {
		if len(names) > 3 {
			names = []string{test}
		}
		out = append(out, names...)
	}
	slices.Sort(out)
	return out
}
