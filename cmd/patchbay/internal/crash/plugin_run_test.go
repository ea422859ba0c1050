package crash

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// pluginRun is a run of a broker with the recorder, in which the recorder is killed as
// often as the broker is.
type pluginRun struct {
	*run
	hosting *hosting
	inquest *inquest
	records []*record
	most    int // kills
}

// newPluginRun makes a run without accounts for what the recorder gets.
func newPluginRun(h *hosting, c pluginCast, seed uint64) *pluginRun {
	l := newLedger()
	r := &pluginRun{run: newRunOf(h, l, seed), hosting: h}
	r.cast = c.assemble(l, seed) // publishers come first: their number is in the topics
	r.inquest = newInquest(l)
	r.checker = l.enter("checker", "MQTT 5.0, looks at retained messages")
	l.witness, l.refuses = r.read, true
	r.mischief = r.wilderness
	return r
}

// newGateRun makes one in which nothing may be acknowledged that is not in the file.
func newGateRun(h *hosting, seed uint64) *pluginRun {
	r := newPluginRun(h, gateCast, seed)
	who := r.ledger.enter("recorder", "the plugin's gate")
	a := r.ledger.hosts("the gate's file", "gate/", nil)
	a.early = true
	r.follow("gate.log", func(line string) { r.inquest.recorded(who, a, line) })
	r.cast.guests = []*account{a}
	return r
}

// newConsumerRun makes one in which the consumer has to get everything.
func newConsumerRun(h *hosting, seed uint64) *pluginRun {
	r := newPluginRun(h, consumerCast, seed)
	l, q := r.ledger, r.inquest
	who := l.enter("recorder", "the plugin's consumer")
	q.queue = l.hosts("the consumer's file", "consume/", isHealthy)
	q.dead = l.hosts("the dead letters", "consume/", isPoison)
	r.follow("queue.log", func(line string) { q.recorded(who, q.queue, line) })
	r.follow("attempts.log", func(line string) { q.attempted(who, line) })
	r.cast.guests = []*account{q.queue, q.dead}
	// A message that its publisher has sent twice is there twice: what is owed has come with
	// the one, while the other may have attempts left.
	r.finish = func() error { return r.shown(0) }
	r.cast.mourner = &mourner{
		client:  client{l: l, who: l.enter("mourner", "MQTT 5.0, QoS 1, dead letters"), version: packet.V5},
		inquest: q, witness: r.read,
	}
	return r
}

func (r *pluginRun) follow(name string, enter func(string)) {
	r.records = append(r.records, &record{name: filepath.Join(r.hosting.dir, name), enter: enter})
}

func (r *pluginRun) read() {
	for _, x := range r.records {
		x.read()
	}
}

func (r *pluginRun) close() {
	for _, x := range r.records {
		x.close()
	}
}

// execute is that of a run, with kills of both.
func (r *pluginRun) execute(kills int) error {
	r.most = kills
	for r.kills < kills {
		life := r.life
		if r.kills > 0 {
			switch r.rng.IntN(12) {
			case 0:
				life = r.stillborn
			case 1:
				life = r.miscarriage
			}
		}
		err := life()
		r.read()
		r.kills++
		r.inquest.upset(true)
		if err == nil && len(r.ledger.broken()) > 0 {
			err = errViolated
		}
		if err != nil {
			return err
		}
	}
	if err := r.lastLife(maxLife); err != nil {
		return err
	}
	return r.rest()
}

// rest ends a run: what was acknowledged before an orderly end does not come again.
func (r *pluginRun) rest() error {
	r.read()
	r.inquest.end()
	err := r.lastLife(0)
	r.read()
	switch {
	case err != nil:
		return err
	case len(r.ledger.broken()) > 0:
		return errViolated
	case r.hosting.orphans > 0:
		return fmt.Errorf("%d times a plugin has outlived its broker by %v", r.hosting.orphans, orphanTime)
	}
	return nil
}

// wilderness is what happens before the broker is killed: the plugin is killed now and
// then, at work or as soon as it is there again, and has to come back by itself.
func (r *pluginRun) wilderness(st *stage) error {
	r.upTo(maxLife / 2)
	for n := 0; n < maxPluginKills && r.kills+1 < r.most && r.rng.IntN(5) < 3; n++ {
		g := r.hosting.door.await(r.program.ended())
		if g == nil {
			return fmt.Errorf("the broker does not start its plugin again:\n%s", r.hosting.tail())
		}
		if r.rng.IntN(4) == 0 {
			r.letBe(time.Duration(r.rng.Int64N(int64(60 * time.Millisecond)))) // it may be starting
		}
		r.inquest.upsetting()
		g.kill()
		r.kills++
		r.inquest.upset(false)
		r.ledger.remark(r.checker, "the plugin was killed")
		if r.rng.IntN(3) == 0 {
			st.wild.Store(false)
			if err := r.settle(st); err != nil {
				return err
			}
			st.wild.Store(true)
		}
		r.upTo(maxLife / 2)
	}
	return nil
}

// maxPluginKills is how often the plugin is killed in one life of the broker, which
// waits longer from time to time before it starts it again.
const maxPluginKills = 4

// upTo lets clients and broker do as they like for some time.
func (r *pluginRun) upTo(most time.Duration) {
	r.letBe(minLife + time.Duration(r.rng.Int64N(int64(most))))
}

// miscarriage kills the plugin while the broker starts. Without a plugin that it must
// have, the broker does not serve: it ends, with the status for that, or tries again.
func (r *pluginRun) miscarriage() error {
	r.ledger.advance()
	if err := r.program.launch(); err != nil {
		return err
	}
	r.here = r.here[:0]
	g := r.hosting.door.await(r.program.ended())
	if g == nil {
		return fmt.Errorf("the broker does not start its plugin: %s", r.program.ending())
	}
	r.letBe(time.Duration(r.rng.Int64N(int64(100 * time.Millisecond))))
	r.inquest.upsetting()
	g.kill()
	r.kills++
	r.inquest.upset(false)
	select {
	case <-r.program.ended():
		if code := r.hosting.cmd.ProcessState.ExitCode(); code != 2 {
			return fmt.Errorf("the broker ended with status %d after its plugin was killed: %s", code, r.program.ending())
		}
		r.hosting.kill() // what is left of it
		return nil
	case <-r.hosting.ready:
		return r.kill(newStage(""))
	case <-time.After(patience):
		return errors.New("the broker neither starts nor ends after its plugin was killed")
	}
}
