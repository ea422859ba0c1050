package convert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Client fills dst from c, with what fields asks for. Names of attributes are sorted.
// FieldConnection allocates the address, FieldTLS and FieldCertificate what they are
// made of.
func Client(dst *pluginv1.Client, c *hook.Client, fields pluginv1.Field) {
	dst.Reset()
	dst.ClientID, dst.Username, dst.Namespace, dst.Connection = c.ID, c.Username, c.Namespace, c.Connection
	if fields&pluginv1.FieldAttributes != 0 {
		for name, value := range c.Attributes {
			dst.Attributes = append(dst.Attributes, pluginv1.Pair{Name: name, Value: value})
		}
		slices.SortFunc(dst.Attributes, func(a, b pluginv1.Pair) int { return strings.Compare(a.Name, b.Name) })
	}
	if fields&pluginv1.FieldConnection != 0 {
		connection(dst, c)
	}
	if fields&(pluginv1.FieldTLS|pluginv1.FieldCertificate) != 0 && c.TLS != nil {
		dst.TLS = secure(c.TLS, fields)
	}
}

func connection(dst *pluginv1.Client, c *hook.Client) {
	if c.Remote != nil && c.Transport != "unix" {
		dst.RemoteAddress = c.Remote.String()
	}
	dst.Listener, dst.Transport, dst.ProtocolVersion = c.Listener, c.Transport, uint32(c.Version)
	dst.KeepAlive, dst.CleanStart = uint32(c.KeepAlive), c.CleanStart
	dst.SessionExpiryInterval, dst.ConnectedMs = c.SessionExpiry, c.ConnectedAt
}

func secure(s *tls.ConnectionState, fields pluginv1.Field) *pluginv1.TLS {
	t := &pluginv1.TLS{
		Version: strings.TrimPrefix(tls.VersionName(s.Version), "TLS "), CipherSuite: tls.CipherSuiteName(s.CipherSuite),
		ServerName: s.ServerName, Protocol: s.NegotiatedProtocol, Verified: len(s.VerifiedChains) > 0,
	}
	if len(s.PeerCertificates) == 0 {
		return t
	}
	t.Certificate = certificate(s.PeerCertificates[0])
	if fields&pluginv1.FieldCertificate != 0 {
		t.Certificate.DER = s.PeerCertificates[0].Raw
		for _, further := range s.PeerCertificates[1:min(len(s.PeerCertificates), maxChain+1)] {
			t.Certificate.Chain = append(t.Certificate.Chain, further.Raw)
		}
	}
	return t
}

// Limits of the contract.
const (
	maxChain = 16
	maxNames = 1024
)

func certificate(c *x509.Certificate) *pluginv1.Certificate {
	sum := sha256.Sum256(c.Raw)
	out := &pluginv1.Certificate{
		Subject: text(c.Subject.String()), CommonName: text(c.Subject.CommonName), Issuer: text(c.Issuer.String()),
		SHA256: sum[:], NotBeforeMs: c.NotBefore.UnixMilli(), NotAfterMs: c.NotAfter.UnixMilli(),
		DNSNames: texts(c.DNSNames), EmailAddresses: texts(c.EmailAddresses),
	}
	if c.SerialNumber != nil {
		out.SerialNumber = c.SerialNumber.Text(16)
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), maxNames)] {
		out.IPAddresses = append(out.IPAddresses, ip.String())
	}
	for _, u := range c.URIs[:min(len(c.URIs), maxNames)] {
		out.URIs = append(out.URIs, text(u.String()))
	}
	return out
}

// text makes what stands in a certificate fit for the contract, which has UTF-8 only.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func texts(list []string) []string {
	var out []string
	for _, s := range list[:min(len(list), maxNames)] {
		out = append(out, text(s))
	}
	return out
}

// Session fills dst from s, with what fields asks for of its client. It reuses
// dst.Client.
func Session(dst *pluginv1.Session, s *hook.SessionInfo, fields pluginv1.Field) {
	c := dst.Client
	if c == nil {
		c = new(pluginv1.Client)
	}
	Client(c, s.Client, fields)
	dst.Reset()
	dst.Client = c
	dst.Connected, dst.DisconnectedMs, dst.SessionExpiryInterval = s.Connected, s.Disconnected, s.SessionExpiry
	dst.Subscriptions = uint32(max(s.SubscriptionCount, len(s.Subscriptions)))
	dst.Inflight, dst.Queued, dst.QueuedBytes = uint32(s.Inflight), uint32(s.Queued), uint64(max(s.QueuedBytes, 0))
}

// Subscription fills dst from s with its Subscription Identifier, 0 for none.
func Subscription(dst *pluginv1.Subscription, s *packet.Subscription, identifier uint32) {
	dst.Reset()
	dst.TopicFilter, dst.QoS, dst.NoLocal = s.Filter, uint32(s.QoS), s.NoLocal
	dst.RetainAsPublished, dst.RetainHandling, dst.Identifier = s.RetainAsPublished, uint32(s.RetainHandling), identifier
}

// Connect fills dst from a CONNECT, with what fields asks for of its User Properties and
// its Will. It reuses dst.Will.
func Connect(dst *pluginv1.Connect, p *packet.Connect, fields pluginv1.Field) {
	will := dst.Will
	dst.Reset()
	x := &p.Props
	dst.SessionExpiryInterval = x.SessionExpiry
	if p.Version != packet.V5 && !p.CleanStart {
		dst.SessionExpiryInterval = 1<<32 - 1 // [MQTT-3.1.2-23]: what Clean Session 0 means
	}
	dst.ReceiveMaximum, dst.MaximumPacketSize = uint32(x.ReceiveMaximum), x.MaximumPacketSize
	dst.TopicAliasMaximum = uint32(x.TopicAliasMaximum)
	dst.RequestResponseInformation = x.RequestResponseInfo != 0
	dst.RequestProblemInformation = x.RequestProblemInfo != 0 || !x.Has(packet.PropRequestProblemInformation)
	if fields&pluginv1.FieldUserProperties != 0 {
		for i := range x.User {
			dst.UserProperties = append(dst.UserProperties, pluginv1.Pair{Name: x.User[i].Key, Value: x.User[i].Value})
		}
	}
	if p.Will == nil {
		return
	}
	if will == nil {
		will = new(pluginv1.Message)
	}
	will.Reset()
	dst.Will, dst.WillDelayInterval = will, p.Will.Props.WillDelay
	will.Topic, will.QoS, will.Retain = p.Will.Topic, uint32(p.Will.QoS), p.Will.Retain
	will.MessageExpiryInterval = p.Will.Props.MessageExpiry
	if fields&pluginv1.FieldPayload != 0 {
		will.Payload = p.Will.Payload
	} else {
		will.PayloadSize = uint32(len(p.Will.Payload))
	}
	properties(will, p.Will.Forward, fields)
}
