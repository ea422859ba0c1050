package main_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// waitDeadline is that of the hooks that fail here.
const waitDeadline = 400 * time.Millisecond

// implementationSpecific is what Paho says of a PUBACK with 0x83.
const implementationSpecific = "is not willing to accept it"

// TestPluginFaultsWhereClientsWait: a plugin that fails to say who a client is, or that a
// message is safe, is answered for in time, by a refusal; the others go on, and when it
// does right again it is asked again.
func TestPluginFaultsWhereClientsWait(t *testing.T) {
	t.Parallel()
	built := plugins(t)
	var faults []fault
	var yaml strings.Builder
	yaml.WriteString(oneListener + "plugins:\n")
	for _, r := range runtimes {
		words := []string{"panic", "fail", "hang"}
		if r.runtime != pluginhost.Builtin {
			words = append(words, "exit", "eat", "spin")
		}
		for _, word := range words {
			f := fault{runtime: r.runtime, letter: r.letter, word: word}
			faults = append(faults, f)
			yaml.WriteString(built.entry(f.name(), f.runtime, fmt.Sprintf(
				"config: {only: %s}, hooks: {authenticate: {deadline: %v}, gate_publish: {deadline: %v}}", f.name(), waitDeadline, waitDeadline)))
		}
	}
	b := startWithPlugins(t, yaml.String(), nil)
	for _, f := range faults {
		// One after the other: who fails refuses all.
		w := waiting{b, f}
		if err := errors.Join(w.authenticate(), w.gate()); err != nil {
			t.Errorf("%s: %v", f.name(), err)
		}
	}
	for _, f := range faults {
		i, _ := b.plugin(f.name())
		for _, h := range i.Hooks {
			if (h.Point == "authenticate" || h.Point == "gate_publish") && (h.Policy == 0 || h.Failure != "deny") {
				t.Errorf("%s: %+v", f.name(), h)
			}
		}
		if i.State != "serving" || f.runtime == pluginhost.Process && (f.word == "exit" || f.word == "eat") && i.Restarts == 0 {
			t.Errorf("%+v", i)
		}
		// They would spin on.
		if f.runtime == pluginhost.Process && f.word == "spin" {
			killPlugin(t, b, f.name())
		}
	}
}

// waiting is a client that waits for a plugin that fails.
type waiting struct {
	b     *broker
	fault fault
}

// connect logs in as the user that the plugin is told a word by.
func (w waiting) connect(word string) (*client5, error) {
	return connect5(w.b.target("tcp", nil), w.fault.name()+"-"+word, as(w.fault.name()+"/"+word, "x"))
}

// authenticate provokes the fault with a login, and then is let in.
func (w waiting) authenticate() error {
	for range 2 {
		began := time.Now()
		c, err := w.connect(w.fault.word)
		var code refused
		switch {
		case err == nil:
			c.close()
			return errors.New("is let in by a plugin that has failed")
		case !errors.As(err, &code):
			return err
		case time.Since(began) > waitDeadline+slack:
			return fmt.Errorf("refused after %v", time.Since(began))
		case code != 0x83 && code != 0x88: // Implementation specific error, Server unavailable
			return fmt.Errorf("login: %w", err)
		}
	}
	return w.within("a login", func() error {
		c, err := w.connect("me")
		if err == nil {
			c.close()
		}
		return err
	})
}

// gate provokes the fault with messages, and then gets one through.
func (w waiting) gate() error {
	topic := "gate/" + w.fault.name() + "/"
	for range 2 {
		err := w.connected(func(c *client5) error {
			began := time.Now()
			err := c.publish(topic+w.fault.word, 1, "x")
			switch took := time.Since(began); {
			case err == nil:
				return errors.New("a message is acknowledged that the gate has not let through")
			case !strings.Contains(err.Error(), implementationSpecific) || took > waitDeadline+slack:
				return fmt.Errorf("after %v: %w", took, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// On another connection: the policy goes on answering for one about whose messages
	// a program thinks for ever.
	return w.within("a message", func() error {
		return w.connected(func(c *client5) error { return c.publish(topic+"fine", 1, "x") })
	})
}

// connected calls do with a client that was let in.
func (w waiting) connected(do func(*client5) error) error {
	var c *client5
	err := w.within("a login", func() (err error) {
		c, err = w.connect("me")
		return err
	})
	if err != nil {
		return err
	}
	defer c.close()
	return do(c)
}

// within tries until it succeeds.
func (w waiting) within(what string, try func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not succeed again: %w", what, err)
		}
	}
}
