package conformance

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"
)

// settings say how a broker for a test differs from one with default settings.
type settings struct {
	serverKeepAlive    int  // the most seconds of Keep Alive that the broker allows
	maximumQoS         byte // 1 or 2; 0 means 2
	retainUnavailable  bool
	wildcardsOff       bool
	sharedOff          bool
	subscriptionIDsOff bool
	maximumPacketSize  int
	receiveMaximum     int
	topicAliasMaximum  int
	maximumClientID    int // bytes of a Client Identifier
	connectTimeout     time.Duration
	noAnonymous        bool   // clients without a user name are refused
	denyPublish        string // a Topic Name that nobody may publish to
	enhancedAuth       string // an Authentication Method; see method
	responseInfo       string // Response Information for clients that ask
	websocket          bool   // listens for WebSocket instead of plain TCP
	outboundTopicAlias bool   // uses Topic Aliases towards clients that allow them
	storeFails         bool   // what is to be kept safe cannot be
	stoppable          bool   // belongs to the test and can be stopped
}

// errUnsupported is returned by a target that cannot be configured in this way.
var errUnsupported = errors.New("the broker under test cannot be configured in this way")

// target starts brokers; stop ends one.
type target interface {
	start(s settings) (addr string, stop func(), err error)
}

// external is a broker that is already running.
type external string

func (e external) start(s settings) (string, func(), error) {
	if s != (settings{}) {
		return "", nil, errUnsupported
	}
	return string(e), func() {}, nil
}

func selected() target {
	if addr := os.Getenv("PATCHBAY_CONFORMANCE_ADDR"); addr != "" {
		return external(addr)
	}
	if program := os.Getenv("PATCHBAY_CONFORMANCE_MOSQUITTO"); program != "" {
		return mosquitto(program)
	}
	return inProcess{}
}

// ownBroker reports whether the broker under test is the one of this module.
func ownBroker() bool {
	_, own := selected().(inProcess)
	return own
}

// strict reports whether the broker must tell the reason where it may.
func strict() bool { return ownBroker() }

// shared is the one broker with default settings that most tests use.
var shared struct {
	once sync.Once
	addr string
	stop func()
	err  error
}

// broker returns the address of a broker with default settings.
func broker(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.addr, shared.stop, shared.err = selected().start(settings{}) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.addr
}

func stopShared() {
	if shared.stop != nil {
		shared.stop()
	}
}

// startBroker starts a broker for this test alone, or skips the test.
func startBroker(t testing.TB, s settings) string {
	t.Helper()
	addr, stop, err := selected().start(s)
	if errors.Is(err, errUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return addr
}
