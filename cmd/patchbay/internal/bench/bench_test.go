package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// run executes `bench args…` and gives what it prints.
func run(t testing.TB, ctx context.Context, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := Command()
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	cmd.SilenceErrors = true
	err := cmd.ExecuteContext(ctx)
	if err == nil && errOut.Len() > 0 {
		t.Errorf("on standard error: %s", errOut.String())
	}
	return out.String(), err
}

// runJSON executes `bench args… --json`.
func runJSON(t testing.TB, args ...string) *result {
	t.Helper()
	out, err := run(t, context.Background(), append(args, "--json")...)
	if err != nil {
		t.Fatalf("bench %s: %v", strings.Join(args, " "), err)
	}
	var r result
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || d.More() {
		t.Fatalf("not one JSON object: %v\n%s", err, out)
	}
	return &r
}

// shortly makes a run that publishes a short one.
func shortly(args string) []string {
	return append(strings.Fields(args), "--warmup", "50ms", "-d", "300ms")
}

func TestTraffic(t *testing.T) {
	b := startFake(t, &faults{})
	for _, tt := range []struct {
		args                string
		subscribers, perMsg int
	}{
		{"pair --pairs 5 --rate 2000", 5, 1},
		{"pair --pairs 5 --rate 2000 -q 1 -V 3.1.1", 5, 1},
		{"pair --pairs 5 --rate 2000 -q 2", 5, 1},
		{"pair --pairs 5 --rate 0", 5, 1},
		{"pair --pairs 3 --rate 0 -q 1", 3, 1},
		{"pair --pairs 3 --rate 0 -q 2 -V 3.1.1", 3, 1},
		{"pair --pairs 2 --rate 0 --window 1", 2, 1},
		{"pair --pairs 2 --rate 0 --inflight 1 -q 2", 2, 1},
		{"pair --pairs 2 --rate 200 --size 70000", 2, 1},
		{"fan-out --publishers 3 --subscribers 20 --topics 100 --rate 1000", 20, 20},
		{"fan-out --publishers 3 --subscribers 20 --topics 7 --rate 0 -q 1", 20, 20},
		{"fan-in --publishers 40 --topics 9 --rate 10000 --subscribers 2 -q 1", 2, 2},
		{"fan-in --publishers 40 --topics 9 --rate 10000", 0, 0},
		{"fan-in --publishers 40 --topics 9 --rate 0 -V 3.1.1", 0, 0},
		{"fan-in --publishers 40 --topics 9 --rate 0 -q 2", 0, 0},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			r := runJSON(t, append(shortly(tt.args), "--url", b.url())...)
			m := r.Messages
			if m.Published == 0 || m.Expected != m.Published*uint64(tt.perMsg) || m.Delivered != m.Expected {
				t.Errorf("published %d, expected %d, delivered %d", m.Published, m.Expected, m.Delivered)
			}
			if m.Subscribers != tt.subscribers || m.Lost != 0 || m.Duplicated != 0 || m.OutOfOrder != 0 || m.Foreign != 0 ||
				m.Unacknowledged != 0 || m.Refused != 0 || m.WindowStalls != 0 || m.Unfinished {
				t.Errorf("account: %+v", *m)
			}
			// The rates are of a part of the run. (On a busy machine it may be an empty one.)
			if n := m.PublishedPerSecond * r.Measured; n < 0 || n > float64(m.Published)+0.5 {
				t.Errorf("%v/s in %vs, but %d messages", m.PublishedPerSecond, r.Measured, m.Published)
			}
			if n := m.DeliveredPerSecond * r.Measured; n < 0 || n > float64(m.Delivered)+0.5 || m.Latency.Count > m.Delivered {
				t.Errorf("%v/s in %vs and %d latencies, but %d deliveries", m.DeliveredPerSecond, r.Measured, m.Latency.Count, m.Delivered)
			}
			if l := m.Latency; l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max {
				t.Errorf("latencies: %+v", l)
			}
			if want := int64(m.Publishers + m.Subscribers); r.Connect.Established != want || r.Connect.Lost != 0 || len(r.Errors) > 0 {
				t.Errorf("connections: %+v, want %d; errors %v", r.Connect, want, r.Errors)
			}
		})
	}
}

// An open loop sends no more than what is due. (That it sends no less either is for
// TestLateMessagesCarryTheirDueTime: on a busy machine a run may.)
func TestRateIsKept(t *testing.T) {
	b := startFake(t, &faults{})
	begin := time.Now()
	r := runJSON(t, "pair", "--pairs", "4", "--rate", "1000", "--warmup", "0s", "-d", "500ms", "--url", b.url())
	if n := r.Messages.Published; n == 0 || n > uint64(time.Since(begin).Milliseconds())+4 {
		t.Errorf("%d messages in 0.5 s at 1000/s", n)
	}
	if m := r.Messages; m.PublishedPerSecond <= 0 || m.DeliveredPerSecond <= 0 || m.Latency.Count == 0 || m.Latency.P50 <= 0 {
		t.Errorf("%+v", *m)
	}
}

func TestCountEndsTheRun(t *testing.T) {
	b := startFake(t, &faults{})
	r := runJSON(t, "fan-out", "--publishers", "3", "--subscribers", "2", "--topics", "2", "--rate", "0",
		"--count", "1000", "-d", "30s", "--warmup", "0s", "--url", b.url())
	if r.Messages.Published != 1000 || r.Messages.Delivered != 2000 || r.Measured > 10 {
		t.Errorf("published %d, delivered %d, in %.1fs", r.Messages.Published, r.Messages.Delivered, r.Measured)
	}
}

// What the broker does wrong must be in the account, to the message.
func TestFaultsAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		faults     faults
	}{
		{"drops", "pair --pairs 2 --rate 2000", faults{dropEvery: 7}},
		{"drops fan-out", "fan-out --publishers 2 --subscribers 5 --topics 3 --rate 500", faults{dropEvery: 11}},
		{"drops in a closed loop", "pair --pairs 2 --rate 0", faults{dropEvery: 9}},
		{"drops at QoS 2", "pair --pairs 2 --rate 500 -q 2", faults{dropEvery: 5}},
		{"duplicates", "pair --pairs 2 --rate 2000", faults{dupEvery: 3}},
		{"duplicates at QoS 1", "pair --pairs 2 --rate 2000 -q 1", faults{dupEvery: 3}},
		{"duplicates at QoS 2", "pair --pairs 2 --rate 500 -q 2", faults{dupEvery: 3}},
		{"disorder", "pair --pairs 1 --rate 2000", faults{swapEvery: 10}},
		{"disorder and drops", "fan-out --publishers 1 --subscribers 3 --topics 1 --rate 500", faults{swapEvery: 10, dropEvery: 7}},
		{"refusals", "pair --pairs 2 --rate 2000 -q 1", faults{rejectEvery: 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := startFake(t, &tt.faults)
			m := runJSON(t, append(shortly(tt.args), "--drain", "900ms", "--url", b.url())...).Messages
			held := int64(m.Expected) - int64(m.Delivered) - b.dropped.Load() // by swapEvery, for a next one that never came
			if held < 0 || held > 0 && tt.faults.swapEvery == 0 || held > int64(m.Subscribers) || m.Lost != b.dropped.Load()+held {
				t.Errorf("lost %d, the broker dropped %d", m.Lost, b.dropped.Load())
			}
			if got := b.doubled.Load(); int64(m.Duplicated) != got {
				t.Errorf("duplicated %d, the broker doubled %d", m.Duplicated, got)
			}
			if got := b.swapped.Load(); int64(m.OutOfOrder) != got {
				t.Errorf("out of order %d, the broker swapped %d", m.OutOfOrder, got)
			}
			if got := b.rejected.Load(); int64(m.Refused) != got {
				t.Errorf("refused %d, the broker rejected %d", m.Refused, got)
			}
			if b.dropped.Load()+b.doubled.Load()+b.swapped.Load()+b.rejected.Load() == 0 {
				t.Error("the broker did nothing wrong")
			}
		})
	}
}

func TestUnacknowledged(t *testing.T) {
	b := startFake(t, &faults{noAckEvery: 50})
	m := runJSON(t, append(shortly("pair --pairs 1 --rate 1000 -q 1"), "--drain", "100ms", "--url", b.url())...).Messages
	if n := b.unanswered.Load(); n == 0 || int64(m.Unacknowledged) != n {
		t.Errorf("unacknowledged %d, the broker left %d unanswered", m.Unacknowledged, n)
	}
}

// A broker that delivers nothing stops the closed loop; it is opened again, so that
// the run shows a rate and the losses, not a hang.
func TestWindowStall(t *testing.T) {
	t.Parallel()
	b := startFake(t, &faults{dropEvery: 1})
	m := runJSON(t, "pair", "--pairs", "1", "--rate", "0", "--window", "8", "--warmup", "0s", "-d", "3s", "--drain", "0s", "--url", b.url()).Messages
	if m.WindowStalls == 0 || m.Published <= 8 || m.Lost != int64(m.Published) {
		t.Errorf("stalls %d, published %d, lost %d", m.WindowStalls, m.Published, m.Lost)
	}
}

// A publisher keeps within the Receive Maximum of the broker [MQTT-3.3.4-9] and within
// --inflight.
func TestReceiveMaximum(t *testing.T) {
	f := &faults{}
	f.connack.SetReceiveMaximum(5)
	b := startFake(t, f)
	m := runJSON(t, append(shortly("pair --pairs 1 --rate 0 -q 2"), "--url", b.url())...).Messages
	if got := b.maxInFlight.Load(); got > 5 || m.Published < 10 || m.Lost != 0 {
		t.Errorf("%d in flight, Receive Maximum 5; published %d, lost %d", got, m.Published, m.Lost)
	}
}

func TestBrokerLimits(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		set        func(*packet.Properties)
	}{
		{"QoS", "Maximum QoS is 0", func(p *packet.Properties) { p.SetMaximumQoS(0) }},
		{"size", "Maximum Packet Size is 100 bytes", func(p *packet.Properties) { p.SetMaximumPacketSize(100) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &faults{}
			tt.set(&f.connack)
			b := startFake(t, f)
			_, err := run(t, context.Background(), "pair", "-q", "1", "--url", b.url())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Connections that the broker ends are reported, with the reason.
func TestLostConnections(t *testing.T) {
	b := startFake(t, &faults{})
	go func() {
		for b.publishes.Load() < 50 && !b.cut.Load() {
			time.Sleep(time.Millisecond)
		}
		b.cut.Store(true)
	}()
	defer b.cut.Store(true)
	r := runJSON(t, "pair", "--pairs", "3", "--rate", "1000", "--warmup", "0s", "-d", "20s", "--drain", "0s", "--url", b.url())
	if r.Connect.Lost < 3 || len(r.Errors) == 0 {
		t.Errorf("lost %d connections, errors %v", r.Connect.Lost, r.Errors)
	}
}

func TestIdle(t *testing.T) {
	b := startFake(t, &faults{})
	r := runJSON(t, "idle", "--connections", "150", "-d", "100ms", "--url", b.url())
	if r.Connect.Established != 150 || r.Idle.Connections != 150 || r.Connect.Lost != 0 || r.Connect.PerSecond <= 0 || r.Connect.Latency.Count != 150 {
		t.Errorf("connect %+v, idle %+v", r.Connect, *r.Idle)
	}
	for end := time.Now().Add(5 * time.Second); b.disconnects.Load() < 150; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d DISCONNECTs", b.disconnects.Load())
		}
	}
}

func TestChurn(t *testing.T) {
	b := startFake(t, &faults{refuseEvery: 10})
	r := runJSON(t, "churn", "--workers", "8", "--count", "300", "-d", "20s", "--url", b.url())
	if c := r.Connect; c.Established+c.Failed != 300 || c.Failed != b.refused.Load() || c.Failed != 30 {
		t.Errorf("%+v, the broker refused %d", c, b.refused.Load())
	}
	if len(r.Errors) != 1 || r.Errors[0].Count != 30 || !strings.Contains(r.Errors[0].Text, "Not authorized") {
		t.Errorf("errors %v", r.Errors)
	}
}

func TestChurnRate(t *testing.T) {
	b := startFake(t, &faults{})
	begin := time.Now()
	r := runJSON(t, "churn", "--rate", "200", "-d", "500ms", "-V", "3.1.1", "--url", b.url())
	if n := r.Connect.Established; n < 2 || n > time.Since(begin).Milliseconds()/5+1 {
		t.Errorf("%d connects in 0.5 s at 200/s", n)
	}
}

func TestOffline(t *testing.T) {
	for _, tt := range []struct {
		name, args   string
		faults       faults
		drain        string
		lost         int64
		sessionsLost int
	}{
		{"QoS 1", "-q 1", faults{}, "20s", 0, 0},
		{"QoS 2, 3.1.1", "-q 2 -V 3.1.1", faults{}, "20s", 0, 0},
		{"broker's limit of queued messages", "-q 1", faults{queueLimit: 15}, "1s", 25 * 5, 0},
		{"broker forgets sessions", "-q 1", faults{forget: true}, "1s", 25 * 20, 25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := startFake(t, &tt.faults)
			args := append([]string{"offline", "--subscribers", "25", "--publishers", "4", "--messages", "20", "--drain", tt.drain, "--url", b.url()},
				strings.Fields(tt.args)...)
			r := runJSON(t, args...)
			m := r.Messages
			if m.Published != 500 || m.Expected != 500 || m.Lost != tt.lost || m.Duplicated != 0 || m.OutOfOrder != 0 || m.Unacknowledged != 0 {
				t.Errorf("account %+v, want %d lost", *m, tt.lost)
			}
			if r.Offline.SessionsLost != tt.sessionsLost || r.Offline.StoreSeconds <= 0 {
				t.Errorf("%+v", *r.Offline)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			for id, s := range b.sessions {
				if s.persistent {
					t.Errorf("session %s is left behind", id)
				}
			}
		})
	}
}

// Ctrl-C is a cancelled context.
func TestInterrupt(t *testing.T) {
	b := startFake(t, &faults{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for b.publishes.Load() < 100 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	begin := time.Now()
	out, err := run(t, ctx, "pair", "--pairs", "2", "--rate", "1000", "--warmup", "0s", "-d", "50s", "--url", b.url())
	if err != nil || time.Since(begin) > 20*time.Second {
		t.Fatalf("after %v: %v", time.Since(begin), err)
	}
	for _, want := range []string{"interrupted", "published", "lost                           0"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, tt := range []struct{ args, want string }{
		{"idle --connections 3000 --workers 2", "still connected"},
		{"churn", "handshake"},
		{"offline --messages 1000000 --subscribers 3 --publishers 1", "stored in"},
	} {
		b := startFake(t, &faults{})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			for b.connects.Load() < 200 && b.publishes.Load() < 1000 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		out, err := run(t, ctx, append(strings.Fields(tt.args), "--url", b.url())...)
		if err != nil || !strings.Contains(out, "interrupted") || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v\n%s", tt.args, err, out)
		}
	}
	cancelled, stop := context.WithCancel(context.Background())
	stop()
	if _, err := run(t, cancelled, "pair", "--url", b.url()); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("interrupted before it began: %v", err)
	}
}

func TestTable(t *testing.T) {
	b := startFake(t, &faults{})
	out, err := run(t, context.Background(), append(shortly("fan-out --publishers 2 --subscribers 3 --topics 2 --rate 1000"), "-d", "1500ms", "--url", b.url())...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"fan-out  mqtt://127.0.0.1:", "MQTT 5.0  QoS 0  128 bytes", "2 publishers, 3 subscribers, 2 topics, 1,000 messages/s demanded = 3,000 deliveries/s",
		"% of the demand", "delivered", "expected", "duplicated", "out of order", "p99.9", "delivered/s", "█",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"pair --size 23", "at least 24 bytes"},
		{"pair --size 99999999", "at most"},
		{"pair -q 3", "--qos 3: want 0 to 2"},
		{"pair -V 4", "want 3.1.1 or 5"},
		{"pair --pairs 0", "--pairs 0"},
		{"pair --rate NaN", "--rate NaN"},
		{"pair --rate -1", "--rate -1"},
		{"pair -d 0s", "--duration 0s"},
		{"pair -d 25h", "--duration 90000: want 0 to 86400 seconds"},
		{"pair --rate 0 --window 0", "--window 0"},
		{"pair --inflight 0 -q 1", "--inflight 0"},
		{"pair --bogus", "unknown flag: --bogus"},
		{"pair --url http://x", "want mqtt://"},
		{"pair --url mqtt://", "want mqtt://"},
		{"pair --cafile x.pem", "need an mqtts://"},
		{"pair --url mqtts://x --cafile /does/not/exist", "--cafile"},
		{"fan-out --subscribers 0", "--subscribers 0"},
		{"fan-out --topics 0", "--topics 0"},
		{"fan-out --topics 60000 --size 16000000", "together"},
		{"fan-in --publishers 10000 --topics 10000 --subscribers 3", "takes an account"},
		{"offline -q 0", "QoS 1 and 2 only"},
		{"idle --connections 0", "--connections 0"},
		{"churn --count 0", "--count 0"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			_, err := run(t, context.Background(), strings.Fields(tt.args)...)
			var code interface{ ExitCode() int }
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if !errors.As(err, &code) || code.ExitCode() != 2 {
				t.Errorf("%v is not a usage error", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestRuntimeErrors(t *testing.T) {
	refusing := startFake(t, &faults{refuseEvery: 1})
	closing := startFake(t, &faults{})
	gone := startFake(t, &faults{})
	gone.ln.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, tt := range []struct{ args, want string }{
		{"pair --url " + gone.url(), "is the broker running?"},
		{"pair --url " + refusing.url(), "the broker refuses the connection: Not authorized"},
		{"pair --url mqtts://" + closing.ln.Addr().String(), "TLS with"},
		{"pair --url ws://" + closing.ln.Addr().String(), "WebSocket with"},
		{"pair --setup-timeout 300ms --url ws://" + mute.Addr().String(), "--setup-timeout"},
		{"pair --setup-timeout 300ms --url mqtts://" + mute.Addr().String(), "--setup-timeout"},
		{"pair --setup-timeout 300ms --url mqtt://" + mute.Addr().String(), "--setup-timeout"},
		{"churn --setup-timeout 300ms --url mqtt://" + mute.Addr().String(), "--setup-timeout"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			_, err := run(t, context.Background(), strings.Fields(tt.args)...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if errors.As(err, new(usageError)) {
				t.Errorf("%v is no usage error", err)
			}
		})
	}
}

// Every flag says its unit or meaning and its default.
func TestHelp(t *testing.T) {
	for _, name := range []string{"fan-out", "fan-in", "pair", "idle", "churn", "offline"} {
		out, err := run(t, context.Background(), name, "--help")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out, "\n") {
			if flag := strings.TrimSpace(line); strings.HasPrefix(line, "  ") && strings.HasPrefix(flag, "-") && !strings.Contains(flag, "--help") && !strings.Contains(flag, "default") {
				t.Errorf("%s: no default: %s", name, line)
			}
		}
	}
	out, err := run(t, context.Background())
	if err != nil || !strings.Contains(out, "fan-out") {
		t.Errorf("bench alone prints its help: %v\n%s", err, out)
	}
	if _, err := run(t, context.Background(), "fan-sideways"); err == nil {
		t.Error("an unknown scenario is an error")
	}
}

// With --persistent the subscribers have sessions, and none is left behind.
func TestPersistentSubscribers(t *testing.T) {
	for _, args := range []string{"pair --pairs 3", "fan-out --publishers 1 --subscribers 3 --topics 2"} {
		b := startFake(t, &faults{})
		r := runJSON(t, append(strings.Fields(args), "--persistent", "-q", "1", "--rate", "0", "--count", "60", "-d", "5s", "--warmup", "0s", "--url", b.url())...)
		if m := r.Messages; m.Published != 60 || m.Lost != 0 || m.Duplicated != 0 {
			t.Errorf("%s: %+v", args, *m)
		}
		b.mu.Lock()
		if n := b.persisted.Load(); n != 3 {
			t.Errorf("%s: %d persistent sessions, want 3", args, n)
		}
		for id, s := range b.sessions {
			if s.persistent {
				t.Errorf("%s: session %s is left behind", args, id)
			}
		}
		b.mu.Unlock()
	}
}
