package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// raw is an MQTT 3.1.1 client of a few bytes: thousands of them cost little, and
// it does what no good client does.
type raw struct{ net.Conn }

// text is a string as MQTT writes it.
func text(s string) []byte {
	return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...)
}

// packet puts a fixed header before the parts.
func packet(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	p := []byte{first}
	for n := len(body); ; {
		b := byte(n & 0x7F)
		if n >>= 7; n > 0 {
			p = append(p, b|0x80)
			continue
		}
		p = append(p, b)
		break
	}
	return append(p, body...)
}

// connectPacket has clean session 1 and no keep-alive.
func connectPacket(id string) []byte {
	return packet(0x10, text("MQTT"), []byte{4, 2, 0, 0}, text(id))
}

func publishPacket(topic string, payload []byte) []byte {
	return packet(0x30, text(topic), payload)
}

// connectRaw connects from a local address, "" for any.
func connectRaw(address, id string, change ...func(*net.Dialer)) (raw, error) {
	d := net.Dialer{Timeout: patience}
	for _, f := range change {
		f(&d)
	}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		return raw{}, err
	}
	r := raw{conn}
	if _, err := conn.Write(connectPacket(id)); err != nil {
		return raw{}, errors.Join(err, conn.Close())
	}
	if err := r.expect(0x20, 2, 0, 0); err != nil {
		return raw{}, errors.Join(err, conn.Close())
	}
	return r, nil
}

// expect reads as many bytes as are wanted and compares.
func (r raw) expect(want ...byte) error {
	_ = r.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got % x, want % x", got, want)
	}
	return r.SetReadDeadline(time.Time{})
}

// subscribe waits for SUBACK.
func (r raw) subscribe(filter string, qos byte) error {
	if _, err := r.Write(packet(0x82, []byte{0, 1}, text(filter), []byte{qos})); err != nil {
		return err
	}
	return r.expect(0x90, 3, 0, 1, qos)
}

// stuck is a subscriber that has stopped reading.
type stuck struct{ raw }

func newStuck(t testing.TB, b *broker, filter string) stuck {
	t.Helper()
	r, err := connectRaw(b.addr["tcp"], fmt.Sprintf("stuck-%s", filter))
	if err == nil {
		err = r.subscribe(filter, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return stuck{r}
}

// fill publishes until the broker has dropped something for want of room in the
// out-buffer.
func (stuck) fill(t testing.TB, b *broker, from client, topic string) {
	t.Helper()
	payload := string(make([]byte, 64<<10))
	eventually(t, patience, func() bool {
		for range 20 {
			if err := from.publish(topic, 0, payload); err != nil {
				t.Fatal(err)
			}
		}
		return b.metrics()[`patchbay_messages_dropped_total{reason="out_buffer_full"}`] > 0
	}, "the out-buffer of a stuck subscriber is full")
}
