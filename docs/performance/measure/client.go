//go:build linux

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"
)

// client is as much of an MQTT 3.1.1 client as is needed to fill a broker.
type client struct {
	net.Conn
	r   *bufio.Reader
	buf []byte // what is to be written
	// wanted is how many acknowledgements are outstanding.
	wanted int
}

// stepLimit bounds the wait for a broker that is being filled.
const stepLimit = 3 * time.Minute

func dial(port int, id string) (*client, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}
	_ = conn.SetDeadline(time.Now().Add(stepLimit))
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0}, text(id)...) // clean session, no Keep Alive
	c.packet(0x10, body)
	if err := c.flush(); err != nil {
		conn.Close()
		return nil, err
	}
	kind, answer, err := c.read()
	if err == nil && (kind != 0x20 || len(answer) != 2 || answer[1] != 0) {
		err = fmt.Errorf("the broker refuses the connection: %x %x", kind, answer)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// text is a string with its length.
func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func (c *client) packet(first byte, body []byte) {
	c.buf = append(c.buf, first)
	for n := len(body); ; {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			c.buf = append(c.buf, b|0x80)
			continue
		}
		c.buf = append(c.buf, b)
		break
	}
	c.buf = append(c.buf, body...)
}

func (c *client) flush() error {
	_, err := c.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// read reads a packet: the first byte and what follows the length.
func (c *client) read() (byte, []byte, error) {
	first, err := c.r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.r) // the same coding as MQTT's
	if err != nil {
		return 0, nil, err
	}
	body := make([]byte, n)
	_, err = io.ReadFull(c.r, body)
	return first, body, err
}

// filtersPerPacket keeps a SUBSCRIBE below what any broker takes.
const filtersPerPacket = 200

// subscribe subscribes to all filters with QoS 0 and waits for the acknowledgements.
func (c *client) subscribe(filters []string) error {
	for packet := 1; len(filters) > 0; packet++ {
		n := min(len(filters), filtersPerPacket)
		body := binary.BigEndian.AppendUint16(nil, uint16(packet))
		for _, f := range filters[:n] {
			body = append(append(body, text(f)...), 0)
		}
		filters = filters[n:]
		c.packet(0x82, body)
		if err := c.flush(); err != nil {
			return err
		}
		kind, answer, err := c.read()
		if err != nil {
			return err
		}
		if kind != 0x90 || len(answer) != n+2 {
			return fmt.Errorf("answer %x to SUBSCRIBE of %d filters", kind, n)
		}
		for _, code := range answer[2:] {
			if code > 2 {
				return fmt.Errorf("a subscription was refused: %x", code)
			}
		}
	}
	return nil
}

// retain publishes retained messages with QoS 1 and waits until all are acknowledged.
func (c *client) retain(n int, topic func(int) string, payload []byte) error {
	const window = 200
	for i := range n {
		body := append(text(topic(i)), byte((i%65535+1)>>8), byte(i%65535+1))
		c.packet(0x33, append(body, payload...))
		if c.wanted++; len(c.buf) > 16<<10 || c.wanted == window || i == n-1 {
			if err := c.flush(); err != nil {
				return err
			}
		}
		for c.wanted > 0 && (c.wanted >= window || i == n-1) {
			kind, _, err := c.read()
			if err != nil {
				return err
			}
			if kind != 0x40 {
				return fmt.Errorf("answer %x to PUBLISH", kind)
			}
			c.wanted--
		}
	}
	return nil
}

// fetch subscribes to a filter and waits for n retained messages.
func (c *client) fetch(filter string, n int) error {
	c.packet(0x82, append(append([]byte{0, 1}, text(filter)...), 0))
	if err := c.flush(); err != nil {
		return err
	}
	for acknowledged := false; n > 0 || !acknowledged; {
		kind, _, err := c.read()
		switch {
		case err != nil:
			return err
		case kind == 0x90:
			acknowledged = true
		case kind&0xf0 == 0x30:
			n--
		default:
			return fmt.Errorf("packet %x in place of a retained message", kind)
		}
	}
	if n < 0 {
		return errors.New("more retained messages than there are")
	}
	return nil
}

// selfSigned makes a certificate and its key as PEM.
func selfSigned() (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
