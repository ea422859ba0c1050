package pluginhost

import (
	"errors"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// doorkeeper is a plugin at POINT_AUTHENTICATE that says the same to everybody.
type doorkeeper struct {
	onlyRefuses bool
	says        pluginv1.Verdict
	later       bool // it says so with Complete
	failure     pluginv1.FailurePolicy
	asked       int
}

func (d *doorkeeper) manifest() *pluginv1.Manifest {
	return hooks(pluginv1.Hook{Point: pluginv1.PointAuthenticate, OnlyRefuses: d.onlyRefuses, Failure: d.failure, DeadlineMs: 60_000})
}

func (d *doorkeeper) serve(t *testing.T, h *Host, name string) *plugin {
	var p *plugin
	p = serve(t, h, name, newFake(func(b *pluginv1.Batch, a *pluginv1.Answer, _ func(error)) (bool, error) {
		d.asked++
		if !d.later {
			a.Verdicts = []pluginv1.Verdict{d.says}
			return true, nil
		}
		a.Verdicts = []pluginv1.Verdict{{Action: pluginv1.ActionDefer}}
		id := b.Events[0].ID
		p.gen.Load().Complete(&pluginv1.CompleteRequest{Completions: []pluginv1.Completion{{EventID: id, Verdict: &d.says}}})
		return true, nil
	}), true, d.manifest())
	return p
}

// authenticate asks about a client and waits for the answer.
func authenticate(h *Host, r *hook.AuthRequest) *hook.AuthResult {
	done := make(chan struct{})
	if !h.Authenticate(r, func() { close(done) }) {
		<-done
	}
	return &r.Result
}

func someone() *hook.AuthRequest {
	return &hook.AuthRequest{Client: client("a"), Connect: new(packet.Connect), Method: "m"}
}

// A hook that only refuses keeps clients out, lets nobody in, and does not count among
// those that decide.
func TestOnlyRefuses(t *testing.T) {
	says := func(a pluginv1.Action) pluginv1.Verdict { return pluginv1.Verdict{Action: a} }
	var (
		nothing    = says(pluginv1.ActionContinue)
		yes        = says(pluginv1.ActionAllow)
		challenge  = says(pluginv1.ActionChallenge)
		disconnect = says(pluginv1.ActionDisconnect)
		banned     = pluginv1.Verdict{Action: pluginv1.ActionDeny, ReasonCode: uint32(packet.Banned), Reason: "out"}
	)
	refuser := func(v pluginv1.Verdict) *doorkeeper { return &doorkeeper{onlyRefuses: true, says: v} }
	later := func(v pluginv1.Verdict) *doorkeeper { return &doorkeeper{onlyRefuses: true, says: v, later: true} }
	lenient := func(v pluginv1.Verdict) *doorkeeper {
		return &doorkeeper{onlyRefuses: true, says: v, failure: pluginv1.FailurePolicyContinue}
	}
	decider := func(v pluginv1.Verdict) *doorkeeper { return &doorkeeper{says: v} }
	type chain []*doorkeeper
	for name, c := range map[string]struct {
		chain     chain
		want      string // accepted, undecided, or the Reason Code
		failures  int64  // of the first
		decides   bool
		lastAsked bool
	}{
		"nobody":                         {nil, "undecided", 0, false, false},
		"it continues":                   {chain{refuser(nothing)}, "undecided", 0, false, true},
		"it continues later":             {chain{later(nothing)}, "undecided", 0, false, true},
		"two continue":                   {chain{refuser(nothing), refuser(nothing)}, "undecided", 0, false, true},
		"it denies":                      {chain{refuser(banned)}, packet.Banned.String(), 0, false, true},
		"it denies later":                {chain{later(banned)}, packet.Banned.String(), 0, false, true},
		"it disconnects":                 {chain{refuser(disconnect)}, packet.AdministrativeAction.String(), 0, false, true},
		"the second denies":              {chain{refuser(nothing), refuser(banned)}, packet.Banned.String(), 0, false, true},
		"it allows":                      {chain{refuser(yes)}, packet.ImplementationSpecificError.String(), 1, false, true},
		"it allows later":                {chain{later(yes)}, packet.ImplementationSpecificError.String(), 1, false, true},
		"it challenges":                  {chain{refuser(challenge)}, packet.ImplementationSpecificError.String(), 1, false, true},
		"it allows, and fails open":      {chain{lenient(yes)}, "undecided", 1, false, true},
		"it allows before a decider":     {chain{refuser(yes), decider(yes)}, packet.ImplementationSpecificError.String(), 1, true, false},
		"it fails open before a decider": {chain{lenient(yes), decider(yes)}, "accepted", 1, true, true},
		"a decider continues":            {chain{decider(nothing)}, packet.NotAuthorized.String(), 0, true, true},
		"before a decider that knows":    {chain{refuser(nothing), decider(yes)}, "accepted", 0, true, true},
		"before one that does not":       {chain{refuser(nothing), decider(nothing)}, packet.NotAuthorized.String(), 0, true, true},
		"behind one that does not":       {chain{decider(nothing), refuser(nothing)}, packet.NotAuthorized.String(), 0, true, true},
		"it denies before a decider":     {chain{refuser(banned), decider(yes)}, packet.Banned.String(), 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := newTestHost(t)
			defer closeHost(t, h)
			var first *plugin
			for i, d := range c.chain {
				p := d.serve(t, h, string(rune('a'+i)))
				if first == nil {
					first = p
				}
			}
			if got := h.Authenticates(); got != c.decides {
				t.Errorf("Authenticates is %v", got)
			}
			res := authenticate(h, someone())
			got := res.Code.String()
			switch {
			case res.Accept:
				got = "accepted"
			case res.Undecided && res.Code == packet.Success:
				got = "undecided"
			}
			if got != c.want || res.Undecided != (c.want == "undecided") {
				t.Errorf("%s (%+v), want %s", got, res, c.want)
			}
			if first == nil {
				return
			}
			if n := first.statsOf(pluginv1.PointAuthenticate).failures.Load(); n != c.failures {
				t.Errorf("%d failures, want %d", n, c.failures)
			}
			if last := c.chain[len(c.chain)-1]; (last.asked > 0) != c.lastAsked {
				t.Errorf("the last one was asked %d times", last.asked)
			}
		})
	}
}

// Who has begun an exchange may be gone, or have become another while it was asked about a
// client: one that only refuses does not open the door for it.
func TestOnlyRefusesAcrossChanges(t *testing.T) {
	h, _ := newTestHost(t)
	defer closeHost(t, h)
	guard := &doorkeeper{onlyRefuses: true}
	p := guard.serve(t, h, "guard")
	r := someone()
	r.Step, r.State = 1, &exchange{plugin: newPlugin(h, &Spec{Name: "gone"})}
	if res := authenticate(h, r); res.Undecided || res.Code != packet.NotAuthorized || !strings.Contains(res.Reason, "is gone") {
		t.Errorf("an exchange without who began it: %+v", res)
	}

	// The list of hooks was made, then the plugin has become one that decides.
	w := &authenticating{request: someone()}
	old := h.table.Load().at(pluginv1.PointAuthenticate)
	w.begin(h, w, old, func() {})
	now := &doorkeeper{}
	now.serve(t, h, "guard")
	if w.decider || p.gen.Load() == old[0].gen {
		t.Fatal("the test is pointless")
	}
	if !w.start() || now.asked != 1 || w.request.Result.Undecided || w.request.Result.Code != packet.NotAuthorized {
		t.Errorf("after a change: %+v, asked %d times", w.request.Result, now.asked)
	}
}

// A plugin that is no more there cannot say yes: its failure policy stands.
func TestOnlyRefusesFailing(t *testing.T) {
	for policy, want := range map[pluginv1.FailurePolicy]bool{
		pluginv1.FailurePolicyDefault: false, pluginv1.FailurePolicyDeny: false, pluginv1.FailurePolicyContinue: true,
	} {
		h, _ := newTestHost(t)
		d := &doorkeeper{onlyRefuses: true, failure: policy}
		serve(t, h, "p", newFake(func(*pluginv1.Batch, *pluginv1.Answer, func(error)) (bool, error) {
			return true, errors.New("broken")
		}), false, d.manifest())
		if res := authenticate(h, someone()); res.Undecided != want || !want && res.Code != packet.ImplementationSpecificError {
			t.Errorf("%s: %+v", policy, res)
		}
		closeHost(t, h)
	}
}

func TestOnlyRefusesInManifests(t *testing.T) {
	hook := func(p pluginv1.Point, only bool) []pluginv1.Hook {
		return []pluginv1.Hook{{Point: p, OnlyRefuses: only}}
	}
	for p := pluginv1.PointAuthenticate; p <= pluginv1.PointTick; p++ {
		if p.Mode() == 0 {
			continue
		}
		err := checkManifest(&pluginv1.Manifest{Name: "p", Hooks: hook(p, true)}, Builtin)
		if p == pluginv1.PointAuthenticate && err != nil {
			t.Error(err)
		}
		if p != pluginv1.PointAuthenticate && (err == nil || !strings.Contains(err.Error(), "hook "+pointName(p)+": only_refuses")) {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, c := range []struct{ manifest, narrowed, ok bool }{{false, false, true}, {false, true, true}, {true, true, true}, {true, false, false}} {
		m := &pluginv1.Manifest{Name: "p", Hooks: hook(pluginv1.PointAuthenticate, c.manifest)}
		err := narrowedWithin(&pluginv1.Narrowed{Hooks: hook(pluginv1.PointAuthenticate, c.narrowed)}, m, false)
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "authenticate: it has only_refuses") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	b := &pluginv1.Batch{Point: pluginv1.PointAuthenticate, Events: []pluginv1.Event{{Authentication: new(pluginv1.Authentication)}}}
	a := &pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Action: pluginv1.ActionAllow}}}
	for only, ok := range map[bool]bool{true: false, false: true} {
		if err := CheckAnswer(&pluginv1.Hook{Point: b.Point, OnlyRefuses: only}, b, a); (err == nil) != ok {
			t.Errorf("only_refuses %v: %v", only, err)
		}
	}
}
