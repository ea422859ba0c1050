package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// handleConnect checks a CONNECT. What follows, authentication and all, begins
// when it has returned: a goroutine whose stack has grown for once keeps it.
func (c *conn) handleConnect(live *Live, h packet.Header, body []byte) error {
	pkt := connects.Get().(*packet.Connect)
	err := pkt.Decode(h, body)
	// Also an erroneous CONNECT has told its version, for the answer.
	c.version = pkt.Version
	if err != nil {
		return err
	}
	c.maxOut = pkt.Props.MaximumPacketSize
	c.noProblemInfo = pkt.Props.Has(packet.PropRequestProblemInformation) && pkt.Props.RequestProblemInfo == 0
	if err := c.checkConnect(live, pkt); err != nil {
		return err
	}
	if c.lst.IdentityAsUsername {
		if name := commonName(c.TLS()); name != "" {
			pkt.HasUsername, pkt.Username = true, name
		}
	}
	c.number = c.b.nextConnection.Add(1)
	c.client = &hook.Client{
		ID: pkt.ClientID, Username: pkt.Username, Namespace: c.lst.Namespace, Listener: c.lst.Transport.Name,
		Transport: c.Network(), Remote: c.RemoteAddr(), Version: pkt.Version, TLS: c.TLS(), CleanStart: pkt.CleanStart,
		KeepAlive: live.MQTT.keepAlive(pkt.KeepAlive), ConnectedAt: c.b.clock.Now(), Connection: c.number,
	}
	c.connecting = pkt
	return nil
}

// checkConnect refuses what the server does not offer.
func (c *conn) checkConnect(live *Live, pkt *packet.Connect) error {
	m := &live.MQTT
	switch {
	case c.b.stopping.Load():
		return refuse(packet.ServerShuttingDown, "")
	case live.Limits.MaxConnections > 0 && c.b.stats.Connected.Load() > int64(live.Limits.MaxConnections):
		c.b.stats.Refused.Add(1)
		c.b.limitReached(nil, "limits.max_connections")
		if m.ServerReference != "" {
			return refuse(packet.UseAnotherServer, "limits.max_connections is reached")
		}
		return refuse(packet.QuotaExceeded, "limits.max_connections is reached")
	case c.b.memory.above.Load():
		return refuse(packet.ServerBusy, "limits.memory is reached")
	case pkt.ClientID == "" && pkt.Version != packet.V5 && !pkt.CleanStart:
		return refuse(packet.ClientIdentifierNotValid, "[MQTT-3.1.3-8]")
	case pkt.ClientID == "" && (!m.AllowEmptyClientID || pkt.Version == packet.V31):
		return refuse(packet.ClientIdentifierNotValid, "a client identifier is required")
	case len(pkt.ClientID) > m.MaxClientIDLength:
		return refuse(packet.ClientIdentifierNotValid, "longer than mqtt.max_client_id_length")
	}
	if w := pkt.Will; w != nil {
		return c.checkWill(m, w)
	}
	return nil
}

func (c *conn) checkWill(m *MQTT, w *packet.Will) error {
	switch {
	case topic.ValidNameString(w.Topic) != nil || m.MaxTopicLevels > 0 && topic.Levels(w.Topic) > m.MaxTopicLevels || len(w.Topic) > m.MaxTopicLength:
		return refuse(packet.TopicNameInvalid, "will topic")
	case w.QoS > m.MaxQoS:
		return refuse(packet.QoSNotSupported, "will [MQTT-3.2.2-12]")
	case w.Retain && !m.RetainAvailable:
		return refuse(packet.RetainNotSupported, "will [MQTT-3.2.2-13]")
	case m.CheckPayloadFormat && w.Props.Has(packet.PropPayloadFormatIndicator) && w.Props.PayloadFormat == 1 && !packet.ValidPayloadFormat(w.Payload):
		return refuse(packet.PayloadFormatInvalid, "will")
	case reserved(w.Topic):
		return refuse(packet.NotAuthorized, "topics below $SYS are the server's own")
	}
	return nil
}

// refuseConnect answers a connection that will not get further than this.
func (c *conn) refuseConnect(code packet.ReasonCode, reason string) {
	switch {
	case c.version == 0:
		return // nothing intelligible came: no answer [MQTT-4.13.1-1]
	case c.version < packet.V5 && (code == packet.MalformedPacket || code == packet.ProtocolError || code == packet.PacketTooLarge):
		return // MQTT 3.1.1 knows no return code for these [MQTT-4.8.0-1]
	}
	ack := packet.Connack{Code: carried(packet.TypeConnack, code)}
	if reason != "" && !c.noProblemInfo {
		ack.Props.SetReasonString(reason)
	}
	if ref := c.b.live.Load().MQTT.ServerReference; ref != "" && (code == packet.UseAnotherServer || code == packet.ServerMoved) {
		ack.Props.SetServerReference(ref)
	}
	b, fits := c.encode(&ack)
	if !fits {
		ack.Props = packet.Properties{} // [MQTT-3.2.2-19]
		b, fits = c.encode(&ack)
	}
	if fits {
		c.Append(b)
		c.b.stats.PacketsSent[packet.TypeConnack].Add(1)
	}
}

// establish gives an authenticated client its session and sends CONNACK.
func (c *conn) establish(p *transport.Pass, pkt *packet.Connect, r *hook.AuthResult) error {
	live := c.b.live.Load()
	ack := packet.Connack{}
	c.identify(pkt, r, &ack)
	if w := pkt.Will; w != nil && !r.Permissions.MayPublish(w.Topic, w.QoS, w.Retain, c.b.clock.Now()) {
		return refuse(packet.NotAuthorized, "to publish the will")
	}
	if c.client.Namespace == queueNamespace {
		return refuse(packet.NotAuthorized, "the namespace is the server's own")
	}
	c.ns = c.b.namespace(c.client.Namespace)
	c.client.SessionExpiry = grantExpiry(live, pkt, r, &ack)
	c.grant(live, pkt, &ack)
	c.perms = r.Permissions
	c.setQuotas(r.Quotas)
	params := session.Params{
		Version: pkt.Version, ReceiveMaximum: pkt.Props.ReceiveMaximum, MaximumPacketSize: pkt.Props.MaximumPacketSize,
		TopicAliasMaximum: min(pkt.Props.TopicAliasMaximum, live.MQTT.OutboundTopicAliasMaximum),
		SessionExpiry:     c.client.SessionExpiry,
		Username:          c.client.Username,
		Quota:             c.sessionQuota(),
	}
	a := attachments.Get().(*attachment)
	*a = attachment{pkt: pkt, ack: ack, params: params, live: live, expiresAt: r.ExpiresAt}
	return c.attach(p, a)
}

// attachment is an authenticated client on its way to its session.
type attachment struct {
	pkt       *packet.Connect
	ack       packet.Connack
	params    session.Params
	live      *Live
	expiresAt int64 // of the credentials
	session   *session.Session
}

// What it takes to connect is used again: it is as large as what a connection keeps, and
// as garbage it would leave holes of that size between what many new ones keep.
var (
	connects    = sync.Pool{New: func() any { return new(packet.Connect) }}
	attachments = sync.Pool{New: func() any { return new(attachment) }}
)

// free gives back an attachment that has done its work.
func (c *conn) free(a *attachment) {
	if !c.asked {
		*a.pkt = packet.Connect{}
		connects.Put(a.pkt)
	}
	*a = attachment{}
	attachments.Put(a)
}

// attach claims the client's session. What the connection makes of it is stored
// before CONNACK says so.
func (c *conn) attach(p *transport.Pass, a *attachment) error {
	if old, s := c.ns.connection(c.client.ID); old != nil {
		c.takeOver(p, a, old, s)
		return nil
	}
	s, present, ended, err := c.b.claim(c.ns, c.client.ID, a.pkt.CleanStart)
	if err != nil {
		c.b.limitReached(c.client, "session.max_sessions")
		return err
	}
	if ended != nil {
		c.b.endSession(p, c.ns, ended, sessionReplaced)
	}
	if !present && a.params.SessionExpiry > 0 && c.b.store.Full() {
		c.b.forget(c.ns, s)
		return refuse(packet.QuotaExceeded, "there is no room to store the session")
	}
	a.session, a.ack.SessionPresent = s, present
	var fits bool
	if a.params.Greeting, fits = c.encode(&a.ack); !fits {
		if !present {
			c.b.forget(c.ns, s)
		}
		return refuse(packet.PacketTooLarge, "CONNACK exceeds the client's Maximum Packet Size")
	}
	if w := a.pkt.Will; w != nil {
		a.params.Will = c.makeWill(w, a.live)
	}
	c.attaching = a
	if !s.Prepare(a.params) || ackBeforeCommit {
		return c.join(p, a)
	}
	c.state = deciding
	c.awaitSync(p, func(p *transport.Pass) {
		if err := c.join(p, a); err != nil {
			c.fail(err)
		}
	})
	return nil
}

// takeOver ends the connection that the client has [MQTT-3.1.4-3], and goes on when
// that one is through with what it was doing: nothing that the client sent before
// may take effect after what it sends from now on [MQTT-4.6.0-5].
func (c *conn) takeOver(p *transport.Pass, a *attachment, old *conn, s *session.Session) {
	c.state = deciding
	c.b.replaced(old, clientOf(s))
	c.await(p, old.gone.tell, func(p *transport.Pass) {
		if err := c.attach(p, a); err != nil {
			c.fail(err)
		}
	})
}

// replaced tells a connection, and others, that another one has its session.
func (b *Broker) replaced(old *conn, client *hook.Client) {
	if old.replaced.Swap(true) {
		return // two came at the same time
	}
	b.stats.TakenOver.Add(1)
	b.event(hook.Event{Point: hook.SessionTakenOver, Client: client})
	old.disconnect(packet.SessionTakenOver, "")
}

// join makes this the connection of the session that was claimed; CONNACK
// goes first.
func (c *conn) join(p *transport.Pass, a *attachment) error {
	s := a.session
	c.attaching = nil
	c.sess = s
	before := s.Client.Swap(c.client)
	old, will, ok := s.Attach(c, a.params)
	if !ok {
		// It expired, or was replaced, at this very moment; there will be a new one.
		c.sess = nil
		c.discard(a)
		return c.attach(p, a)
	}
	c.durable = s.Durable()
	c.attached.Store(true)
	c.b.clock.Disarm(&s.Timer)
	c.b.stats.PacketsSent[packet.TypeConnack].Add(1)
	if oc, ok := old.(*conn); ok {
		c.b.replaced(oc, before) // it has come in between
	}
	if will != nil {
		c.b.publishWill(p, c.ns, will, c.client)
	}
	point := hook.SessionCreated
	if a.ack.SessionPresent {
		point = hook.SessionResumed
	}
	c.b.event(hook.Event{Point: point, Client: c.client})
	c.begin(p, a)
	return nil
}

// begin starts the life of a connection that has its session.
func (c *conn) begin(p *transport.Pass, a *attachment) {
	c.state = connected
	c.b.clock.Disarm(&c.timer)
	if c.keepAlive > 0 {
		c.b.clock.Arm(&c.timer, c.b.clock.Now()+clock.Tick.Milliseconds()+int64(c.keepAlive)*1500)
	}
	if a.live.Session.RetryInterval > 0 && c.version < packet.V5 {
		c.retry = &clock.Timer{Fire: c.retryDue}
		c.b.clock.Arm(c.retry, c.b.clock.Now()+a.live.Session.RetryInterval)
	}
	c.b.log.LogAttrs(context.Background(), slog.LevelInfo, "client connected",
		slog.String("client", c.client.ID), slog.String("namespace", c.client.Namespace), slog.Any("remote", c.RemoteAddr()),
		slog.String("listener", c.client.Listener), slog.String("version", c.version.String()),
		slog.Bool("session_present", a.ack.SessionPresent))
	c.b.event(hook.Event{Point: hook.Connected, Client: c.client})
	c.limitLife(a.expiresAt)
	p.Flush(c.Conn)
	c.pump(p, c.sess)
	c.free(a)
}

// discard gives back what a connection has claimed that does not get a session
// after all.
func (c *conn) discard(a *attachment) {
	if a.params.Will != nil {
		a.params.Will.Message.Unref()
		a.params.Will = nil
	}
	if a.ack.SessionPresent {
		a.session.Withdraw()
		return
	}
	c.b.forget(c.ns, a.session)
	a.session.End(func(e store.Entry) { e.Message.Unref() })
}

// identify fills in who the client turned out to be.
func (c *conn) identify(pkt *packet.Connect, r *hook.AuthResult, ack *packet.Connack) {
	if c.asked {
		told := *c.client
		c.client = &told
	}
	cl := c.client
	if r.Username != "" {
		cl.Username = r.Username
	}
	if r.Namespace != "" {
		cl.Namespace = r.Namespace
	}
	if r.ClientID != "" {
		cl.ID = r.ClientID
	}
	if cl.ID == "" {
		cl.ID = newClientID()
	}
	if cl.ID != pkt.ClientID {
		ack.Props.SetAssignedClientID(cl.ID)
	}
	if c.auth != nil && c.auth.method != "" {
		ack.Props.SetAuthMethod(c.auth.method)
		if r.AuthData != nil {
			ack.Props.SetAuthData(r.AuthData)
		}
	}
	cl.Permissions, cl.Permitted, cl.Attributes = r.Permissions, r.Permitted, r.Attributes
	c.keepAlive = cl.KeepAlive
}

// grantExpiry is the Session Expiry Interval that the client gets; it is told
// when that is not what it asked for.
func grantExpiry(live *Live, pkt *packet.Connect, r *hook.AuthResult, ack *packet.Connack) uint32 {
	asked := pkt.Props.SessionExpiry
	if pkt.Version < packet.V5 {
		if asked = live.Session.Expiry311; pkt.CleanStart {
			asked = 0
		}
	}
	granted := min(asked, live.Session.MaxExpiry)
	if r.CapSessionExpiry {
		granted = min(granted, r.MaxSessionExpiry)
	}
	if granted != asked {
		ack.Props.SetSessionExpiry(granted)
	}
	return granted
}

// grant tells an MQTT 5 client what the server offers, where that is less than
// the protocol's default (MQTT 5 §3.2.2.3).
func (c *conn) grant(live *Live, pkt *packet.Connect, ack *packet.Connack) {
	m, props := &live.MQTT, &ack.Props
	c.receiveMax, c.aliasMax = m.ReceiveMaximum, m.TopicAliasMaximum
	if c.version < packet.V5 {
		return
	}
	if m.ReceiveMaximum != 65535 {
		props.SetReceiveMaximum(m.ReceiveMaximum)
	}
	if m.MaxQoS < 2 {
		props.SetMaximumQoS(m.MaxQoS)
	}
	if !m.RetainAvailable {
		props.SetRetainAvailable(0)
	}
	if n := m.maxPacket(true); n < maxPacketSize {
		props.SetMaximumPacketSize(uint32(n))
	}
	if m.TopicAliasMaximum > 0 {
		props.SetTopicAliasMaximum(m.TopicAliasMaximum)
	}
	if !m.WildcardSubscriptions {
		props.SetWildcardAvailable(0)
	}
	if !m.SubscriptionIdentifiers {
		props.SetSubscriptionIDAvailable(0)
	}
	if !m.SharedSubscriptions {
		props.SetSharedAvailable(0)
	}
	if c.keepAlive != pkt.KeepAlive {
		props.SetServerKeepAlive(c.keepAlive)
	}
	if pkt.Props.RequestResponseInfo == 1 && m.ResponseInformation != "" {
		props.SetResponseInfo(m.ResponseInformation)
	}
}

// makeWill turns the CONNECT's Will into a message that waits.
func (c *conn) makeWill(w *packet.Will, live *Live) *session.Will {
	view := packet.Message{
		Topic: []byte(w.Topic), Payload: w.Payload, Props: w.Forward, Publisher: c.client.ID, QoS: w.QoS, Retain: w.Retain,
	}
	return &session.Will{
		Message: view.Keep(c.b.messageID()), Delay: min(w.Props.WillDelay, live.Session.MaxWillDelay),
		Expiry: w.Props.MessageExpiry, HasExpiry: w.Props.Has(packet.PropMessageExpiryInterval),
	}
}

func commonName(state *tls.ConnectionState) string {
	if state == nil || len(state.PeerCertificates) == 0 {
		return ""
	}
	return state.PeerCertificates[0].Subject.CommonName
}

// handleDisconnect ends a connection as the client asked for.
func (c *conn) handleDisconnect(body []byte) error {
	var d packet.Disconnect
	if err := d.Decode(c.version, body); err != nil {
		return err
	}
	if !fromClient(d.Code) {
		return refuse(packet.ProtocolError, "DISCONNECT: "+d.Code.String()+" is for servers (MQTT 5 §3.14.2.1)")
	}
	if d.Props.Has(packet.PropServerReference) {
		return refuse(packet.ProtocolError, "DISCONNECT: a Server Reference is for servers")
	}
	if d.Props.Has(packet.PropSessionExpiryInterval) {
		expiry := d.Props.SessionExpiry
		if c.client.SessionExpiry == 0 && expiry != 0 {
			return refuse(packet.ProtocolError, "a session that was to end with the connection cannot be prolonged (MQTT 5 §3.14.2.2.2)")
		}
		c.sess.SetExpiry(min(expiry, c.b.live.Load().Session.MaxExpiry))
	}
	if d.Code == packet.Success {
		c.sess.DiscardWill() // [MQTT-3.14.4-3]
	}
	c.normalEnd = true
	if d.Code != packet.Success {
		c.shut(refuse(d.Code, "said the client"))
		return nil
	}
	c.shut(errNormalDisconnect)
	return nil
}

// fromClient tells the Reason Codes that a client may send in DISCONNECT.
func fromClient(code packet.ReasonCode) bool {
	switch code {
	case packet.Success, packet.DisconnectWithWill, packet.UnspecifiedError, packet.MalformedPacket, packet.ProtocolError,
		packet.ImplementationSpecificError, packet.TopicNameInvalid, packet.ReceiveMaximumExceeded, packet.TopicAliasInvalid,
		packet.PacketTooLarge, packet.MessageRateTooHigh, packet.QuotaExceeded, packet.AdministrativeAction, packet.PayloadFormatInvalid:
		return true
	}
	return false
}

var errNormalDisconnect = errors.New("normal disconnection")
