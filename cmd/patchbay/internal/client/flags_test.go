package client

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/core/packet"
)

func TestParseURL(t *testing.T) {
	for url, want := range map[string]*brokerURL{
		"mqtt://h":                          {host: "h"},
		"MQTT://h:1/":                       {host: "h", port: 1},
		"mqtt://h/a/b":                      {host: "h", topic: "a/b"},
		"mqtt://h//a":                       {host: "h", topic: "/a"},
		"mqtt://h/a/#?x=%41":                {host: "h", topic: "a/#?x=%41"},
		"mqtts://u@h:8884":                  {host: "h", port: 8884, tls: true, user: "u", hasUser: true},
		"mqtt://u:p%40s%3A%2F@h/t":          {host: "h", topic: "t", user: "u", password: "p@s:/", hasUser: true, hasPassword: true},
		"mqtt://u:a@b@h":                    {host: "h", user: "u", password: "a@b", hasUser: true, hasPassword: true},
		"mqtt://u:@h":                       {host: "h", user: "u", hasUser: true, hasPassword: true},
		"mqtt://[::1]:1883/t":               {host: "::1", port: 1883, topic: "t"},
		"mqtt://[fe80::1]":                  {host: "fe80::1"},
		"ws://h":                            {host: "h", path: "/"},
		"wss://h:8084/mqtt?token=1":         {host: "h", port: 8084, path: "/mqtt?token=1", tls: true},
		"":                                  nil,
		"h:1883":                            nil,
		"http://h":                          nil,
		"mqtt://":                           nil,
		"mqtt:///topic":                     nil,
		"mqtt://h:0":                        nil,
		"mqtt://h:65536":                    nil,
		"mqtt://h:port":                     nil,
		"mqtt://[::1":                       nil,
		"mqtt://u:%zz@h":                    nil,
		"mqtt://h h":                        nil,
		"ssl://h/" + strings.Repeat("t", 9): {host: "h", topic: "ttttttttt", tls: true},
	} {
		got, err := parseURL(url)
		if want == nil {
			if err == nil {
				t.Errorf("%s: taken as %+v", url, got)
			}
		} else if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", url, got, err, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("mqtts://user:pass@host:8883/a/b")
	f.Add("ws://[::1]:80/mqtt?x#y")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURL(s)
		if err == nil && (u.host == "" || u.topic != "" && u.path != "") {
			t.Fatalf("%q: %+v", s, u)
		}
	})
}

// What the flags become on the wire.
func TestConnectFlags(t *testing.T) {
	for args, check := range map[string]func(c *packet.Connect) bool{
		"": func(c *packet.Connect) bool {
			return c.Version == packet.V5 && c.CleanStart && c.KeepAlive == 60 && c.ClientID == "" && !c.HasUsername && !c.HasPassword && c.Will == nil && c.Props.Set == 0
		},
		"-V 311": func(c *packet.Connect) bool {
			return c.Version == packet.V311 && c.CleanStart && len(c.ClientID) == 23 && strings.HasPrefix(c.ClientID, "pb-")
		},
		"-V mqttv31 -i me": func(c *packet.Connect) bool { return c.Version == packet.V31 && c.ClientID == "me" },
		"-k 7 -I pre-":     func(c *packet.Connect) bool { return c.KeepAlive == 7 && c.ClientID == fmt.Sprint("pre-", os.Getpid()) },
		"-c -i me":         func(c *packet.Connect) bool { return !c.CleanStart && c.Props.SessionExpiry == 0xFFFFFFFF },
		"-c -i me -x 30":   func(c *packet.Connect) bool { return !c.CleanStart && c.Props.SessionExpiry == 30 },
		"-x -1 -i me":      func(c *packet.Connect) bool { return c.CleanStart && c.Props.SessionExpiry == 0xFFFFFFFF },
		"-x ∞ -i me":       func(c *packet.Connect) bool { return c.Props.SessionExpiry == 0xFFFFFFFF },
		"-c -V 311 -i me":  func(c *packet.Connect) bool { return !c.CleanStart && c.ClientID == "me" },
		"-u u -P p":        func(c *packet.Connect) bool { return c.Username == "u" && string(c.Password) == "p" },
		"-P p":             func(c *packet.Connect) bool { return !c.HasUsername && string(c.Password) == "p" },
		"-u u -P p -V 3.1": func(c *packet.Connect) bool { return c.Username == "u" && string(c.Password) == "p" },
		"--will-topic w --will-payload bye --will-qos 2 --will-retain -D will will-delay-interval 9 -D will user-property a b": func(c *packet.Connect) bool {
			return c.Will != nil && c.Will.Topic == "w" && string(c.Will.Payload) == "bye" && c.Will.QoS == 2 && c.Will.Retain && c.Will.Props.WillDelay == 9
		},
		"--will-topic w --will-payload bye -V 311": func(c *packet.Connect) bool {
			return c.Will != nil && string(c.Will.Payload) == "bye" && c.Will.QoS == 0 && !c.Will.Retain
		},
		"-D connect receive-maximum 5 -D connect topic-alias-maximum 6 -D connect maximum-packet-size 7000 -D connect request-problem-information 0": func(c *packet.Connect) bool {
			return c.Props.ReceiveMaximum == 5 && c.Props.TopicAliasMaximum == 6 && c.Props.MaximumPacketSize == 7000 && c.Props.Set.Has(packet.PropRequestProblemInformation) && c.Props.RequestProblemInfo == 0
		},
		"-D connect session-expiry-interval 8 -D connect user-property k v": func(c *packet.Connect) bool {
			return c.Props.SessionExpiry == 8 && len(c.Props.User) == 1
		},
	} {
		accept := accept5
		if strings.Contains(args, "-V") {
			accept = accept3
		}
		p := newProxy(t, script{packet.TypeConnect: {accept}}.serve(t))
		if r := run(t, append([]string{"pub", "-p", p.port, "-t", "a", "-m", "x"}, strings.Fields(args)...)...); r.err != nil {
			t.Errorf("%s: %v", args, r.err)
			continue
		}
		p.waitForLast(t, packet.TypeDisconnect)
		h, n, err := packet.ReadHeader(p.sent)
		var c packet.Connect
		if err == nil {
			err = c.Decode(h, p.sent[n:n+h.Remaining])
		}
		if err != nil || !check(&c) {
			t.Errorf("%s: CONNECT is %+v (%v)", args, c, err)
		}
	}
}

func TestParsePropertiesLeavesTheRest(t *testing.T) {
	p, rest, err := parseProperties(
		[]string{"publish", "subscribe user-property a b c", "publish", "disconnect"},
		[]string{"user-property", "k", "v", "content-type", "text", "session-expiry-interval", "5", "stray"})
	if err != nil || !reflect.DeepEqual(rest, []string{"stray"}) {
		t.Fatalf("rest %q, %v", rest, err)
	}
	want := paho.UserProperties{{Key: "k", Value: "v"}}
	if !reflect.DeepEqual(p.publish.User, want) || p.publish.ContentType != "text" || *p.disconnect.SessionExpiryInterval != 5 ||
		!reflect.DeepEqual(p.subscribe.User, paho.UserProperties{{Key: "a", Value: "b c"}}) {
		t.Errorf("got %+v", p)
	}
}

func TestCipherSuites(t *testing.T) {
	both, err := cipherSuites("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
	iana, err2 := cipherSuites("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
	if err != nil || err2 != nil || len(both) != 2 || !reflect.DeepEqual(both, iana) {
		t.Errorf("%v %v, %v %v", both, err, iana, err2)
	}
}

func TestHelpAndCompletion(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"pub --help", "tail -f app.log | patchbay pub -t logs/app -l -q 1"},
		{"sub --help", "%10.10t"},
		{"rr --help", "patchbay rr -t services/time"},
		{"__complete sub -q ", "0\n1\n2\n"},
		{"__complete pub -V ", "5\n3.1.1\n3.1\n"},
		{"__complete sub -F ", "%j\tJSON object"},
		{"__complete pub -D ", "connect\npublish\n"},
	} {
		args := strings.Fields(c.args)
		if strings.HasSuffix(c.args, " ") {
			args = append(args, "")
		}
		if got := ok(t, args...); !strings.Contains(got, c.says) {
			t.Errorf("%s: no %q in %s", c.args, c.says, got)
		}
	}
}
