//go:build !windows

package main_test

import (
	"strings"
	"syscall"
	"testing"
)

// TestSilentAccessPlugins: a plugin that hangs lets nobody in, which clients are told with
// the code of an error, until it is itself again.
func TestSilentAccessPlugins(t *testing.T) {
	t.Parallel()
	w := newAccessWorld(t)
	for _, g := range gates(t, w) {
		if g.stopped == "" {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			how := "runtime: process\n\t  hooks: {" + g.point + ": {deadline: 500ms}}"
			// Only the first is stopped; others of the gate stay as they are.
			b := w.startGate(t, strings.ReplaceAll(strings.Replace(g.plugins, "HOW", how, 1), "HOW", ""))
			all := doors(g.rights.cert != nil)
			for _, d := range all {
				b.awaitIn(t, w, d, g.rights, 0)
			}
			pids := map[int]bool{}
			stop := func() {
				if i, _ := b.pluginNow(g.stopped); i.PID != 0 {
					pids[i.PID] = true
					_ = syscall.Kill(i.PID, syscall.SIGSTOP) // it may have ended by itself
				}
			}
			for _, d := range all {
				want := byte(0x83)
				switch {
				case g.open:
					want = 0
				case d.version != "5":
					want = 3
				}
				// A plugin that hangs is ended and started again, and then has to be stopped again.
				eventually(t, patience, func() bool {
					stop()
					c, code := w.enter(t, b, d, g.rights)
					if c != nil {
						c.close()
					}
					return code == want
				}, "%s: CONNACK with 0x%02X", d.id(), want)
			}
			if len(pids) == 0 {
				t.Error("there was nothing to stop")
			}
			for pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGCONT) // the same
			}
			for _, d := range all {
				b.awaitIn(t, w, d, g.rights, 0)
			}
		})
	}
}
