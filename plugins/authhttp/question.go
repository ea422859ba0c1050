package authhttp

import (
	"bytes"
	"net"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// question is what a service is asked about: a client, with its CONNECT or AUTH, or with
// what it wants to do. It shares no memory with the broker's.
type question struct {
	client *sdk.Client

	auth *sdk.Authentication // of a login

	access sdk.Access // of an authorisation
	topic  string
	qos    uint32
	retain bool
}

func loginQuestion(r *sdk.AuthRequest) *question {
	return &question{client: sdk.Clone(r.Client), auth: sdk.Clone(r.Authentication)}
}

// peer is the address of the client without its port, which is another one with every
// connection.
func (q *question) peer() (host, port string) {
	host, port, err := net.SplitHostPort(q.client.RemoteAddress)
	if err != nil {
		return q.client.RemoteAddress, ""
	}
	return host, port
}

// certificate of the client, nil if it has none that a listener has verified.
func (q *question) certificate() *sdk.Certificate {
	if t := q.client.TLS; t != nil && t.Verified {
		return t.Certificate
	}
	return nil
}

func (q *question) password() []byte {
	if q.auth == nil {
		return nil
	}
	return q.auth.Password
}

// login is the same for logins that have the same answer: all of the question that can
// matter. Each part has its length before it, so that none runs into another.
func (q *question) login() []byte {
	var b bytes.Buffer
	part := func(parts ...[]byte) {
		for _, p := range parts {
			b.Write([]byte{byte(len(p) >> 24), byte(len(p) >> 16), byte(len(p) >> 8), byte(len(p))})
			b.Write(p)
		}
	}
	host, _ := q.peer()
	c := q.client
	for _, s := range []string{c.Namespace, c.ClientID, c.Username, c.Listener, c.Transport, host} {
		part([]byte(s))
	}
	var flags byte
	for i, on := range []bool{q.auth.HasUsername, q.auth.HasPassword, c.CleanStart} {
		if on {
			flags |= 1 << i
		}
	}
	part(q.auth.Password, []byte{flags, byte(c.ProtocolVersion)})
	if cert := q.certificate(); cert != nil {
		part(cert.SHA256)
	}
	return b.Bytes()
}

func newTopicQuestion(r *sdk.AuthorizeRequest) *question {
	return &question{client: sdk.Clone(r.Client), access: r.Access, topic: strings.Clone(r.Topic), qos: r.QoS, retain: r.Retain}
}
