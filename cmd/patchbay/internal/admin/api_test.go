package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// makeSessions makes sessions of clients that are away, by hand: quicker than a
// client library.
func makeSessions(t testing.TB, address string, n int) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("session-%06d", i)
		// CONNECT of MQTT 3.1.1 without Clean Session; DISCONNECT.
		body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, byte(len(id))}, id...)
		out := append([]byte{byte(packet.TypeConnect) << 4, byte(len(body))}, body...)
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(timeout))
		if _, err = c.Write(append(out, byte(packet.TypeDisconnect)<<4, 0)); err != nil {
			t.Fatal(err)
		}
		if connack, err := io.ReadAll(c); err != nil || !bytes.Equal(connack, []byte{byte(packet.TypeConnack) << 4, 2, 0, 0}) {
			t.Fatalf("CONNACK %x, %v", connack, err)
		}
		c.Close()
	}
}

// piecewise keeps only how its pieces were written, as a client would that reads
// them one by one.
type piecewise struct {
	header         http.Header
	largest, total int
	lines          int
	failAfter      int // pieces, 0 never
	pieces         int
}

func (p *piecewise) Header() http.Header { return p.header }
func (p *piecewise) WriteHeader(int)     {}
func (p *piecewise) Write(b []byte) (int, error) {
	if p.pieces++; p.failAfter > 0 && p.pieces > p.failAfter {
		return 0, io.ErrClosedPipe
	}
	p.largest, p.total = max(p.largest, len(b)), p.total+len(b)
	p.lines += bytes.Count(b, []byte{'\n'})
	return len(b), nil
}

// A list goes out while it is being made, however long it is.
func TestListsAreStreamed(t *testing.T) {
	b, address := newBroker(t)
	const n = 1000
	makeSessions(t, address, n)
	s := start(t, b, nil)
	request := httptest.NewRequest(http.MethodGet, pathClients, nil)
	p := &piecewise{header: http.Header{}}
	if f := s.serveClients(p, request); f != nil {
		t.Fatal(f.Message)
	}
	if p.lines != n || p.largest > linesBuffer || p.total < 4*linesBuffer {
		t.Errorf("%d lines, %d bytes in pieces of at most %d", p.lines, p.total, p.largest)
	}
	gone := &piecewise{header: http.Header{}, failAfter: 1}
	if f := s.serveClients(gone, request); f != nil {
		t.Fatal(f.Message)
	}
	if gone.pieces > 3 {
		t.Errorf("went on for %d pieces after the caller had gone", gone.pieces)
	}
	// The command shows all of them, sorted in blocks.
	if rows := strings.Count(at(t, s, "clients"), "\nsession-"); rows != n {
		t.Errorf("the table has %d rows", rows)
	}
	if got := jsonLines[broker.ClientInfo](t, at(t, s, "clients", "--json")); len(got) != n {
		t.Errorf("%d JSON lines", len(got))
	}
}

// Operators look while clients come and go.
func TestConcurrentUse(t *testing.T) {
	b, address := newBroker(t)
	s := start(t, b, nil)
	stop, looked := make(chan struct{}), make(chan error, 4)
	for _, look := range []func() error{
		func() error { return get(urlOf(s, "/metrics")) },
		func() error { return run(t, "", "status", "--socket", s.Socket()).err },
		func() error { return run(t, "", "clients", "--socket", s.Socket()).err },
		func() error { return run(t, "", "topics", "--socket", s.Socket()).err },
	} {
		go func() {
			for {
				select {
				case <-stop:
					looked <- nil
					return
				default:
				}
				if err := look(); err != nil {
					looked <- err
					return
				}
			}
		}()
	}
	for i := range 30 {
		c := connect(t, address, fmt.Sprint("client-", i%3), i%2 == 0)
		done(t, c.Subscribe("a/#", 1, func(mqtt.Client, mqtt.Message) {}))
		done(t, c.Publish("a/b", 1, true, "x"))
		if i%4 == 0 {
			b.Kick("", fmt.Sprint("client-", i%3), true)
		}
		c.Disconnect(0)
	}
	close(stop)
	for range cap(looked) {
		if err := <-looked; err != nil {
			t.Error(err)
		}
	}
}

func get(url string) error {
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err = io.Copy(io.Discard, r.Body); err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, r.Status)
	}
	return err
}

// The longest that MQTT allows fits into a call.
func TestLongestNames(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, nil)
	long := strings.Repeat("ü", topic.MaxLen/2)
	for _, args := range [][]string{{"clients", "show", long}, {"clients", "kick", long}, {"retained", "get", long}} {
		r := run(t, "", append(args, "--namespace", long, "--socket", s.Socket())...)
		if r.err == nil || !strings.Contains(r.err.Error(), "there is no ") {
			t.Errorf("%s: %.100v", args[1], r.err)
		}
	}
	at(t, s, "topics", "--filter", long, "--namespace", long)
	at(t, s, "retained", "clear", long, "--namespace", long, "--yes")
}

// A list that is cut off is not taken for a whole one, and what is no broker is
// recognised.
func TestStrangeAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		args   []string
		want   string
	}{
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"client_id":"a"}`+"\n")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, []string{"clients", "--json"}, "the answer is cut short"},
		"no JSON":      {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, []string{"clients"}, "the answer is cut short"},
		"not a status": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, []string{"status"}, "answer of the broker: "},
		"other server": {http.NotFound, []string{"status"}, "unexpected answer 404 Not Found: is it a broker's socket?"},
		"other version": {func(w http.ResponseWriter, r *http.Request) {
			(&Server{log: slog.New(slog.DiscardHandler)}).apiHandler().ServeHTTP(w, httptest.NewRequest("GET", "/v0/old", nil))
		}, []string{"status"}, "this broker has no call GET /v0/old: is it of another version?"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(dataDir(t), "s")
			ln, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: c.answer, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
			go server.Serve(ln)
			defer server.Close()
			r := run(t, "", append(c.args, "--socket", socket)...)
			if r.err == nil || r.code() != 1 || !strings.Contains(r.err.Error(), c.want) {
				t.Errorf("exit %d, %v; want %s", r.code(), r.err, c.want)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"#", "#", true}, {"#", "a/+/#", true}, {"#", "$SYS/#", false}, {"+", "$SYS", false}, {"+/x", "$share", false},
		{"$SYS/#", "$SYS/#", true}, {"$SYS/#", "$SYS/+/x", true}, {"a/#", "a", true}, {"a/#", "a/#", true}, {"a/#", "a/+", true},
		{"a/#", "+", false}, {"a/#", "#", false}, {"a/+", "a/#", false}, {"a/+", "a/+", true}, {"a/+", "a/b", true},
		{"a/b", "a/+", false}, {"a/+", "a", false}, {"a", "a/+", false}, {"+/+", "a/b", true}, {"+/#", "a", true}, {"+/#", "+", true},
		{"+", "/", false}, {"+/+", "/", true}, {"/", "/", true}, {"a/", "a/+", false},
	} {
		if got := covers(c.outer, c.inner); got != c.want {
			t.Errorf("covers(%q, %q) = %v", c.outer, c.inner, got)
		}
	}
}

// Against the definition: covers is right where it says yes, and where it says no
// there is a Topic Name that shows it.
func TestCoversModel(t *testing.T) {
	levels := []string{"a", "b", "", "$x"}
	r := rand.New(rand.NewPCG(1, 2))
	var names []string
	for _, x := range levels {
		names = append(names, x)
		for _, y := range levels {
			names = append(names, x+"/"+y)
			for _, z := range levels {
				names = append(names, x+"/"+y+"/"+z, x+"/"+y+"/"+z+"/a")
			}
		}
	}
	filter := func() string {
		for {
			var f []string
			for range 1 + r.IntN(3) {
				f = append(f, []string{"a", "b", "", "$x", "+", "#"}[r.IntN(6)])
			}
			if s := strings.Join(f, "/"); topic.ValidFilter(s) == nil {
				return s
			}
		}
	}
	yes := 0
	for range 20_000 {
		outer, inner := filter(), filter()
		all := true
		for _, name := range names {
			// With the empty name, which MQTT does not have, as the parent of "/#".
			if topic.Match(inner, name) && !topic.Match(outer, name) {
				all = false
			}
		}
		if got := covers(outer, inner); got != all {
			t.Fatalf("covers(%q, %q) = %v", outer, inner, got)
		} else if got {
			yes++
		}
	}
	if yes < 100 {
		t.Errorf("only %d of the filters covered", yes)
	}
}

func FuzzCovers(f *testing.F) {
	f.Add("a/#", "a/+/b", "a/x/b")
	f.Add("#", "$SYS/#", "$SYS/a")
	f.Fuzz(func(t *testing.T, outer, inner, name string) {
		if topic.ValidFilter(outer) != nil || topic.ValidFilter(inner) != nil || topic.ValidNameString(name) != nil {
			return
		}
		if covers(outer, inner) && topic.Match(inner, name) && !topic.Match(outer, name) {
			t.Errorf("covers(%q, %q), and %q is only in the second", outer, inner, name)
		}
	})
}

// Whatever is asked, the answer is a good one or a JSON error, and never the
// broker's fault.
func FuzzAPI(f *testing.F) {
	b, err := broker.New(func(o *broker.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { b.Close(context.Background()) })
	if _, err := b.Publish(broker.Message{Topic: "a/b", Payload: []byte("x"), Retain: true}); err != nil {
		f.Fatal(err)
	}
	h := (&Server{opts: Options{Broker: b}, log: slog.New(slog.DiscardHandler), running: context.Background()}).apiHandler()
	f.Add("GET", "/v1/status", "", "")
	f.Add("GET", "/v1/clients", "namespace=x", "")
	f.Add("GET", "/v1/clients/show", "id=a", "")
	f.Add("GET", "/v1/topics", "filter=%23&namespace", "")
	f.Add("GET", "/v1/retained", "filter=a/%2B", "")
	f.Add("GET", "/v1/retained/get", "topic=a/b", "")
	f.Add("POST", "/v1/clients/kick", "", `{"client_id":"a","remove_session":true}`)
	f.Add("POST", "/v1/retained/clear", "", `{"filter":"b/#"}`)
	f.Add("POST", "/v1/reload", "", "")
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		r, err := http.NewRequest(method, "http://patchbay/", strings.NewReader(body))
		if err != nil {
			return
		}
		r.URL.Path, r.URL.RawQuery = path, query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case w.Code == http.StatusOK:
			for d := json.NewDecoder(w.Body); ; {
				var v json.RawMessage
				if err := d.Decode(&v); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%s %s?%s: %v", method, path, query, err)
				}
			}
		case w.Code >= 300 && w.Code < 400: // the mux cleans paths
		case w.Code >= 500 && w.Code != http.StatusNotImplemented:
			t.Fatalf("%s %s?%s: %d %s", method, path, query, w.Code, w.Body)
		default:
			var f failure
			if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || f.Message == "" {
				t.Fatalf("%s %s?%s: %d %q", method, path, query, w.Code, w.Body)
			}
		}
	})
}

func BenchmarkClientLines(b *testing.B) {
	l := newLines(&piecewise{header: http.Header{}})
	info := broker.ClientInfo{ID: "client-000001", Username: "alice", Online: true, Remote: "192.0.2.1:40000", Version: "5.0", ConnectedAt: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		l.put(&info)
	}
}
