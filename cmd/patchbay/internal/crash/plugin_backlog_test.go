package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// backlog is a life in which the consumer is held up, killed and disabled, with a look
// at what the broker says of it each time.
func (r *pluginRun) backlog(t *testing.T) error {
	for _, p := range r.cast.publishers {
		// Each message is to be in the queue once.
		p.spoils, p.leaves, p.patience = 0, false, 0
	}
	st, err := r.begin()
	if err != nil {
		return err
	}
	defer r.program.close()
	r.here = r.cast.subscribers
	if err := r.admit(st); err != nil {
		return err
	}
	if err := r.settle(st); err != nil {
		return err
	}
	if err := r.shown(0); err != nil {
		return err
	}
	hold := filepath.Join(r.hosting.dir, "hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		return err
	}
	r.publishSome(st)
	held := r.ledger.owed(r.inquest.queue)
	if held < 20 {
		return fmt.Errorf("only %d messages wait", held)
	}
	if err := r.shown(held); err != nil {
		return fmt.Errorf("while the consumer is held up: %w", err)
	}
	r.hosting.door.present().kill()
	if err := r.shown(held); err != nil {
		return fmt.Errorf("after a kill of the plugin: %w", err)
	}
	if err := r.operator("disable"); err != nil {
		return err
	}
	r.publishSome(st)
	more := r.ledger.owed(r.inquest.queue)
	if more <= held {
		return errors.New("nothing came while the plugin was disabled")
	}
	if err := r.shown(more); err != nil {
		return fmt.Errorf("while the plugin is disabled: %w", err)
	}
	if err := os.Remove(hold); err != nil {
		return err
	}
	if err := r.operator("enable"); err != nil {
		return err
	}
	if err := r.settle(st); err != nil {
		return err
	}
	if err := r.shown(0); err != nil {
		return fmt.Errorf("in the end: %w", err)
	}
	close(st.leave)
	r.wg.Wait()
	t.Logf("%d messages waited for the consumer that was held up, %d for the disabled plugin, none in the end", held, more)
	if len(r.ledger.broken()) > 0 {
		return errViolated
	}
	return r.program.stop()
}

// publishSome is traffic for a time, and the wait for all acknowledgements.
func (r *pluginRun) publishSome(st *stage) {
	st.wild.Store(true)
	r.letBe(200 * time.Millisecond)
	st.wild.Store(false)
	late := time.Now().Add(patience)
	for _, p := range r.cast.publishers {
		for !p.settled.Load() && time.Now().Before(late) {
			time.Sleep(time.Millisecond)
		}
	}
	r.read()
}

// operator runs `patchbay plugin disable` and the like.
func (r *pluginRun) operator(what string) error {
	cmd := exec.Command(r.hosting.binary, "plugin", what, "recorder", "--config", "broker.yaml")
	cmd.Dir, cmd.Env = r.hosting.dir, cleanEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("patchbay plugin %s: %w: %s", what, err, out)
	}
	return nil
}

// shown waits until `patchbay plugin list --json` and /metrics both say that so many
// messages wait for the consumer.
func (r *pluginRun) shown(want int) error {
	late := time.Now().Add(patience / 2)
	for {
		l, err := r.hosting.list()
		if err != nil {
			return err
		}
		listed := -1
		if len(l.Consumers) == 1 {
			listed = l.Consumers[0].Backlog
		}
		metric, err := r.hosting.metric("patchbay_plugins_consumer_backlog")
		if err == nil && listed == want && metric == float64(want) {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("plugin list shows a backlog of %d, /metrics of %v (%v), there are %d; the plugin: %+v", listed, metric, err, want, l)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
