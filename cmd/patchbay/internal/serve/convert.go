package serve

import (
	"fmt"
	"log/slog"
	"net"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/retained"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
)

// live turns the keys that a reload applies into the broker's options.
func live(c *config.Config) broker.Live {
	m, s, r, l := &c.MQTT, &c.Session, &c.Retained, &c.Limits
	policy := map[string]session.QueuePolicy{
		"drop_new": session.DropNew, "drop_oldest": session.DropOldest, "disconnect": session.Disconnect,
	}[s.QueuePolicy]
	var age config.Duration
	if r.MaxAge != config.Never {
		age = r.MaxAge
	}
	return broker.Live{
		MQTT: broker.MQTT{
			MaxQoS: byte(m.MaxQoS), RetainAvailable: m.RetainAvailable, WildcardSubscriptions: m.WildcardSubscriptions,
			SharedSubscriptions: m.SharedSubscriptions, SubscriptionIdentifiers: m.SubscriptionIdentifiers,
			MaxPacketSize: int(m.MaxPacketSize), MaxPacketSizeBeforeAuth: int(m.MaxPacketSizeBeforeAuth),
			ConnectTimeout: m.ConnectTimeout.Std(), ReceiveMaximum: uint16(m.ReceiveMaximum),
			TopicAliasMaximum: uint16(m.TopicAliasMaximum), OutboundTopicAliasMaximum: uint16(m.OutboundTopicAliasMaximum),
			KeepAliveMax: uint16(m.KeepAliveMax.Seconds()), MaxTopicLength: m.MaxTopicLength, MaxTopicLevels: m.MaxTopicLevels,
			MaxClientIDLength: m.MaxClientIDLength, AllowEmptyClientID: m.AllowEmptyClientID,
			ResponseInformation: m.ResponseInformation, ServerReference: m.ServerReference, CheckPayloadFormat: m.CheckPayloadFormat,
		},
		Session: broker.Session{
			Limits: session.Limits{
				MaxInflight: s.MaxInflight, MaxQueued: s.MaxQueuedMessages, MaxQueuedBytes: int64(s.MaxQueuedBytes),
				Policy: policy, QueueQoS0: s.QueueQoS0,
				RetryInterval: s.RetryInterval.Std().Milliseconds(), RetryBackoff: s.RetryBackoff, RetryMax: s.RetryMax,
			},
			MaxExpiry: s.MaxExpiry.Seconds(), Expiry311: s.Expiry311.Seconds(), MaxWillDelay: s.MaxWillDelay.Seconds(),
			MaxSubscriptions: s.MaxSubscriptions, MaxSessions: s.MaxSessions,
		},
		Retained: broker.Retained{
			Enabled: r.Enabled, MaxAge: age.Std(),
			Limits: retained.Limits{MaxMessages: r.MaxMessages, MaxBytes: int64(r.MaxBytes), MaxPayload: int(r.MaxPayload)},
		},
		Limits: broker.Limits{
			MaxConnections: l.MaxConnections, Memory: l.Memory.Of(memoryLimit()), PublisherStall: l.PublisherStall.Std(),
			PublishRate: float64(l.PublishRate), PublishBurst: float64(l.PublishBurst),
			PublishBytesRate: float64(l.PublishBytesRate), PublishBytesBurst: float64(l.PublishBytesBurst),
			DisconnectOnRate: l.OnPublishRate == "disconnect",
		},
		Sys: broker.Sys{Interval: c.Sys.Interval.Std(), Disable: c.Sys.Disable},
	}
}

// newBroker makes the broker with what st has; it listens nowhere yet.
func newBroker(c *config.Config, version string, log *slog.Logger, st store.Store) (*broker.Broker, error) {
	strategy, err := router.ParseStrategy(c.Session.SharedStrategy)
	if err != nil {
		return nil, fmt.Errorf("session.shared_strategy: %w", err)
	}
	return broker.New(func(o *broker.Options) {
		o.Logger, o.Version, o.SharedStrategy, o.Store = log, "patchbay "+version, strategy, st
		o.OutBufferHigh, o.OutBufferLow = int(c.Limits.OutBufferHigh), int(c.Limits.OutBufferLow)
		o.WriteTimeout = c.Limits.WriteTimeout.Std()
		o.Live = live(c)
	})
}

// place is one socket to open for a configured listener.
type place struct {
	config    *config.Listener
	key       string // "listeners[0].tcp"
	address   string
	narrowed  bool // from all interfaces to loopback
	certified bool // open because clients need a certificate
	decided   bool // plugins decide who may connect
	optional  bool // it is no error if the machine has no such address
}

// access is who may connect, in words.
func (p *place) access() string {
	c := p.config
	switch local := p.narrowed || c.Local(); {
	case local && p.decided:
		return "this machine only, and plugins decide who may connect"
	case local:
		return "this machine only"
	case p.decided:
		return "plugins decide who may connect"
	case c.AllowAnonymous == "false":
		return "nobody may connect: no authentication is configured"
	case c.ClientCert == "required":
		return "anyone with a certificate of client_ca"
	}
	return "anyone may connect"
}

// anonymous reports whether clients are let in without authentication by MQTT's
// means, as long as no plugin decides.
func (p *place) anonymous() bool {
	c := p.config
	return c.AllowAnonymous == "true" || c.AllowAnonymous == "auto" && !p.decided && (c.Local() || p.narrowed || p.certified)
}

// places says where to listen: as configured, except that a listener open to all
// interfaces is narrowed to loopback while anyone could use it and nobody has
// asked for that. A required client certificate is an authentication; so are plugins
// that decide who may connect.
func places(c *config.Config, decided bool) ([]place, error) {
	var all []place
	for i := range c.Listeners {
		l := &c.Listeners[i]
		p := place{config: l, key: fmt.Sprintf("listeners[%d].%s", i, l.Network()), address: l.Address(), decided: decided}
		if l.AllowAnonymous != "auto" || l.Local() || decided {
			all = append(all, p)
			continue
		}
		if l.ClientCert == "required" {
			p.certified = true
			all = append(all, p)
			continue
		}
		host, port, err := net.SplitHostPort(l.Address())
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", p.key, l.Address(), err)
		}
		if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
			return nil, configError{p.key, fmt.Sprintf("%s can be reached from elsewhere and no authentication is configured, so that nobody may "+
				"connect; say allow_anonymous: true to let everyone in, or listen on 127.0.0.1", l.Address())}
		}
		p.narrowed = true
		p.address = net.JoinHostPort("127.0.0.1", port)
		all = append(all, p)
		if port != "0" {
			p.address, p.optional = net.JoinHostPort("::1", port), true
			all = append(all, p)
		}
	}
	return all, nil
}
