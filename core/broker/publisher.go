package broker

import (
	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/store"
)

// publisher is what a connection keeps that has published, and that would be a third of what one
// costs that only receives, or does nothing. It belongs to the executor.
type publisher struct {
	last    router.Last  // where its last message went
	allowed lastDecision // whether that was allowed
	aliases [][]byte     // by Topic Alias - 1, from the client
	acks    ackQueue     // safe for concurrent use
	// answers are what hosts have said of topics; also of those that it subscribes to.
	answers   map[question]answer
	answersOf uint64       // their epoch, see Broker.answers
	route     *store.Route // see source.route
}

func (c *conn) publisher() *publisher {
	if c.out == nil {
		c.out = new(publisher)
	}
	return c.out
}

// obey puts permissions into force; what was decided before is forgotten.
func (c *conn) obey(p *access.Permissions) {
	c.perms = p
	if c.out != nil {
		c.out.allowed, c.out.answers = lastDecision{}, nil
	}
}
