package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// everything has every field that a line can have, and texts that are none.
const everything = `{"patchbay_export":1,"version":"1.2.3","created":"2026-01-31T12:00:00.000Z"}
{"session":{"namespace":"plant","client_id":"sensor/1 ä\u2028\"<&>","username":"u","session_expiry":4294967295,"detached":"2026-01-31T11:59:59.999Z","will_due":"2026-01-31T12:01:00.500Z","will":{"delay":30,"message_expiry":0,"message":{"id":"18446744073709551615","topic":"will/1","qos":1,"retain":true,"publisher":"sensor/1","received":"2026-01-31T11:00:00.000Z","expires":"2026-01-31T13:00:00.000Z","properties":{"payload_format_indicator":1,"content_type":"","response_topic":"a/b","correlation_data":{"base64":"AP8="},"user_properties":[["k","v"],["k",""],["","w"]]},"payload":"gone"}},"subscriptions":[{"filter":"$share/g/+/x","qos":2,"retain_as_published":true,"retain_handling":2,"id":268435455},{"filter":"a/#","qos":0,"no_local":true}],"received":[1,65535]}}
{"inflight":{"packet_id":65535,"qos":1,"retain":true,"subscription_ids":[7,8],"message":{"id":"5","topic":"t/1","qos":2,"payload":"ä\t\"\n"}}}
{"inflight":{"packet_id":2,"released":true,"qos":2}}
{"inflight":{"packet_id":1,"qos":2,"unscreened":true,"message":{"id":"6","topic":"t/1","qos":2,"payload":""}}}
{"queued":{"qos":1,"group":"g","filter":"+/x","message":{"id":"7","topic":"y/x","qos":1,"publisher":{"base64":"AQ=="},"payload":{"base64":"AAECA//+"}}}}
{"queued":{"qos":0,"message":{"id":"0","topic":"y/x","qos":0,"properties":{"wire":{"base64":"AgAAAAE="}},"payload":"{\"json\":true}"}}}
{"session":{"client_id":{"base64":"BwA="},"session_expiry":0,"will":{"message":{"id":"9","topic":"w","qos":0,"payload":""}}}}
{"queued":{"qos":2,"message":{"id":"7","topic":"y/x","qos":2,"payload":"not the other 7"}}}
{"retained":{"message":{"id":"10","topic":"r","qos":1,"retain":true,"payload":"kept"}}}
{"retained":{"namespace":"plant","message":{"id":"11","topic":"r","qos":0,"retain":true,"expires":253402300800000,"payload":"kept too"}}}
{"value":{"bucket":"b","key":"k","version":"1099511627777","expires":"9999-12-31T23:59:59.999Z","value":"v"}}
{"value":{"bucket":"b","key":{"base64":"/w=="},"version":"3","value":{"base64":"gA=="}}}
{"end":{"sessions":2,"subscriptions":2,"received":2,"inflight":3,"queued":3,"retained":2,"values":2}}
`

// load imports a dump into a folder in memory.
func load(t testing.TB, text io.Reader) (vfs.FS, Counts, error) {
	t.Helper()
	files := vfs.NewMem()
	im, err := disk.Import(disk.Options{Dir: "store", FS: files})
	if err != nil {
		t.Fatal(err)
	}
	n, err := Import(text, im)
	if err != nil {
		if aerr := im.Abort(); aerr != nil {
			t.Fatal(aerr)
		}
		return nil, n, err
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return files, n, nil
}

// save exports a folder.
func save(t testing.TB, files vfs.FS) string {
	t.Helper()
	v, err := disk.OpenReadOnly(disk.Options{Dir: "store", FS: files})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var b bytes.Buffer
	if _, err := Export(t.Context(), &b, v, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// body is a dump without its header, which has the time.
func body(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

func TestEveryFieldThereAndBack(t *testing.T) {
	files, n, err := load(t, strings.NewReader(everything))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Counts{Sessions: 2, Subscriptions: 2, Received: 2, Inflight: 3, Queued: 3, Retained: 2, Values: 2}); n != want {
		t.Errorf("counted %+v, want %+v", n, want)
	}
	once := save(t, files)
	compare(t, "once", body(once), body(everything))
	if files, _, err = load(t, strings.NewReader(once)); err != nil {
		t.Fatal(err)
	}
	compare(t, "twice", body(save(t, files)), body(everything))
	v, err := disk.OpenReadOnly(disk.Options{Dir: "store", FS: files})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Check(func(p disk.Problem) { t.Errorf("check: %+v", p) }); err != nil {
		t.Error(err)
	}
}

func compare(t testing.TB, what, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: line %d\n%q\nwant\n%q", what, i+2, at(g, i), at(w, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// A broker that opens an imported folder finds in it what was exported, under the
// same Packet Identifiers, and goes on above them.
func TestBrokerFindsWhatWasImported(t *testing.T) {
	files, _, err := load(t, strings.NewReader(everything))
	if err != nil {
		t.Fatal(err)
	}
	s, err := disk.Open(disk.Options{Dir: "store", FS: files})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ready := make(chan struct{}, 100)
	found := make(chan store.Saved, 2)
	if err := s.Load(store.Loader{Session: func(saved store.Saved) store.Owner {
		found <- saved
		return owner{ready}
	}}); err != nil {
		t.Fatal(err)
	}
	saved := <-found
	if saved.Namespace == "" {
		saved = <-found
	}
	await := func(ok func() bool) {
		for !ok() {
			<-ready
		}
	}
	var list []store.Inflight
	await(func() (ok bool) { list, ok = saved.State.Inflight(); return ok })
	var ids []uint16
	for _, in := range list {
		ids = append(ids, packetID(in.Seq))
		if in.Seq >= saved.State.FirstSeq() {
			t.Errorf("in flight under %x, new ones from %x on", in.Seq, saved.State.FirstSeq())
		}
	}
	if fmt.Sprint(ids) != "[65535 2 1]" || !list[1].Released || string(list[0].Message.Payload) != "ä\t\"\n" {
		t.Errorf("in flight: %v %+v", ids, list)
	}
	var front *store.Entry
	await(func() (ok bool) { front, ok = saved.State.Front(); return ok })
	if front.Message.ID != 7 || front.Route.Group != "g" || front.QoS != 1 {
		t.Errorf("front: %+v", front)
	}
}

type owner struct{ ready chan struct{} }

func (o owner) Ready()            { o.ready <- struct{}{} }
func (owner) Expired(store.Entry) {}

func TestRefusals(t *testing.T) {
	const head = `{"patchbay_export":1}` + "\n"
	const session = `{"session":{"client_id":"c","session_expiry":0}}` + "\n"
	message := `{"id":"1","topic":"t","qos":1,"payload":""}`
	end := func(sessions, queued int) string {
		return fmt.Sprintf(`{"end":{"sessions":%d,"subscriptions":0,"received":0,"inflight":0,"queued":%d,"retained":0,"values":0}}`+"\n", sessions, queued)
	}
	if _, _, err := load(t, strings.NewReader(head+end(0, 0))); err != nil {
		t.Fatal("an empty one:", err)
	}
	if _, _, err := load(t, strings.NewReader(head+session+strings.TrimSuffix(end(1, 0), "\n"))); err != nil {
		t.Fatal("without the last line feed:", err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                 {"", "line 1: there is nothing"},
		"something else":          {"hello\n", "line 1: not an export of Patchbay"},
		"other JSON":              {"{}\n", "line 1: not an export of Patchbay"},
		"newer":                   {`{"patchbay_export":2,"more":1}` + "\n", "line 1: written by a newer Patchbay (format 2; this one knows 1)"},
		"no end":                  {head + session, "line 3: the export ends here, without its end line"},
		"cut in a line":           {head + session[:20], "line 2: the export ends here"},
		"cut in the end line":     {head + end(0, 0)[:30], "line 2: the export ends here"},
		"behind the end":          {head + end(0, 0) + session, "line 3: something follows the end line"},
		"two exports":             {head + end(0, 0) + head + end(0, 0), "line 3: something follows"},
		"header twice":            {head + head, `line 2: json: unknown field "patchbay_export"`},
		"count":                   {head + session + end(2, 0), "line 3: the end line counts 2 sessions, and there are 1"},
		"no JSON":                 {head + "x\n", "line 2: no JSON"},
		"half a line":             {head + session[:20] + "\n", "line 2: no JSON"},
		"empty line":              {head + "\n", "line 2: no JSON"},
		"empty object":            {head + "{}\n", "line 2: want an object with one of"},
		"null":                    {head + `{"session":null}` + "\n", "line 2: want an object with one of"},
		"two in one":              {head + strings.TrimSpace(session) + session, "line 2: more than one object"},
		"unknown field":           {head + `{"session":{"client_id":"c","colour":1}}` + "\n", `line 2: json: unknown field "colour"`},
		"wrong type":              {head + `{"session":{"client_id":"c","session_expiry":"1h"}}` + "\n", "line 2: session.session_expiry: a string does not belong there"},
		"no client":               {head + `{"session":{}}` + "\n", "line 2: session of client \"\": client_id is missing"},
		"client twice":            {head + session + session, `line 3: session: a second one of client "c"`},
		"filter":                  {head + `{"session":{"client_id":"c","subscriptions":[{"filter":"a#","qos":0}]}}` + "\n", `subscription to "a#": topic:`},
		"filter twice":            {head + `{"session":{"client_id":"c","subscriptions":[{"filter":"a","qos":0},{"filter":"a","qos":1}]}}` + "\n", `subscription to "a": a second one`},
		"subscription":            {head + `{"session":{"client_id":"c","subscriptions":[{"filter":"a","qos":3}]}}` + "\n", "qos 3"},
		"received":                {head + `{"session":{"client_id":"c","received":[4,4]}}` + "\n", "received: packet identifier 4"},
		"will":                    {head + `{"session":{"client_id":"c","will":{"message":{"topic":"+","qos":0,"payload":""}}}}` + "\n", `will: topic "+"`},
		"queued for nobody":       {head + `{"queued":{"qos":1,"message":` + message + "}}\n", "line 2: queued: no session before it"},
		"queued behind others":    {head + session + `{"retained":{"message":` + message + "}}\n" + `{"queued":{"qos":1,"message":` + message + "}}\n", "line 4: queued: no session"},
		"queued without message":  {head + session + `{"queued":{"qos":1}}` + "\n", "line 3: queued: message is missing"},
		"queued and sent":         {head + session + `{"queued":{"packet_id":1,"qos":1,"message":` + message + "}}\n", "queued: packet_id"},
		"queued QoS":              {head + session + `{"queued":{"qos":3,"message":` + message + "}}\n", "qos 3"},
		"in flight without id":    {head + session + `{"inflight":{"qos":1,"message":` + message + "}}\n", "inflight: packet_id 0"},
		"in flight twice":         {head + session + strings.Repeat(`{"inflight":{"packet_id":3,"released":true,"qos":2}}`+"\n", 2), "line 4: inflight: packet_id 3"},
		"in flight behind queued": {head + session + `{"queued":{"qos":1,"message":` + message + "}}\n" + `{"inflight":{"packet_id":3,"released":true,"qos":2}}` + "\n", "line 4: inflight: not behind its session"},
		"in flight at QoS 0":      {head + session + `{"inflight":{"packet_id":3,"qos":0,"message":` + message + "}}\n", "inflight: QoS 0"},
		"released with message":   {head + session + `{"inflight":{"packet_id":3,"released":true,"qos":2,"message":` + message + "}}\n", "released, and yet"},
		"subscription identifier": {head + session + `{"queued":{"qos":1,"subscription_ids":[0],"message":` + message + "}}\n", "subscription identifier 0"},
		"topic":                   {head + `{"retained":{"message":{"id":"1","topic":"a/#","qos":1,"payload":""}}}` + "\n", `topic "a/#"`},
		"payload":                 {head + `{"retained":{"message":{"id":"1","topic":"a","qos":1,"payload":{"base32":""}}}}` + "\n", `unknown field "base32"`},
		"payload is a number":     {head + `{"retained":{"message":{"id":"1","topic":"a","qos":1,"payload":7}}}` + "\n", "neither a string nor"},
		"time":                    {head + `{"retained":{"message":{"id":"1","topic":"a","qos":1,"received":"yesterday","payload":""}}}` + "\n", "not a time such as"},
		"early":                   {head + `{"retained":{"message":{"id":"1","topic":"a","qos":1,"received":-1,"payload":""}}}` + "\n", "a time before 1970"},
		"property":                {head + `{"retained":{"message":{"id":"1","topic":"a","qos":1,"properties":{"response_topic":"a/+"},"payload":""}}}` + "\n", "properties: "},
		"property too long":       {head + `{"retained":{"message":{"id":"1","topic":"a","qos":1,"properties":{"content_type":"` + strings.Repeat("x", 65536) + `"},"payload":""}}}` + "\n", "properties: "},
		"what the folder refuses": {head + `{"value":{"bucket":"b","key":"k","version":"18446744073709551615","value":""}}` + "\n", "line 2: store: import: number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	broken := errors.New("broken pipe")
	if _, _, err := load(t, io.MultiReader(strings.NewReader(head+session), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestCopyKnowsTheEnd(t *testing.T) {
	n, err := Copy(io.Discard, strings.NewReader(everything))
	if err != nil || n.Queued != 3 {
		t.Errorf("%+v %v", n, err)
	}
	for i := range len(everything) {
		if i > 2000 && i < len(everything)-300 && i%7 != 0 {
			continue
		}
		var b bytes.Buffer
		if _, err := Copy(&b, strings.NewReader(everything[:i])); err == nil {
			t.Fatalf("the first %d bytes are taken for a whole", i)
		}
		if b.String() != everything[:i] {
			t.Fatalf("of %d bytes %d are copied", i, b.Len())
		}
	}
	long := strings.Replace(everything, "kept too", strings.Repeat("0123456789", 20_000), 1)
	var b bytes.Buffer
	if _, err := Copy(&b, strings.NewReader(long)); err != nil || b.String() != long {
		t.Errorf("long lines: %v, %d bytes of %d", err, b.Len(), len(long))
	}
	full := errors.New("full")
	if _, err := Copy(refusing{full}, strings.NewReader(everything)); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

type refusing struct{ err error }

func (f refusing) Write([]byte) (int, error) { return 0, f.err }

// generated is a dump of sessions sessions with queued messages of size bytes, as
// a stream.
func generated(sessions, queued, size int) io.Reader {
	r, w := io.Pipe()
	go func() {
		d, err := newWriter(w, "", anyTime)
		payload := make([]byte, size)
		rand.New(rand.NewSource(1)).Read(payload)
		for i := 0; i < sessions && err == nil; i++ {
			s := &session{Record: store.Record{ClientID: fmt.Sprintf("client-%d", i), Expiry: 3600, Detached: 1}}
			s.subscriptions = []store.Subscribed{{Filter: "a/" + s.ClientID}}
			err = d.session(s)
			for k := 0; k < queued && err == nil; k++ {
				m := (&packet.Message{Topic: []byte("a/b"), Payload: payload, QoS: 1, Received: 1}).Keep(uint64(i*queued + k + 1))
				err = d.queued(&store.Entry{Message: m, QoS: 1})
				m.Unref()
			}
		}
		if err == nil {
			_, err = d.end(0)
		}
		w.CloseWithError(err)
	}()
	return r
}

// Memory does not grow with the store: an export and an import of a large one take
// little more than those of a small one.
func TestMemoryOfALargeStore(t *testing.T) {
	if raceEnabled {
		t.Skip("takes minutes with the race detector")
	}
	const payload = 4 << 10
	small, large := through(t, 10, 100, payload), through(t, 90, 100, payload) // 4 MB and 36 MB
	// Of the 32 MB that there are more, memtables may wait for a slow disk.
	if grown := int64(large) - int64(small); grown > 24<<20 {
		t.Errorf("a store of 36 MB takes %d MB, one of 4 MB %d MB", large>>20, small>>20)
	}
}

// through imports and exports on the real file system and returns the most memory
// that was in use.
func through(t *testing.T, sessions, queued, size int) (most uint64) {
	t.Helper()
	o := disk.Options{Dir: filepath.Join(t.TempDir(), "store"), CacheBytes: 1 << 20}
	seen := func() {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	im, err := disk.Import(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Import(&every{generated(sessions, queued, size), seen, 0}, im); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := disk.OpenReadOnly(o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r, w := io.Pipe()
	go func() {
		_, err := Export(context.Background(), w, v, "")
		w.CloseWithError(err)
	}()
	n, err := Copy(io.Discard, &every{r, seen, 0})
	if err != nil || n.Queued != int64(sessions*queued) {
		t.Fatalf("%+v %v", n, err)
	}
	return most
}

// every calls a function after each 4 MB or so that are read.
type every struct {
	io.Reader
	call func()
	n    int
}

func (e *every) Read(b []byte) (int, error) {
	n, err := e.Reader.Read(b)
	if e.n += n; e.n > 4<<20 {
		e.n = 0
		e.call()
	}
	return n, err
}

// An export ends with its context, and is not taken for a whole.
func TestExportIsCutOff(t *testing.T) {
	files, _, err := load(t, strings.NewReader(everything))
	if err != nil {
		t.Fatal(err)
	}
	v, err := disk.OpenReadOnly(disk.Options{Dir: "store", FS: files})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	var b bytes.Buffer
	if _, err := Export(ctx, &b, v, ""); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if _, err := Copy(io.Discard, &b); err == nil {
		t.Error("it is taken for a whole")
	}
}
