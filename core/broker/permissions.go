package broker

import "github.com/patchbay-mq/patchbay/core/access"

// given are permissions on their way to a connection.
type given struct{ permissions *access.Permissions }

func (pl plugins) SetPermissions(namespace, clientID string, connection uint64, p *access.Permissions) bool {
	n := pl.b.findNamespace(namespace)
	if n == nil {
		return false
	}
	s := n.lookup(clientID)
	if s == nil {
		return false
	}
	c, ok := s.Link().(*conn)
	if !ok || c.number != connection {
		return false
	}
	c.given.Store(&given{p})
	c.signal(wakePermissions)
	return true
}

// takePermissions takes over what SetPermissions has brought.
func (c *conn) takePermissions() {
	g := c.given.Swap(nil)
	if g == nil || c.sess == nil {
		return
	}
	next := *c.client
	next.Permissions, next.Permitted = g.permissions, true
	c.client = &next
	c.obey(g.permissions)
	c.sess.Client.Store(c.client)
}
