package bridgetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Log(...any)                   {}
func (r *recorder) Logf(string, ...any)          {}
func (r *recorder) Failed() bool                 { return r.said != nil }
func (r *recorder) Error(args ...any)            { r.said = append(r.said, fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.said = append(r.said, fmt.Sprintf(f, args...)) }
func (r *recorder) Fatalf(f string, args ...any) { r.Errorf(f, args...); runtime.Goexit() }

// A Chaos finds another side that has lost, mixed up or made up messages, or has not got what was
// acknowledged; and only then it fails. The other side is a subscriber of the broker itself,
// which says what it likes.
func TestChaosFinds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Chaos needs /proc")
	}
	here := StartBroker(t, BrokerOptions{Plugins: `  - name: b
    plugin: bridge-mqtt
    runtime: process
    config: {remote: {servers: ["mqtt://127.0.0.1:1"]}, routes: [{name: up, filters: ["nothing"]}]}
`})
	for i, c := range []struct {
		name, want string
		lie        func(list []Message) []Message
		sure       func(key string) bool
		drain      time.Duration
	}{
		{name: "tells the truth", lie: func(list []Message) []Message { return list }},
		{name: "loses", want: "everything is there: not within", drain: 5 * time.Second, lie: func(list []Message) []Message {
			return slices.DeleteFunc(list, func(m Message) bool { return m.N == 3 })
		}},
		{name: "mixes up", want: "came for the first time after", lie: func(list []Message) []Message {
			slices.Reverse(list)
			return list
		}},
		{name: "makes up", want: "was never published", lie: func(list []Message) []Message { return append(list, Message{"t/9", 1 << 20}) }},
		{name: "has it too late", want: "acknowledged, and not there", sure: func(string) bool { return true }, lie: func([]Message) []Message { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := fmt.Sprintf("t/%d", i)
			s := Subscribe(t, here.Addr, key, nil, key)
			l := NewLedger()
			load := Publish(t, l, PublisherOptions{Addr: here.Addr, Keys: []string{key}, Rate: 500})
			r := &recorder{TB: t}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				f := Chaos{Here: here, Ledger: l, Load: load, Sure: c.sure, AtOnce: true, Kills: 1, Drain: c.drain, Arrived: func(ctx context.Context) ([]Message, error) {
					list, err := s.Arrived(ctx)
					return c.lie(list), err
				}}.Run(r)
				if c.want == "" && (f.Broker != 1 || f.Plugin != 1 || f.Arrived == 0 || f.Sent != f.Acknowledged || f.BrokerKiB == 0 || f.PluginKiB == 0) {
					t.Errorf("%+v", f)
				}
			}()
			<-ended
			load.Stop()
			if said := strings.Join(r.said, "; "); (c.want == "") != (said == "") || !strings.Contains(said, c.want) {
				t.Errorf("it says %.300q, want %q", said, c.want)
			}
		})
	}
}
