package process

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

// attachedPoll is how often it is looked whether a process that is not a child of the broker is still there.
const attachedPoll = 500 * time.Millisecond

// attached is a process that somebody else has started. It is never killed.
type attached struct {
	process int
	exited  chan struct{}
	left    chan struct{}
	once    sync.Once
}

var _ runner.AttachedRunner = (*attached)(nil)

func newAttached(pid int) *attached {
	a := &attached{process: pid, exited: make(chan struct{}), left: make(chan struct{})}
	go a.watch()
	return a
}

func (a *attached) watch() {
	t := time.NewTicker(attachedPoll)
	defer t.Stop()
	for runs(a.process) {
		select {
		case <-t.C:
		case <-a.left:
			return
		}
	}
	close(a.exited)
}

// leave ends what waits for the process.
func (a *attached) leave() { a.once.Do(func() { close(a.left) }) }

// Wait implements runner.AttachedRunner.
func (a *attached) Wait(context.Context) error {
	select {
	case <-a.exited:
	case <-a.left:
	}
	return nil
}

// Kill implements runner.AttachedRunner.
func (a *attached) Kill(context.Context) error { return nil }

// ID implements runner.AttachedRunner.
func (a *attached) ID() string { return strconv.Itoa(a.process) }

// PluginToHost implements runner.AttachedRunner.
func (a *attached) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.AttachedRunner.
func (a *attached) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
