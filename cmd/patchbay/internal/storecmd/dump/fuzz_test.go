package dump

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

var anyTime = time.UnixMilli(1_769_860_800_000)

// again writes what it is given.
type again struct{ *writer }

func (a again) session(s *session) error { return a.writer.session(s) }

func (a again) retained(namespace string, m *packet.Message) error {
	defer m.Unref()
	return a.writer.retained(namespace, m)
}

func (a again) queued(e *store.Entry) error {
	defer e.Message.Unref()
	return a.writer.queued(e)
}

// rewrite reads a dump and writes it.
func rewrite(r io.Reader) (string, error) {
	var b bytes.Buffer
	w, err := newWriter(&b, "1.2.3", anyTime)
	if err != nil {
		return "", err
	}
	n, err := read(r, again{w})
	if err != nil {
		return "", err
	}
	_, err = w.end(n.Unreadable)
	return b.String(), err
}

// What is read and written once is as it is for good.
func FuzzRead(f *testing.F) {
	f.Add([]byte(everything))
	for line := range strings.Lines(everything) {
		f.Add([]byte(`{"patchbay_export":1}` + "\n" + line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := rewrite(bytes.NewReader(b))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Fatalf("no line in %v", err)
			}
			return
		}
		twice, err := rewrite(strings.NewReader(once))
		if err != nil || twice != once {
			t.Fatalf("%v\n%s\n%s", err, once, twice)
		}
	})
}

func TestRewrite(t *testing.T) {
	got, err := rewrite(strings.NewReader(everything))
	if err != nil || got != everything {
		t.Fatalf("%v\n%s", err, got)
	}
}

// All bytes come through JSON as they are.
func FuzzOctets(f *testing.F) {
	for _, s := range []string{"", "text", "tab\tquote\"back\\slash", "\x00", "\xff", "ä\u2028\u2029", "\x7f", "<&>", `{"base64":"AA=="}`} {
		f.Add([]byte(s), int64(len(s)))
	}
	f.Fuzz(func(t *testing.T, b []byte, n int64) {
		n &= 1<<62 - 1
		line := struct {
			O octets
			T text
			S stamp
		}{b, text(b), stamp(n)}
		enc, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		back := line
		back.O, back.T, back.S = nil, "", 0
		if err := json.Unmarshal(enc, &back); err != nil || !bytes.Equal(back.O, b) || back.T != line.T || back.S != line.S {
			t.Fatalf("%s: %v %+v", enc, err, back)
		}
	})
}

func BenchmarkExportLine(b *testing.B) {
	w, err := newWriter(io.Discard, "", anyTime)
	if err != nil {
		b.Fatal(err)
	}
	m := (&packet.Message{Topic: []byte("plant/7/temperature"), Payload: []byte(`{"value":21.5}`), Publisher: "sensor-7", Received: 1_769_860_800_000}).Keep(1)
	e := &store.Entry{Message: m, QoS: 1}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.queued(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkImportLine(b *testing.B) {
	text := []byte(`{"queued":{"qos":1,"message":{"id":"1","topic":"plant/7/temperature","qos":0,"publisher":"sensor-7","received":"2026-01-31T12:00:00.000Z","payload":"{\"value\":21.5}"}}}` + "\n")
	b.ReportAllocs()
	for b.Loop() {
		var l line
		if err := decode(text, &l); err != nil {
			b.Fatal(err)
		}
		e, err := l.Queued.entry()
		if err != nil {
			b.Fatal(err)
		}
		e.Message.Unref()
	}
}
