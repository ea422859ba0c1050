package bridgetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// Kills is the flag -chaos.kills, for tests whose length it is to say too.
func Kills() int { return *chaosKills }

// Load is what puts messages on a bridge: a Publisher, or a producer of the other side for what
// comes from there. Both tell the Ledger.
type Load interface {
	// Stop has nothing new published.
	Stop()
	// Waiting is how many messages have no answer yet.
	Waiting() int
}

// Chaos is a run in which everything fails that can.
type Chaos struct {
	// Here is the broker with the bridge. It and its plugins' processes are killed.
	Here *Broker
	// There is the other side; nil if that is not to be killed.
	There Victim
	// Network is between them; nil if it does not fail.
	Network *Proxy
	// Ledger and Load are what is published and acknowledged. The Load has begun.
	Ledger *Ledger
	Load   Load
	// Arrived returns all that has arrived until now, in the order of arrival; what came
	// again may be in there again. An error says that the other side is not there just
	// now, and has it asked again.
	Arrived func(ctx context.Context) ([]Message, error)
	// Sure selects the keys of routes with ack: after_remote. Again and again Run
	// kills the broker and its plugins and sees to it that what is acknowledged of them is there
	// before they are back.
	Sure func(key string) bool
	// AtOnce says that Arrived, when it is called, has everything that the other side has
	// acknowledged before: then what is acknowledged of Sure is looked for at each moment.
	AtOnce bool
	// Kills is how often each is killed, and the network fails; 0 is the flag -chaos.kills.
	Kills int
	// Drain bounds how long it may take until everything is there when all is well again; 0
	// is 3 minutes.
	Drain time.Duration
}

// Figures are what a run has shown.
type Figures struct {
	Seed                        uint64
	Broker, Plugin, There       int // kills
	Again                       int // how often the broker was started again because its plugin was killed while it started
	Cut, HalfOpen, Slow         int // failures of the network
	Sent, Acknowledged, Refused int
	Arrived, Twice              int           // messages, and how many came again beside
	BrokerKiB, PluginKiB        int           // the most resident memory
	Sure                        int           // how often what is acknowledged of Sure was looked for
	Took, Drain                 time.Duration // of all; after the load until everything was there
}

func (f Figures) String() string {
	return fmt.Sprintf("kills: %d broker, %d plugin (%d while the broker started), %d other side; network: %d cut, %d half-open, %d at 1 KB/s; "+
		"messages: %d sent, %d acknowledged, %d refused, %d arrived, %d of them again; ack: after_remote looked at %d times; "+
		"memory at most: broker %.1f MiB, plugin %.1f MiB; %s, the rest was there %s after the load; -chaos.seed %d",
		f.Broker, f.Plugin, f.Again, f.There, f.Cut, f.HalfOpen, f.Slow, f.Sent, f.Acknowledged, f.Refused, f.Arrived+f.Twice, f.Twice, f.Sure,
		float64(f.BrokerKiB)/1024, float64(f.PluginKiB)/1024, f.Took.Round(100*time.Millisecond), f.Drain.Round(10*time.Millisecond), f.Seed)
}

// run is a Chaos at work.
type run struct {
	Chaos
	t   testing.TB
	rng *rand.Rand
	f   Figures
}

// Run kills and cuts, waits until everything that was acknowledged is there, and fails the test if
// anything is missing, out of order, or was acknowledged too early. It needs /proc.
func (c Chaos) Run(t testing.TB) Figures {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("plugins' processes are found in /proc, which is not here")
	}
	if c.Kills == 0 {
		c.Kills = *chaosKills
	}
	if c.Drain == 0 {
		c.Drain = 3 * time.Minute
	}
	r := &run{Chaos: c, t: t}
	if r.f.Seed = *chaosSeed; r.f.Seed == 0 {
		r.f.Seed = rand.Uint64()
	}
	r.rng = rand.New(rand.NewPCG(r.f.Seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("-chaos.seed %d: %+v", r.f.Seed, r.f)
		}
	}()
	began := time.Now()
	r.fail()
	r.drain()
	r.f.Took = time.Since(began)
	return r.f
}

// The things that fail.
const (
	theBroker = iota
	thePlugin
	theOther
	theNetwork
)

// fail has each thing fail as often as it shall, in an order by chance.
func (r *run) fail() {
	var todo []int
	for range r.Kills {
		todo = append(todo, theBroker, thePlugin)
		if r.There != nil {
			todo = append(todo, theOther)
		}
		if r.Network != nil {
			todo = append(todo, theNetwork)
		}
	}
	r.rng.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	r.progress() // so that there is something to lose
	for n, what := range todo {
		// What the network has lasts for one or two of what follows.
		if r.Network != nil && r.rng.IntN(2) == 0 {
			r.heal()
		}
		switch what {
		case theBroker:
			r.killBroker()
		case thePlugin:
			r.killPlugin()
		case theOther:
			r.f.There++
			r.There.Kill()
			r.There.Start()
		case theNetwork:
			r.failNetwork()
		}
		r.progress()
		if r.AtOnce {
			r.sure()
		}
		if (n+1)%20 == 0 {
			sent, acknowledged, refused := r.Ledger.Counts()
			r.t.Logf("%d of %d failures; %d messages sent, %d acknowledged, %d refused", n+1, len(todo), sent, acknowledged, refused)
		}
	}
	if r.Network != nil {
		r.heal()
	}
}

// progress waits a while: until some more is acknowledged, or, since what has failed may keep
// that from happening, for some seconds. Memory is measured.
func (r *run) progress() {
	_, before, _ := r.Ledger.Counts()
	want := before + 1 + r.rng.IntN(200)
	until := time.Now().Add(time.Duration(500+r.rng.IntN(2500)) * time.Millisecond)
	for time.Now().Before(until) {
		if _, now, _ := r.Ledger.Counts(); now >= want {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.Here.measure()
}

// killBroker kills the broker: every other time its plugins with it, since those
// live on for a moment. Then nothing can come any more, and what was
// acknowledged of Sure has to be there.
func (r *run) killBroker() {
	r.f.Broker++
	alone := r.f.Broker%2 == 0
	var children []int
	if !alone {
		children = r.Here.Children()
	}
	r.Here.Kill()
	if !alone {
		for _, pid := range children {
			kill(pid)
		}
		if r.Sure != nil {
			r.sure()
		}
	}
	r.Here.Start()
}

// killPlugin kills the plugins' processes, which may have to be waited for.
func (r *run) killPlugin() {
	if r.Here.optional {
		r.Here.AwaitReady()
	}
	for until := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) {
		if r.Here.KillChildren() > 0 {
			r.f.Plugin++
			return
		}
		if time.Now().After(until) {
			r.t.Fatalf("the broker has started no plugin within %s: is it one with `runtime: process`?", Patience)
		}
	}
}

// failNetwork has the network fail in one of its ways, in turn.
func (r *run) failNetwork() {
	switch (r.f.Cut + r.f.HalfOpen + r.f.Slow) % 3 {
	case 0:
		r.f.Cut++
		r.Network.Cut()
	case 1:
		r.f.HalfOpen++
		r.Network.HalfOpen(true)
	case 2:
		r.f.Slow++
		r.Network.Slow(1024)
	}
}

// heal ends what the network has: half of the time what was held back is lost with its
// connections.
func (r *run) heal() {
	if r.rng.IntN(2) == 0 {
		r.Network.Cut()
	}
	r.Network.Heal()
}

// sure sees to it that what is acknowledged of Sure is there; at once, or soon, while nothing
// can come.
func (r *run) sure() {
	r.t.Helper()
	if r.Sure == nil {
		return
	}
	r.f.Sure++
	promises := r.Ledger.Promised(r.Sure)
	Eventually(r.t, "what was acknowledged with ack: after_remote is there", func() error {
		list, err := r.arrived()
		if err != nil {
			return err
		}
		promises.Keep(list)
		if len(promises) > 0 && r.AtOnce {
			r.t.Fatalf("acknowledged, and not there: %s", promises)
		}
		if len(promises) > 0 {
			return fmt.Errorf("missing: %s", promises)
		}
		return nil
	})
}

func (r *run) arrived() ([]Message, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), Patience)
	defer cancel()
	return r.Arrived(ctx)
}

// drain ends the load, and waits until everything is there.
func (r *run) drain() {
	r.t.Helper()
	r.Load.Stop()
	began := time.Now()
	var list []Message
	err := errors.New("nothing has been looked at")
	for ; err != nil; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > r.Drain {
			r.t.Fatalf("everything is there: not within %s: %v", r.Drain, err)
		}
		r.Here.measure()
		if n := r.Load.Waiting(); n > 0 {
			err = fmt.Errorf("%d messages have no answer", n)
			continue
		}
		promises := r.Ledger.Promised(nil)
		if list, err = r.arrived(); err != nil {
			continue
		}
		if promises.Keep(list); len(promises) > 0 {
			err = fmt.Errorf("missing: %s", promises)
		}
	}
	r.f.Drain = time.Since(began)
	var problems []string
	r.f.Twice, problems = r.Ledger.Check(list)
	r.f.Arrived = len(list) - r.f.Twice
	r.f.Sent, r.f.Acknowledged, r.f.Refused = r.Ledger.Counts()
	r.f.Again = r.Here.Again()
	r.f.BrokerKiB, r.f.PluginKiB = r.Here.memory.own, r.Here.memory.children
	for i, p := range problems {
		if i == 10 {
			r.t.Errorf("and %d more", len(problems)-i)
			break
		}
		r.t.Error(p)
	}
	if r.f.Acknowledged < r.f.Sent/2 {
		r.t.Errorf("%d of %d messages were acknowledged, which is no load", r.f.Acknowledged, r.f.Sent)
	}
}
