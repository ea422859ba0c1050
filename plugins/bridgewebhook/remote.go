package bridgewebhook

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// remotes are the servers of a config, each with what is known of it. What has not been
// asked yet is held to answer. It is safe for concurrent use.
type remotes struct {
	log   *sdk.Logger
	mu    sync.Mutex
	known []*remote
}

type remote struct {
	owner *remotes
	bridge.Remote
}

// at returns the server of a URL that is scheme://host/….
func (r *remotes) at(url string) *remote {
	scheme, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.known {
		if x.Address == scheme+"://"+rest {
			return x
		}
	}
	x := &remote{owner: r, Remote: bridge.Remote{Name: rest, Address: scheme + "://" + rest, Connected: true, Since: time.Now()}}
	r.known = append(r.known, x)
	return x
}

// list is bridge.Options.Remotes.
func (r *remotes) list() []bridge.Remote {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]bridge.Remote, 0, len(r.known))
	for _, x := range r.known {
		out = append(out, x.Remote)
	}
	slices.SortFunc(out, func(a, b bridge.Remote) int { return strings.Compare(a.Address, b.Address) })
	return out
}

// answers notes that the server works, or why it does not, and tells the log once.
func (x *remote) answers(err error) {
	x.owner.mu.Lock()
	defer x.owner.mu.Unlock()
	was := x.Connected
	x.Connected, x.Error = err == nil, ""
	if err != nil {
		x.Error = err.Error()
	}
	if was == x.Connected {
		return
	}
	x.Since = time.Now()
	if err != nil {
		x.owner.log.Warn("a server does not take messages; they wait", "server", x.Address, "error", err)
	} else {
		x.owner.log.Info("a server takes messages again", "server", x.Address)
	}
}
