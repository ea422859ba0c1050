package client

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// The message and the outputs below were seen with mosquitto_sub 2.0.11.
func sample() *paho.Publish {
	id := 7
	return &paho.Publish{
		Topic: "a/b", QoS: 1, PacketID: 1, Payload: []byte(`{"x":1}`),
		Properties: &paho.PublishProperties{
			ContentType: "json", CorrelationData: []byte("cd"), MessageExpiry: paho.Uint32(60), PayloadFormat: paho.Byte(1),
			ResponseTopic: "r/t", SubscriptionIdentifier: &id, User: paho.UserProperties{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}},
		},
	}
}

func plain(payload string) *paho.Publish {
	return &paho.Publish{Topic: "a/b", Retain: true, Payload: []byte(payload), Properties: &paho.PublishProperties{}}
}

var sampleTime = time.Date(2026, 11, 22, 23, 34, 18, 827246109, time.UTC)

func TestFormat(t *testing.T) {
	full, none := sample(), plain("")
	for _, c := range []struct {
		format string
		m      *paho.Publish
		want   string
	}{
		{"%t|%p|%q|%l|%m|%r|%x|%X", full, "a/b|{\"x\":1}|1|7|1|0|7b2278223a317d|7B2278223A317D"},
		{"%C|%D|%E|%F|%P|%R|%S|%A|", full, "json|cd|60|1|k:v k:w|r/t|7||"},
		{"%C|%D|%E|%F|%P|%R|%S|%A|%r%q", none, "||||||||10"},
		{"[%8t][%-8t][%.2t][%5.2C]", full, "[     a/b][a/b     ][a/][   js]"},
		{"[%10p][%3p][%-10p]", full, "[   {\"x\":1}][{\"x][{\"x\":1}   ]"},
		{"[%08l][%-8l][%6x][%2x][%-05l]", full, "[00000007][7       ][7b2278][7b][7    ]"},
		{"[%5A][%05E][%05A][%-5E]", full, "[     ][00060][00000][60   ]"},
		{"[%010x][%-6X]", plain("\xff\x00a"), "[0000ff0061][FF0061]"},
		{"%I|%U", full, "2026-11-22T23:34:18+0000|1795390458.827246109"},
		{"[%26I][%-26I]", full, "[  2026-11-22T23:34:18+0000][2026-11-22T23:34:18+0000  ]"},
		{`%% @@ \\ \0 \a\e\n\r\t\v`, full, "% @ \\ \x00 \a\x1b\n\r\t\v"},
		{"@Y-@m-@d @H:@M:@S.@N", full, "2026-11-22 23:34:18.827246109"},
		{"@k @l @D @F @j @U @V @e @P @p @r @s @u @w", full, "23 11 11/22/26 2026-11-22 326 47 47 22 pm PM 11:34:18 PM 1795390458 7 0"},
		{"@x @X @Z @z @R @T @G @g @h @c @C @y @Q", full, "11/22/26 23:34:18 UTC +0000 23:34 23:34:18 2026 26 Nov Sun Nov 22 23:34:18 2026 20 26 %Q"},
		{"@a @A @b @B @I @W@n@t@%", full, "Sun Sunday Nov November 11 46\n\t%"},
		{"%3.3t|%.0t|", &paho.Publish{Topic: "äöü/x", Properties: &paho.PublishProperties{}}, "äöü||"},
		{"%j", plain("q\"\\\n<é>"), `{"tst":"2026-11-22T23:34:18.827246+0000","topic":"a/b","qos":0,"retain":1,"payloadlen":8,"payload":"q\"\\\n<é>"}`},
		{"%j", plain("\xffa"), `{"tst":"2026-11-22T23:34:18.827246+0000","topic":"a/b","qos":0,"retain":1,"payloadlen":2,"payload":[255,97]}`},
		{"%J", plain(""), `{"tst":"2026-11-22T23:34:18.827246+0000","topic":"a/b","qos":0,"retain":1,"payloadlen":0,"payload":null}`},
		{"%J", full, `{"tst":"2026-11-22T23:34:18.827246+0000","topic":"a/b","qos":1,"retain":0,"payloadlen":7,"mid":1,"properties":{"subscription-identifier":7,` +
			`"user-properties":{"k":"v","k":"w"},"content-type":"json","correlation-data":"cd","payload-format-indicator":1,"response-topic":"r/t","message-expiry-interval":60},"payload":{"x":1}}`},
	} {
		f, err := compileFormat(c.format, false)
		if err != nil {
			t.Errorf("%s: %v", c.format, err)
			continue
		}
		got, err := f.append(nil, c.m, sampleTime)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %q\nwant %q", c.format, err, got, c.want)
		}
	}
}

func TestFormatErrors(t *testing.T) {
	for format, says := range map[string]string{
		"%Q": `unknown sequence "%Q"`, `a\q`: `unknown escape "\\q"`, "%": "cannot end", "a%": "cannot end", "%5": "cannot end", "%-": "cannot end",
		"@": "cannot end", `\`: "cannot end", "%.t": "a number must follow", "%.": "a number must follow", "%99999t": "above 10000", "%.99999t": "above 10000",
	} {
		if _, err := compileFormat(format, false); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want …%s…", format, err, says)
		}
	}
}

// @W, @U, @V and @G around the turn of years, against the rules written out.
func TestWeeks(t *testing.T) {
	for day := time.Date(2019, 12, 25, 12, 0, 0, 0, time.UTC); day.Year() < 2031; day = day.AddDate(0, 0, 1) {
		sundays, mondays := 0, 0
		for d := time.Date(day.Year(), 1, 1, 12, 0, 0, 0, time.UTC); !d.After(day); d = d.AddDate(0, 0, 1) {
			switch d.Weekday() {
			case time.Sunday:
				sundays++
			case time.Monday:
				mondays++
			}
		}
		got := string(appendTime(appendTime(nil, 'U', day), 'W', day))
		if want := string([]byte{'0' + byte(sundays/10), '0' + byte(sundays%10), '0' + byte(mondays/10), '0' + byte(mondays%10)}); got != want {
			t.Fatalf("%s: week numbers %s, want %s", day.Format(time.DateOnly), got, want)
		}
	}
}

// FuzzFormat: no format and no message make it fail, and %j is JSON that holds the payload.
func FuzzFormat(f *testing.F) {
	f.Add("%I %-10.3t|%08l %x %P @Y\\n", "topic", []byte("payload"))
	f.Add("%99p%.2C@@%%\\0", "", []byte{0xff})
	f.Fuzz(func(t *testing.T, format, topic string, payload []byte) {
		m := plain(string(payload))
		m.Topic = topic
		if c, err := compileFormat(format, true); err == nil {
			if _, err := c.append(nil, m, sampleTime); err != nil && !strings.Contains(format, "J") {
				t.Fatalf("%q: %v", format, err)
			}
		}
		text, err := appendJSON(nil, m, sampleTime, false, false)
		var object struct{ Payload json.RawMessage }
		if err != nil || json.Unmarshal(text, &object) != nil {
			t.Fatalf("%q is not JSON (%v)", text, err)
		}
		var asText string
		var asNumbers []int
		switch {
		case len(payload) == 0:
		case json.Unmarshal(object.Payload, &asText) == nil:
			if asText != string(payload) {
				t.Fatalf("payload %q became %q", payload, asText)
			}
		case json.Unmarshal(object.Payload, &asNumbers) == nil:
			got := make([]byte, len(asNumbers))
			for i, n := range asNumbers {
				got[i] = byte(n)
			}
			if !bytes.Equal(got, payload) {
				t.Fatalf("payload %q became %q", payload, got)
			}
		default:
			t.Fatalf("payload %q became %s", payload, object.Payload)
		}
	})
}

func TestPlainFormatDoesNotAllocate(t *testing.T) {
	f, err := compileFormat("%t %l %p", false)
	if err != nil {
		t.Fatal(err)
	}
	buf, m := make([]byte, 0, 1024), sample()
	if n := testing.AllocsPerRun(100, func() { buf, _ = f.append(buf[:0], m, sampleTime) }); n > 0 {
		t.Errorf("%v allocations for a message", n)
	}
}

func BenchmarkFormat(b *testing.B) {
	for _, format := range []string{"%p", "%t %p", "%I %t %p", "%j"} {
		b.Run(format, func(b *testing.B) {
			f, err := compileFormat(format, false)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			buf, m := []byte(nil), sample()
			for b.Loop() {
				buf, _ = f.append(buf[:0], m, sampleTime)
			}
		})
	}
}
