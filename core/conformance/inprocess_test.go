package conformance

import (
	"context"
	"errors"
	"flag"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	patchbay "github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/hook"
	wire "github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// onDisk runs the whole suite against the durable store, on a file system in
// memory: what a client sees must not depend on where the state is.
var onDisk = flag.Bool("disk", false, "run with core/store/disk")

// inProcess starts the broker of this module.
type inProcess struct{}

func (inProcess) start(s settings) (string, func(), error) {
	b, err := newBroker(s)
	if err != nil {
		return "", nil, err
	}
	network := "tcp"
	if s.websocket {
		network = "ws"
	}
	l, err := b.Listen(patchbay.Listener{
		Transport:      transport.ListenerConfig{Network: network, Address: "127.0.0.1:0"},
		AllowAnonymous: !s.noAnonymous,
	})
	if err != nil {
		return "", nil, err
	}
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		b.Close(ctx)
	}
	return l.Addr().String(), stop, nil
}

func newBroker(s settings) (*patchbay.Broker, error) {
	var durable store.Store
	if *onDisk {
		d, err := disk.Open(disk.Options{Dir: "data", FS: vfs.NewMem()})
		if err != nil {
			return nil, err
		}
		durable = d
	}
	b, err := patchbay.New(func(o *patchbay.Options) {
		o.Store = durable
		o.Logger = slog.New(slog.DiscardHandler)
		o.MQTT.KeepAliveMax = uint16(s.serverKeepAlive)
		o.MQTT.RetainAvailable = !s.retainUnavailable
		o.MQTT.WildcardSubscriptions = !s.wildcardsOff
		o.MQTT.SharedSubscriptions = !s.sharedOff
		o.MQTT.SubscriptionIdentifiers = !s.subscriptionIDsOff
		o.MQTT.ResponseInformation = s.responseInfo
		if s.maximumQoS != 0 {
			o.MQTT.MaxQoS = s.maximumQoS
		}
		if s.maximumPacketSize != 0 {
			o.MQTT.MaxPacketSize = s.maximumPacketSize
		}
		if s.receiveMaximum != 0 {
			o.MQTT.ReceiveMaximum = uint16(s.receiveMaximum)
		}
		if s.topicAliasMaximum != 0 {
			o.MQTT.TopicAliasMaximum = uint16(s.topicAliasMaximum)
		}
		if s.maximumClientID != 0 {
			o.MQTT.MaxClientIDLength = s.maximumClientID
		}
		if s.connectTimeout != 0 {
			o.MQTT.ConnectTimeout = s.connectTimeout
		}
		if s.storeFails {
			o.Store = new(failingStore)
		}
		if s.outboundTopicAlias {
			o.MQTT.OutboundTopicAliasMaximum = 10
		}
	})
	if err != nil {
		return nil, err
	}
	var wants hook.Set
	if s.enhancedAuth != "" {
		wants |= hook.SetOf(hook.Authenticate)
	}
	if s.denyPublish != "" {
		wants |= hook.SetOf(hook.AuthorizePublish)
	}
	if wants != 0 {
		b.Install(&host{settings: s}, wants)
	}
	return b, nil
}

// failingStore never gets a message safe.
type failingStore struct{ store.Memory }

func (*failingStore) Create(store.Record, store.Owner) store.Session {
	return failingSession{store.NewMemorySession()}
}

type failingSession struct{ store.Session }

func (failingSession) Durable() bool { return true }

func (s failingSession) Add(e store.Entry, seq uint64, lazy bool, r *store.Receipt) (uint64, store.Ticket) {
	r.Add()
	go r.Done(errors.New("the disk is broken"))
	return s.Session.Add(e, seq, lazy, nil)
}

// host stands for plugins: an authenticator and an authorizer. Anything else it
// is not asked for.
type host struct {
	hook.Host
	settings settings
}

// The exchange of settings.enhancedAuth: the client says hello, is sent the
// challenge, answers with the response and is welcome. Whoever says "early" is
// let in without a challenge; anything else is refused.
const (
	authHello     = "hello"
	authEarly     = "early"
	authChallenge = "challenge"
	authResponse  = "response"
	authWelcome   = "welcome"
)

func (h *host) Authenticate(r *hook.AuthRequest, _ func()) bool {
	switch {
	case r.Method == "":
		r.Result = hook.AuthResult{Accept: true}
	case r.Method != h.settings.enhancedAuth:
		r.Result = hook.AuthResult{Code: wire.BadAuthenticationMethod}
	case r.Step == 0 && string(r.Data) == authHello:
		r.Result = hook.AuthResult{Code: wire.ContinueAuthentication, AuthData: []byte(authChallenge)}
	case r.Step == 0 && string(r.Data) == authEarly, r.Step == 1 && string(r.Data) == authResponse:
		r.Result = hook.AuthResult{Accept: true, AuthData: []byte(authWelcome)}
	default:
		r.Result = hook.AuthResult{Code: wire.NotAuthorized}
	}
	return true
}

func (h *host) Authorize(r *hook.AuthorizeRequest, _ func()) bool {
	r.Allow = r.Topic != h.settings.denyPublish
	return true
}
