package authjwt

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

// certificate writes one that a server at 127.0.0.1 has made itself.
func certificate(t *testing.T) *transport.TLSConfig {
	t.Helper()
	key := newSigner("ES256", "").private.(*ecdsa.PrivateKey)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := transport.CertFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	write(t, files.Cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, files.Key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return &transport.TLSConfig{Certificates: []transport.CertFiles{files}}
}

// anyServer is for tests that are not about servers' certificates.
var anyServer = &tls.Config{InsecureSkipVerify: true}

// stream makes a net.Conn of a WebSocket.
type stream struct {
	*websocket.Conn
	rest    []byte
	writing sync.Mutex // paho writes from several goroutines
}

func (s *stream) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		_, m, err := s.ReadMessage()
		if err != nil {
			return 0, err
		}
		s.rest = m
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return len(b), s.WriteMessage(websocket.BinaryMessage, b)
}

func (s *stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// dial opens a connection to a listener.
func dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	var nc net.Conn
	var err error
	switch network {
	case "tcp":
		nc, err = net.Dial("tcp", addr)
	case "tls":
		nc, err = tls.Dial("tcp", addr, anyServer)
	case "ws":
		d := websocket.Dialer{Subprotocols: []string{"mqtt"}}
		var w *websocket.Conn
		w, _, err = d.DialContext(t.Context(), "ws://"+addr+"/mqtt", nil)
		nc = &stream{Conn: w}
	}
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// Each transport and version gets the same answers: yes, no, and that the issuer is away.
func TestTransports(t *testing.T) {
	t.Parallel()
	one := fresh(t, "one")
	s := newSite(t, one)
	b := serve(t, s.spec(t, pluginhost.Builtin, `,"claims":{"client_id":"cid"}`))
	s.close()
	for _, network := range []string{"tcp", "tls", "ws"} {
		addr := b.listen(network)
		for _, c := range []struct {
			name   string
			signer *signer
			more   map[string]any
			v5, v3 byte
		}{
			{"yes", one, map[string]any{"cid": "c"}, 0, 0},
			{"the wrong id", one, map[string]any{"cid": "d"}, 0x85, 2},
			{"a wrong signature", fresh(t, "one"), map[string]any{"cid": "c"}, 0x86, 4},
			{"an unknown key", fresh(t, "two"), map[string]any{"cid": "c"}, 0x88, 3},
		} {
			token := c.signer.token(t, claims(c.more))
			// The set is asked for at most once in refetch_pause; wait until it has failed.
			var got byte
			for end := time.Now().Add(patience); ; {
				_, ack := connect5(t, network, addr, "c", "", token)
				if got = ack.ReasonCode; got == c.v5 || time.Now().After(end) {
					break
				}
			}
			if got != c.v5 {
				t.Errorf("%s, MQTT 5, %s: 0x%02X, want 0x%02X", network, c.name, got, c.v5)
			}
			if got := connect3(t, network, addr, "c", token, func() {}); got != c.v3 {
				t.Errorf("%s, MQTT 3.1.1, %s: %d, want %d", network, c.name, got, c.v3)
			}
		}
	}
}
