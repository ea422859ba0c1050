package folder

import (
	"context"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// Options say what to watch, and for whom.
type Options struct {
	// Dir is the folder. It need not be there yet.
	Dir string
	// Settings reads the file NAME.yaml for a program or a module. Name, Source,
	// Runtime and Path of the Spec are not its to set.
	Settings func(file string, program bool) (pluginhost.Spec, error)
	// Changed gets all plugins of the folder, by name, and what cannot be one, by name
	// as well; a name in both is a plugin whose change is refused. DirProblem is the
	// name of the folder itself. It is called for each change, once at a time. ctx ends with Close.
	Changed func(ctx context.Context, plugins []pluginhost.Spec, problems map[string]error)
	// Interval between two looks; 0 stands for 500 ms.
	Interval time.Duration
}

// DirProblem stands for the folder itself among the problems. No plugin has this name.
const DirProblem = "plugin_dir"

const defaultInterval = 500 * time.Millisecond

// Watcher watches a folder. Its methods are safe for concurrent use.
type Watcher struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Start looks into the folder, tells Changed what is there (what has been written to
// in the last seconds comes later), and goes on watching.
func Start(o Options) *Watcher {
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{cancel: cancel}
	l := newLooker(&o)
	look := func() {
		if l.look(time.Now()) {
			plugins, problems := l.list()
			o.Changed(ctx, plugins, problems)
		}
	}
	look()
	w.done.Go(func() {
		tick := time.NewTicker(o.Interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				look()
			}
		}
	})
	return w
}

// Close ends the watching, and waits for a call of Changed that is under way.
func (w *Watcher) Close() {
	w.cancel()
	w.done.Wait()
}
