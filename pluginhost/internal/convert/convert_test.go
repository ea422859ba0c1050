package convert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const allFields = pluginv1.FieldPayload | pluginv1.FieldUserProperties | pluginv1.FieldProperties | pluginv1.FieldConnection |
	pluginv1.FieldAttributes | pluginv1.FieldTLS | pluginv1.FieldCertificate

func someMessage(t testing.TB) *packet.Message {
	t.Helper()
	var p packet.Properties
	p.SetPayloadFormat(1)
	p.SetContentType("text/plain")
	p.SetResponseTopic("re")
	p.SetCorrelationData([]byte{1, 2})
	p.AddUser("k", "1")
	p.AddUser("k", "2")
	props, err := p.AppendForward(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &packet.Message{
		Topic: []byte("a/b"), Payload: []byte("hello"), Props: props, Publisher: "c", ID: 9, Received: 1000, Expires: 61_000, QoS: 1, Retain: true,
		Origin: &packet.Origin{Plugin: "p", Hops: 3},
	}
}

func TestMessageByField(t *testing.T) {
	m := someMessage(t)
	bare := pluginv1.Message{
		Topic: "a/b", QoS: 1, Retain: true, ID: 9, ReceivedMs: 1000, MessageExpiryInterval: 51, PayloadSize: 5, Publisher: "c", Origin: "p", Hops: 3,
	}
	payload, properties, user := bare, bare, bare
	payload.Payload, payload.PayloadSize = []byte("hello"), 0
	properties.ContentType, properties.ResponseTopic, properties.CorrelationData, properties.PayloadFormat = "text/plain", "re", []byte{1, 2}, 1
	user.UserProperties = []pluginv1.Pair{{Name: "k", Value: "1"}, {Name: "k", Value: "2"}}
	all := properties
	all.Payload, all.PayloadSize, all.UserProperties = payload.Payload, 0, user.UserProperties
	got := pluginv1.Message{Namespace: "stale", UserProperties: make([]pluginv1.Pair, 7)}
	for fields, want := range map[pluginv1.Field]*pluginv1.Message{
		0: &bare, pluginv1.FieldPayload: &payload, pluginv1.FieldProperties: &properties, pluginv1.FieldUserProperties: &user, allFields: &all,
	} {
		if Message(&got, m, fields, 10_500); !pluginv1.Equal(&got, want) {
			t.Errorf("fields %d: got %+v, want %+v", fields, &got, want)
		}
	}
	if Message(&got, &packet.Message{Topic: []byte("x")}, allFields, 0); !pluginv1.Equal(&got, &pluginv1.Message{Topic: "x"}) {
		t.Errorf("an empty one: %+v", &got)
	}
}

func TestMessagesAllocateNothing(t *testing.T) {
	m, dst := someMessage(t), new(pluginv1.Message)
	for _, fields := range []pluginv1.Field{0, pluginv1.FieldPayload, allFields} {
		Message(dst, m, fields, 0) // the slices grow once
		if n := testing.AllocsPerRun(100, func() { Message(dst, m, fields, 0) }); n != 0 {
			t.Errorf("fields %d: %v allocations", fields, n)
		}
	}
	c, client := new(pluginv1.Client), someClient(t)
	for _, fields := range []pluginv1.Field{0, pluginv1.FieldPayload, pluginv1.FieldAttributes} {
		Client(c, client, fields)
		if n := testing.AllocsPerRun(100, func() { Client(c, client, fields) }); n != 0 {
			t.Errorf("client, fields %d: %v allocations", fields, n)
		}
	}
}

func TestPublishedAndBack(t *testing.T) {
	in := &pluginv1.Message{
		Topic: "a/b", Payload: []byte("hello"), QoS: 2, Retain: true, MessageExpiryInterval: 60, ContentType: "x", ResponseTopic: "re",
		CorrelationData: []byte{0}, PayloadFormat: 1, UserProperties: []pluginv1.Pair{{Name: "", Value: ""}, {Name: "ü", Value: "v"}},
	}
	m, err := Published(in, 5000)
	if err != nil || m.Received != 5000 || m.Expires != 65_000 {
		t.Fatalf("got %+v, %v", m, err)
	}
	out := new(pluginv1.Message)
	Message(out, m, allFields, 5000)
	out.ReceivedMs = 0
	if !pluginv1.Equal(in, out) {
		t.Errorf("%+v came back as %+v", in, out)
	}
	if m, err := Published(&pluginv1.Message{Topic: "x"}, 5); err != nil || m.Props != nil || m.Expires != packet.NoExpiry {
		t.Errorf("got %+v, %v", m, err)
	}
	var e *Error
	if _, err := Published(&pluginv1.Message{Topic: "x", Payload: make([]byte, packet.MaxRemaining)}, 0); !errors.As(err, &e) || e.Code != packet.PacketTooLarge {
		t.Errorf("too large: %v", err)
	}
}

func someClient(t testing.TB) *hook.Client {
	t.Helper()
	return &hook.Client{
		Connection: 7, ID: "c", Username: "u", Namespace: "n", Listener: "l", Transport: "tls",
		Remote: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:50123")), Version: packet.V5, KeepAlive: 30, CleanStart: true,
		SessionExpiry: 3600, ConnectedAt: 1234, Attributes: map[string]string{"b": "2", "a": "1"},
	}
}

func TestClientByField(t *testing.T) {
	c := someClient(t)
	bare := &pluginv1.Client{ClientID: "c", Username: "u", Namespace: "n", Connection: 7}
	connection, attributes := *bare, *bare
	connection.RemoteAddress, connection.Listener, connection.Transport, connection.ProtocolVersion = "[2001:db8::1]:50123", "l", "tls", 5
	connection.KeepAlive, connection.CleanStart, connection.SessionExpiryInterval, connection.ConnectedMs = 30, true, 3600, 1234
	attributes.Attributes = []pluginv1.Pair{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}
	got := pluginv1.Client{TLS: &pluginv1.TLS{}, Attributes: make([]pluginv1.Pair, 3), Listener: "stale"}
	for fields, want := range map[pluginv1.Field]*pluginv1.Client{
		0: bare, pluginv1.FieldConnection: &connection, pluginv1.FieldAttributes: &attributes, pluginv1.FieldTLS | pluginv1.FieldCertificate: bare,
	} {
		if Client(&got, c, fields); !pluginv1.Equal(&got, want) {
			t.Errorf("fields %d: got %+v, want %+v", fields, &got, want)
		}
	}
	c.Transport, c.Remote = "unix", &net.UnixAddr{Name: "/run/x"}
	if Client(&got, c, pluginv1.FieldConnection); got.RemoteAddress != "" {
		t.Errorf("a unix socket has the address %q", got.RemoteAddress)
	}
	if Client(&got, &hook.Client{ID: "away"}, allFields); !pluginv1.Equal(&got, &pluginv1.Client{ClientID: "away"}) {
		t.Errorf("one that is away: %+v", &got)
	}
}

func selfSigned(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, _ := url.Parse("spiffe://example.org/device/7")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xABCDEF), Subject: pkix.Name{CommonName: "device-7", Organization: []string{"Example"}},
		NotBefore: time.UnixMilli(1_000_000_000_000), NotAfter: time.UnixMilli(2_000_000_000_000), DNSNames: []string{"d7.example.org"},
		EmailAddresses: []string{"d7@example.org"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.7")}, URIs: []*url.URL{uri},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTLS(t *testing.T) {
	cert, issuer := selfSigned(t), selfSigned(t)
	c := someClient(t)
	c.TLS = &tls.ConnectionState{
		Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "broker.example.org", NegotiatedProtocol: "mqtt",
		PeerCertificates: []*x509.Certificate{cert, issuer}, VerifiedChains: [][]*x509.Certificate{{cert, issuer}},
	}
	sum := sha256.Sum256(cert.Raw)
	want := &pluginv1.TLS{
		Version: "1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", ServerName: "broker.example.org", Protocol: "mqtt", Verified: true,
		Certificate: &pluginv1.Certificate{
			Subject: "CN=device-7,O=Example", CommonName: "device-7", Issuer: "CN=device-7,O=Example", SerialNumber: "abcdef", SHA256: sum[:],
			NotBeforeMs: 1_000_000_000_000, NotAfterMs: 2_000_000_000_000, DNSNames: []string{"d7.example.org"}, EmailAddresses: []string{"d7@example.org"},
			IPAddresses: []string{"192.0.2.7"}, URIs: []string{"spiffe://example.org/device/7"},
		},
	}
	var got pluginv1.Client
	if Client(&got, c, pluginv1.FieldTLS); got.TLS == nil || !pluginv1.Equal(got.TLS, want) {
		t.Errorf("got %+v %+v", got.TLS, got.TLS.Certificate)
	}
	want.Certificate.DER, want.Certificate.Chain = cert.Raw, [][]byte{issuer.Raw}
	if Client(&got, c, pluginv1.FieldCertificate); got.TLS == nil || !pluginv1.Equal(got.TLS, want) {
		t.Errorf("with the certificate: got %+v %+v", got.TLS, got.TLS.Certificate)
	}
	c.TLS = &tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	if Client(&got, c, pluginv1.FieldTLS); got.TLS.Version != "1.2" || got.TLS.Certificate != nil || got.TLS.Verified {
		t.Errorf("without a certificate: %+v", got.TLS)
	}
}

func TestSessionAndSubscription(t *testing.T) {
	info := &hook.SessionInfo{Client: someClient(t), Disconnected: 5, SessionExpiry: 60, SubscriptionCount: 3, Inflight: 1, Queued: 2, QueuedBytes: 30}
	var got pluginv1.Session
	Session(&got, info, 0)
	want := &pluginv1.Session{
		Client: &pluginv1.Client{ClientID: "c", Username: "u", Namespace: "n", Connection: 7}, DisconnectedMs: 5, Subscriptions: 3, Inflight: 1,
		Queued: 2, QueuedBytes: 30, SessionExpiryInterval: 60,
	}
	if !pluginv1.Equal(&got, want) {
		t.Errorf("got %+v", &got)
	}
	kept := got.Client
	if Session(&got, info, pluginv1.FieldConnection); got.Client != kept || got.Client.KeepAlive != 30 {
		t.Errorf("a second time: %+v", got.Client)
	}
	var sub pluginv1.Subscription
	Subscription(&sub, &packet.Subscription{Filter: "$share/g/a", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}, 9)
	if !pluginv1.Equal(&sub, &pluginv1.Subscription{TopicFilter: "$share/g/a", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, Identifier: 9}) {
		t.Errorf("got %+v", &sub)
	}
}

func TestConnect(t *testing.T) {
	p := &packet.Connect{Version: packet.V5, ClientID: "c", Will: &packet.Will{Topic: "w", Payload: []byte("bye"), QoS: 1, Retain: true}}
	p.Props.SetSessionExpiry(60)
	p.Props.SetReceiveMaximum(10)
	p.Props.SetMaximumPacketSize(1000)
	p.Props.SetTopicAliasMaximum(5)
	p.Props.SetRequestResponseInfo(1)
	p.Props.SetRequestProblemInfo(0)
	p.Props.AddUser("k", "v")
	p.Will.Props.SetWillDelay(7)
	p.Will.Props.SetMessageExpiry(8)
	p.Will.Props.SetContentType("t")
	p.Will.Forward, _ = p.Will.Props.AppendForward(nil)
	bare := &pluginv1.Connect{
		SessionExpiryInterval: 60, ReceiveMaximum: 10, MaximumPacketSize: 1000, TopicAliasMaximum: 5, RequestResponseInformation: true, WillDelayInterval: 7,
		Will: &pluginv1.Message{Topic: "w", QoS: 1, Retain: true, MessageExpiryInterval: 8, PayloadSize: 3},
	}
	var got pluginv1.Connect
	if Connect(&got, p, 0); !pluginv1.Equal(&got, bare) {
		t.Errorf("got %+v, will %+v", &got, got.Will)
	}
	bare.UserProperties = []pluginv1.Pair{{Name: "k", Value: "v"}}
	bare.Will.Payload, bare.Will.PayloadSize, bare.Will.ContentType = []byte("bye"), 0, "t"
	if Connect(&got, p, allFields); !pluginv1.Equal(&got, bare) {
		t.Errorf("with all fields: %+v, will %+v", &got, got.Will)
	}
	if Connect(&got, &packet.Connect{Version: packet.V311}, 0); !pluginv1.Equal(&got, &pluginv1.Connect{SessionExpiryInterval: 1<<32 - 1, RequestProblemInformation: true}) {
		t.Errorf("of 3.1.1: %+v", &got)
	}
}

// FuzzPublished: whatever a plugin says becomes a message that a packet can carry and that
// comes back the same, or an error with a Reason Code.
func FuzzPublished(f *testing.F) {
	f.Add((&pluginv1.Message{Topic: "a/b", Payload: []byte("x"), PayloadFormat: 1, UserProperties: []pluginv1.Pair{{Name: "k", Value: "v"}}}).AppendTo(nil))
	f.Add((&pluginv1.Message{Topic: "a", QoS: 2, Retain: true, MessageExpiryInterval: 1 << 31, ResponseTopic: "r", CorrelationData: []byte{0}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := new(pluginv1.Message)
		if in.Unmarshal(b) != nil {
			return
		}
		m, err := Published(in, 1000)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || !e.Code.IsError() || e.Reason == "" {
				t.Fatalf("%+v: %v", in, err)
			}
			return
		}
		frame, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: m.Topic, Payload: m.Payload, Forward: m.Props, QoS: m.QoS, PacketID: 1, Retain: m.Retain})
		h, n, err := packet.ReadHeader(frame)
		var p packet.Publish
		if err != nil || packet.DecodePublish(&p, packet.V5, h, frame[n:], false) != nil {
			t.Fatalf("%+v is a packet that cannot be read: %v", in, err)
		}
		out := new(pluginv1.Message)
		Message(out, m, allFields, 1000)
		if out.Topic != in.Topic || string(out.Payload) != string(in.Payload) || out.ContentType != in.ContentType || out.ResponseTopic != in.ResponseTopic ||
			string(out.CorrelationData) != string(in.CorrelationData) || out.PayloadFormat != in.PayloadFormat || out.QoS != in.QoS ||
			out.MessageExpiryInterval != in.MessageExpiryInterval || len(out.UserProperties) != len(in.UserProperties) ||
			len(in.UserProperties) > 0 && !slices.EqualFunc(out.UserProperties, in.UserProperties, func(a, b pluginv1.Pair) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("%+v came back as %+v", in, out)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	m, dst := someMessage(b), new(pluginv1.Message)
	for name, fields := range map[string]pluginv1.Field{"bare": 0, "payload": pluginv1.FieldPayload, "all": allFields} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Message(dst, m, fields, 0)
			}
		})
	}
}

func BenchmarkClient(b *testing.B) {
	c, dst := someClient(b), new(pluginv1.Client)
	for name, fields := range map[string]pluginv1.Field{"bare": 0, "attributes": pluginv1.FieldAttributes, "connection": pluginv1.FieldConnection} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Client(dst, c, fields)
			}
		})
	}
}
