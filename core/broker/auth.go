package broker

import (
	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// authExchange is an authentication that goes on, or has been done by AUTH
// packets (MQTT 5 §4.12).
type authExchange struct {
	connect *packet.Connect
	method  string
	request hook.AuthRequest
	life    clock.Timer // ends the connection when the credentials do
}

// authenticate asks the host who the client is; without one, listeners that
// allow anonymous clients take all.
func (c *conn) authenticate(p *transport.Pass, pkt *packet.Connect) error {
	if !c.b.hooks.Wants(hook.Authenticate) {
		return c.undecided(p, pkt, &hook.AuthResult{})
	}
	c.asked = true
	method := pkt.Props.AuthMethod
	c.auth = &authExchange{connect: pkt, method: method}
	c.auth.request = hook.AuthRequest{Client: c.client, Connect: pkt, Method: method, Data: pkt.Props.AuthData}
	c.askHost(p)
	return nil
}

// undecided lets a client in, or not, about whom nobody has an opinion.
func (c *conn) undecided(p *transport.Pass, pkt *packet.Connect, r *hook.AuthResult) error {
	switch {
	case pkt.Props.Has(packet.PropAuthenticationMethod):
		return c.unauthenticated(packet.BadAuthenticationMethod, "") // [MQTT-4.12.0-1]
	case !c.lst.AllowAnonymous:
		return c.unauthenticated(packet.NotAuthorized, "")
	}
	return c.establish(p, pkt, &hook.AuthResult{Accept: true, Permissions: r.Permissions, Permitted: r.Permitted})
}

// unauthenticated tells of a client that is refused, and returns the error for it.
func (c *conn) unauthenticated(code packet.ReasonCode, reason string) error {
	c.b.stats.AuthFailures.Add(1)
	c.b.event(hook.Event{Point: hook.AuthFailed, Client: c.client, Code: code, Reason: reason})
	c.b.log.Warn("authentication failed", "client", c.client.ID, "username", c.client.Username, "remote", c.RemoteAddr(),
		"code", code.String(), "reason", reason)
	return refuse(code, reason)
}

// askHost hands the present step of the exchange to the host.
func (c *conn) askHost(p *transport.Pass) {
	if c.state != connected {
		c.state = deciding
	}
	r := &c.auth.request
	r.Result = hook.AuthResult{}
	c.await(p, func(done func()) bool { return c.b.hooks.Host().Authenticate(r, done) }, func(p *transport.Pass) {
		if err := c.authAnswer(p); err != nil {
			c.fail(err)
		}
	})
}

// authAnswer acts on the host's answer.
func (c *conn) authAnswer(p *transport.Pass) error {
	r := &c.auth.request
	res := &r.Result
	switch {
	case res.Accept && r.Reauthenticate:
		return c.reauthenticated(p, res)
	case res.Accept:
		err := c.establish(p, c.auth.connect, res)
		c.auth.connect.Password = nil // not kept longer than it takes
		if c.auth.method == "" && err == nil && res.ExpiresAt == 0 {
			c.auth = nil
		}
		return err
	case res.Code == packet.ContinueAuthentication && r.Method != "":
		if !r.Reauthenticate {
			c.state = awaitAuth
		}
		return c.sendAuth(p, packet.ContinueAuthentication, res.AuthData)
	case res.Undecided && res.Code == packet.Success:
		pkt := c.auth.connect
		if !r.Reauthenticate {
			c.auth = nil
		}
		return c.undecided(p, pkt, res)
	}
	return c.unauthenticated(errorCode(res.Code, packet.NotAuthorized), res.Reason)
}

func (c *conn) sendAuth(p *transport.Pass, code packet.ReasonCode, data []byte) error {
	a := packet.Auth{Code: code}
	a.Props.SetAuthMethod(c.auth.method)
	if data != nil {
		a.Props.SetAuthData(data)
	}
	return c.reply(p, packet.TypeAuth, &a)
}

// handleAuth goes on with the exchange that CONNECT began.
func (c *conn) handleAuth(p *transport.Pass, body []byte) error {
	a, err := c.decodeAuth(body)
	if err != nil {
		return err
	}
	if a.Code != packet.ContinueAuthentication {
		return refuse(packet.ProtocolError, "expected AUTH with Continue authentication [MQTT-4.12.0-3]")
	}
	c.nextStep(p, a)
	return nil
}

func (c *conn) decodeAuth(body []byte) (*packet.Auth, error) {
	if c.version != packet.V5 {
		return nil, refuse(packet.ProtocolError, "AUTH is of MQTT 5")
	}
	a := new(packet.Auth)
	if err := a.Decode(c.version, body); err != nil {
		return nil, err
	}
	if c.auth == nil || c.auth.method == "" || a.Props.AuthMethod != c.auth.method {
		// [MQTT-4.12.0-5], [MQTT-4.12.1-1]
		return nil, refuse(packet.ProtocolError, "the Authentication Method is not that of CONNECT")
	}
	return a, nil
}

func (c *conn) nextStep(p *transport.Pass, a *packet.Auth) {
	c.auth.request.Step++
	c.auth.request.Data = a.Props.AuthData
	c.askHost(p)
}

// handleReauth is AUTH on an open connection (MQTT 5 §4.12.1).
func (c *conn) handleReauth(p *transport.Pass, body []byte) error {
	a, err := c.decodeAuth(body)
	if err != nil {
		return err
	}
	r := &c.auth.request
	switch {
	case a.Code == packet.ReAuthenticate:
		*r = hook.AuthRequest{Client: c.client, Connect: c.auth.connect, Method: c.auth.method, Reauthenticate: true, Step: -1}
	case a.Code != packet.ContinueAuthentication || !r.Reauthenticate || r.Result.Code != packet.ContinueAuthentication:
		return refuse(packet.ProtocolError, "no re-authentication goes on")
	}
	c.nextStep(p, a)
	return nil
}

// reauthenticated takes over the new permissions and tells the client.
func (c *conn) reauthenticated(p *transport.Pass, res *hook.AuthResult) error {
	next := *c.client
	next.Permissions, next.Permitted = res.Permissions, res.Permitted
	if res.Attributes != nil {
		next.Attributes = res.Attributes
	}
	c.client = &next
	c.obey(res.Permissions)
	c.setQuotas(res.Quotas)
	c.sess.SetQuota(c.sessionQuota())
	c.sess.Client.Store(c.client)
	c.limitLife(res.ExpiresAt)
	data := res.AuthData
	res.Code = packet.Success
	return c.sendAuth(p, packet.Success, data)
}

// limitLife ends the connection when the client's credentials end; 0 is never.
func (c *conn) limitLife(at int64) {
	if c.auth == nil {
		return
	}
	c.b.clock.Disarm(&c.auth.life)
	if at == 0 {
		return
	}
	if c.auth.life.Fire == nil {
		c.auth.life.Fire = func(int64) { c.disconnect(packet.NotAuthorized, "the credentials have expired") }
	}
	c.b.clock.Arm(&c.auth.life, at)
}
