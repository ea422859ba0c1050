// Package filter_test tests the plugin: the module that is here, and one that is built
// from its source.
package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const golden = "filter-zig.wasm"

// maxSize is what the golden module may grow to, in bytes.
const maxSize = 48 << 10

// noTool is the exit code of build.sh where the compiler is missing.
const noTool = 69

// compiled is what build.sh makes, once for all tests.
var compiled = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "filter-zig")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, golden)
	text, err := exec.Command("./build.sh", out).CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%w\n%s", err, text)
	}
	return out, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if out, _ := compiled(); out != "" {
		os.RemoveAll(filepath.Dir(out))
	}
	os.Exit(code)
}

// built compiles the plugin, or skips the test.
func built(t *testing.T) string {
	t.Helper()
	out, err := compiled()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == noTool && os.Getenv("TEST_TOOLS") != "required":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return out
}

func eachModule(t *testing.T, test func(t *testing.T, r plugintest.Runner)) {
	t.Run("golden", func(t *testing.T) { test(t, plugintest.Wasm(golden)) })
	t.Run("built", func(t *testing.T) { test(t, plugintest.Wasm(built(t))) })
}

const config = `{"rules":[
	{"topic":"raw/+","min":-40,"max":125},
	{"topic":"deny/#","min":0,"outside":"deny","unreadable":"deny"},
	{"topic":"f/+","min":-40,"max":125,"scale":1.8,"offset":32,"decimals":1},
	{"topic":"level/+","member":"level","min":0,"max":100,"outside":"clamp","unreadable":"clamp"},
	{"topic":"#","max":1e300}
]}`

// cases are messages and what becomes of them: "continue", "drop", "deny", or the new
// payload.
var cases = []struct{ topic, payload, want string }{
	{"raw/1", "21.5", "continue"},
	{"raw/1", " 21.5\n", "continue"},
	{"raw/1", "-40", "continue"},
	{"raw/1", "-40.001", "drop"},
	{"raw/1", "125.5", "drop"},
	{"raw/1", "warm", "drop"},
	{"raw/1", "", "drop"},
	{"raw/1", "1e999", "drop"},
	{"raw/1", "NaN", "drop"},
	{"deny/a/b", "5", "continue"},
	{"deny/a/b", "-5", "deny"},
	{"deny/a/b", "x", "deny"},
	{"f/1", "0", "32"},
	{"f/1", "21.5", "70.7"},
	{"f/1", "-40", "continue"}, // the same in both
	{"f/1", "-17.7777", "0"},
	{"f/1", "-18", "-0.4"},
	{"level/1", `{"level":50}`, "continue"},
	{"level/1", `{"id":"x","level": 100.5 ,"more":[1]}`, `{"id":"x","level": 100 ,"more":[1]}`},
	{"level/1", `{"level":-3}`, `{"level":0}`},
	{"level/1", `{"level":"50"}`, "continue"},
	{"level/1", `{"level":50`, "continue"},
	{"level/1", `[]`, "continue"},
	{"other", "5", "continue"},
	{"$SYS/x", "not a number", "continue"}, // "#" does not match it
}

func outcome(v *pluginv1.Verdict) string {
	switch v.Action {
	case pluginv1.ActionContinue:
		return "continue"
	case pluginv1.ActionDrop:
		return "drop"
	case pluginv1.ActionDeny:
		if v.ReasonCode != uint32(sdk.PayloadFormatInvalid) || v.Reason == "" {
			return fmt.Sprintf("deny with %#x %q", v.ReasonCode, v.Reason)
		}
		return "deny"
	case pluginv1.ActionReplace:
		if v.Changed == uint32(pluginv1.ChangePayload) {
			return string(v.Replacement.Payload)
		}
	}
	return fmt.Sprintf("%+v", v)
}

func TestPublish(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, c := range cases {
			v := p.Publish(t, &sdk.Client{ClientID: "c"}, &sdk.Message{Topic: c.topic, Payload: []byte(c.payload)})
			if got := outcome(v); got != c.want {
				t.Errorf("%s %q: %s, want %s", c.topic, c.payload, got, c.want)
			}
		}
	})
}

// A batch is answered event by event, whatever the others are.
func TestBatch(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		b := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c"}}}
		for _, c := range cases {
			b.Events = append(b.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: c.topic, Payload: []byte(c.payload)}})
		}
		got := make([]string, len(cases))
		for i := range got {
			got[i] = "continue"
		}
		for _, v := range p.Process(t, b).Verdicts {
			got[v.Event] = outcome(&v)
		}
		for i, c := range cases {
			if got[i] != c.want {
				t.Errorf("%s %q: %s, want %s", c.topic, c.payload, got[i], c.want)
			}
		}
	})
}

// A Will can be dropped, but not denied.
func TestWill(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for payload, want := range map[string]pluginv1.Action{"5": pluginv1.ActionContinue, "-5": pluginv1.ActionDrop} {
			v := p.Decide(t, sdk.PointInterceptWill, nil, pluginv1.Event{Message: &pluginv1.Message{Topic: "deny/x", Payload: []byte(payload)}})
			if v.Action != want {
				t.Errorf("%s: %+v", payload, v)
			}
		}
	})
}

// Only the topics of the rules are asked for.
func TestNarrowed(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p, res := plugintest.StartResponse(t, r, plugintest.NewHost(), `{"rules":[{"topic":"a/+"},{"topic":"b"}]}`)
		if n := res.Narrowed; n == nil || len(n.Hooks) != 2 || strings.Join(n.Hooks[0].TopicFilters, " ") != "a/+ b" ||
			n.Hooks[0].Fields != uint32(sdk.FieldPayload) || n.Hooks[0].Failure != sdk.FailureDeny {
			t.Errorf("narrowed %+v", n)
		}
		out, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"rules":[]}`})
		if err != nil || out.Restart || out.Narrowed == nil || len(out.Narrowed.Hooks) != 0 {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

func TestRefusedConfigs(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		for text, want := range map[string]string{
			`{}`: "/rules is required",
			`{"rules":[{"topic":"a","min":2,"max":1}]}`: "/rules/0/min must not be larger than max",
			`{"rules":[{"topic":"a"},{"topic":1}]}`:     "/rules/1/topic must be a string",
			`{"rules":[{"topic":"a","mim":1}]}`:         "/rules/0/mim unknown key",
			`{"rules":[{"topic":"a","outside":"x"}]}`:   `/rules/0/outside must be one of "drop", "deny", "clamp"`,
			`{"rules":[{"topic":"a","decimals":99}]}`:   "/rules/0/decimals must be an integer from 0 to 15",
		} {
			_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), text)
			if len(res.Problems) != 1 || res.Problems[0].Pointer+" "+res.Problems[0].Message != want {
				t.Errorf("%s: %v, want %s", text, res.Problems, want)
			}
		}
	})
}

// The module that is here is what build.sh makes, with the version of Zig that it names.
func TestGolden(t *testing.T) {
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) > maxSize {
		t.Errorf("%d bytes, more than %d", len(want), maxSize)
	}
	got, err := os.ReadFile(built(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("build.sh makes other %d bytes than the %d of %s; was it built anew, and with another Zig?", len(got), len(want), golden)
	}
}

// BenchmarkPublish is the time per message in the broker's own runtime: one that passes
// as it is, and one whose payload is changed.
func BenchmarkPublish(b *testing.B) {
	m, err := wasm.LoadFile(b.Context(), golden, wasm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p, err := m.Open(b.Context(), plugintest.NewHost())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if res, err := p.Start(b.Context(), &pluginv1.StartRequest{Config: config}); err != nil || len(res.Problems) > 0 {
		b.Fatal(res, err)
	}
	for _, c := range []struct{ name, topic, payload string }{
		{"pass", "raw/1", "21.5"}, {"change", "f/1", "21.5"}, {"json", "level/1", `{"id":"sensor-17","level":120.5}`},
	} {
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				batch, answer := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c"}}}, new(pluginv1.Answer)
				for range n {
					batch.Events = append(batch.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: c.topic, Payload: []byte(c.payload)}})
				}
				b.ReportAllocs()
				for b.Loop() {
					answer.Reset()
					if answered, err := p.Process(batch, answer, func(error) {}); !answered || err != nil {
						b.Fatal(answered, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
			})
		}
	}
}
