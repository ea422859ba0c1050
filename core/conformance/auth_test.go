package conformance

import (
	"testing"
)

// method is the Authentication Method that the broker knows in these tests; the
// exchange is described at authHello.
const method = "CHALLENGE"

func methodAndData(data string) []byte {
	return join(prop(pAuthMethod, method), prop(pAuthData, data))
}

// authenticating is a CONNECT that begins the exchange.
func authenticating(data string) connectPacket {
	p := fresh(v5)
	p.props = methodAndData(data)
	return p
}

func wantAuth(t *testing.T, p packet, code byte, data string) {
	t.Helper()
	got, _ := p.text(pAuthData)
	name, _ := p.text(pAuthMethod) // inspect has compared it
	if p.code != code || got != data || name != method {
		t.Fatalf("got %v, want 0x%02X with %q", p, code, data)
	}
}

func TestUnknownAuthenticationMethod(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.12.0-1")
	for _, data := range [][]byte{nil, prop(pAuthData, "x")} {
		p := fresh(v5)
		p.props = join(prop(pAuthMethod, "no such method"), data)
		connecting(t, p).refused(0x8C)
	}
	p := authenticating(authHello)
	p.props = join(prop(pAuthMethod, "OTHER"), prop(pAuthData, authHello))
	connectingTo(t, startBroker(t, settings{enhancedAuth: method}), p).refused(0x8C, 0x87)
}

func TestEnhancedAuthentication(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.15.2-1", "MQTT-4.12.0-2", "MQTT-4.12.0-5", "MQTT-3.2.0-1")
	addr := startBroker(t, settings{enhancedAuth: method})
	c := connectingTo(t, addr, authenticating(authHello))
	wantAuth(t, c.expect(AUTH), 0x18, authChallenge)
	c.send(auth(0x18, methodAndData(authResponse)))
	wantAuth(t, c.accepted(), 0, authWelcome)
	c.quiet()

	c = connectingTo(t, addr, authenticating(authEarly))
	wantAuth(t, c.accepted(), 0, authWelcome)
	c.quiet()

	// A client without a method on the same broker sees nothing of it.
	openAt(t, addr, fresh(v5)).quiet()
	openAt(t, addr, fresh(v311)).quiet()
}

func TestEnhancedAuthenticationFails(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.12.0-4", "MQTT-3.1.4-2", "MQTT-3.2.2-7")
	addr := startBroker(t, settings{enhancedAuth: method})
	connectingTo(t, addr, authenticating("wrong")).refused(0x87)
	c := connectingTo(t, addr, authenticating(authHello))
	wantAuth(t, c.expect(AUTH), 0x18, authChallenge)
	c.send(auth(0x18, methodAndData("wrong")))
	c.refused(0x87)
}

// What a client must not do while it is being authenticated. There has been no
// CONNACK, and so the broker's last word is one, and not a DISCONNECT.
func TestEnhancedAuthenticationIsBroken(t *testing.T) {
	t.Parallel()
	addr := startBroker(t, settings{enhancedAuth: method})
	for _, test := range []struct {
		name  string
		send  []byte
		shows []string
	}{
		{"AUTH 0x19", auth(0x19, methodAndData(authResponse)), []string{"MQTT-4.12.0-3"}},
		{"AUTH 0x00", auth(0x00, methodAndData(authResponse)), []string{"MQTT-4.12.0-3"}},
		{"another method", auth(0x18, prop(pAuthMethod, "OTHER"), prop(pAuthData, authResponse)), []string{"MQTT-4.12.0-5"}},
		{"no method", auth(0x18, prop(pAuthData, authResponse)), []string{"MQTT-4.12.0-5"}},
		{"PUBLISH", publishPacket{topic: "a"}.bytes(v5), []string{"MQTT-3.1.2-30", "MQTT-3.14.0-1"}},
		{"SUBSCRIBE", subscribe(v5, 1, nil, sub{"a", 0}), []string{"MQTT-3.1.2-30", "MQTT-3.14.0-1"}},
		{"PINGREQ", pingreq, []string{"MQTT-3.1.2-30", "MQTT-3.14.0-1"}},
		{"malformed AUTH", frame(AUTH, 0, []byte{0x18, 0x05}), []string{"MQTT-4.13.1-1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shows(t, v5, test.shows...)
			c := connectingTo(t, addr, authenticating(authHello))
			wantAuth(t, c.expect(AUTH), 0x18, authChallenge)
			c.send(test.send)
			if p, err := c.read(); err == nil && (p.typ != CONNACK || p.code < 0x80) || err != nil && err != errClosed {
				t.Errorf("got %v, %v, want a CONNACK that refuses, or the connection closed", p, err)
			} else if err == nil {
				c.gone()
			}
		})
	}
	t.Run("DISCONNECT", func(t *testing.T) {
		t.Parallel()
		c := connectingTo(t, addr, authenticating(authHello))
		wantAuth(t, c.expect(AUTH), 0x18, authChallenge)
		c.send(disconnect)
		c.gone()
	})
}

func TestReauthentication(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.15.2-1", "MQTT-4.12.0-5", "MQTT-4.12.1-1")
	addr := startBroker(t, settings{enhancedAuth: method})
	c := connectingTo(t, addr, authenticating(authEarly))
	c.accepted()
	topic := unique()
	c.listen(1, topic)
	for range 2 {
		c.send(auth(0x19, methodAndData(authHello)))
		wantAuth(t, c.expect(AUTH), 0x18, authChallenge)
		c.say(topic, "meanwhile") // the connection goes on with its old rights
		c.receives("meanwhile")
		c.send(auth(0x18, methodAndData(authResponse)))
		wantAuth(t, c.expect(AUTH), 0x00, authWelcome)
	}
	c.quiet()
}

func TestReauthenticationFails(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.12.1-2")
	addr := startBroker(t, settings{enhancedAuth: method})
	for _, test := range []struct {
		name    string
		packets [][]byte
		codes   []byte
		shows   []string
	}{
		{"wrong data", [][]byte{auth(0x19, methodAndData("wrong"))}, []byte{0x87}, nil},
		{"wrong answer", [][]byte{auth(0x19, methodAndData(authHello)), auth(0x18, methodAndData("wrong"))}, []byte{0x87}, nil},
		{"another method", [][]byte{auth(0x19, prop(pAuthMethod, "OTHER"))}, []byte{0x82, 0x8C, 0x87}, []string{"MQTT-4.12.1-1"}},
		{"no method", [][]byte{auth(0x19)}, []byte{0x82, 0x8C, 0x87}, []string{"MQTT-4.12.1-1"}},
		{"answer to nothing", [][]byte{auth(0x18, methodAndData(authResponse))}, []byte{0x82}, []string{"MQTT-3.15.2-1"}},
		{"success from the client", [][]byte{auth(0x00, methodAndData(authResponse))}, []byte{0x82, 0x81}, []string{"MQTT-3.15.2-1"}},
		{"undefined code", [][]byte{auth(0x01, methodAndData(authResponse))}, []byte{0x82, 0x81}, []string{"MQTT-3.15.2-1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shows(t, v5, test.shows...)
			c := connectingTo(t, addr, authenticating(authEarly))
			c.accepted()
			for i, b := range test.packets {
				if i > 0 {
					wantAuth(t, c.expect(AUTH), 0x18, authChallenge)
				}
				c.send(b)
			}
			c.dropped(test.codes...)
		})
	}
}

// Reason Strings and User Properties must not take AUTH past the client's limit.
func TestAuthFitsMaximumPacketSize(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.15.2-2", "MQTT-3.15.2-3")
	addr := startBroker(t, settings{enhancedAuth: method})
	p := authenticating(authHello)
	p.props = join(p.props, prop(pMaximumPacketSize, len(auth(0x18, methodAndData(authChallenge)))))
	c := connectingTo(t, addr, p)
	wantAuth(t, c.expect(AUTH), 0x18, authChallenge)
}
