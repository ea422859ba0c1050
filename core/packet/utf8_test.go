package packet

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"unicode/utf8"
)

// naiveText is what checkText and checkTopicName must agree with.
func naiveText(b []byte, topicName bool) bool {
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 && !(topicName && bytes.ContainsAny(b, "+#"))
}

// Every length around the eight bytes of a step, with something of interest at
// every place.
func TestTextAgainstNaive(t *testing.T) {
	parts := []string{"\x00", "\x01", "+", "#", "$", "*", ",", "\x7f", "\x80", "\xff", "ü", "€", "𝄞", "\xed\xa0\x80", "\xed\xbf\xbf",
		"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xef\xbf\xbf", "\xef\xbb\xbf", "\xe2\x82", "\xc3", "\xef\xbf\xbd"}
	for n := range 27 {
		for at := range n + 1 {
			for _, p := range parts {
				b := append(bytes.Repeat([]byte{'a'}, at), p...)
				b = append(b, bytes.Repeat([]byte{'b'}, n-at)...)
				compareText(t, b)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30_000 {
		b := make([]byte, rng.IntN(20))
		for i := range b {
			if b[i] = byte(rng.IntN(128)); rng.IntN(30) == 0 {
				b[i] = byte(rng.IntN(256))
			}
		}
		compareText(t, b)
	}
}

func compareText(t *testing.T, b []byte) {
	t.Helper()
	if got, want := checkText(b) == "", naiveText(b, false); got != want {
		t.Fatalf("%q as a string: %v, want %v", b, got, want)
	}
	if got, want := checkTopicName(b) == "", naiveText(b, true); got != want {
		t.Fatalf("%q as a topic name: %v, want %v", b, got, want)
	}
}

func TestValidUTF8(t *testing.T) {
	for s, clause := range map[string]string{
		"": "", "plain": "", "größer als acht": "", "\ufeff": "",
		"a\x00": "MQTT-1.5.4-2", "abcdefgh\x00": "MQTT-1.5.4-2", "\xff": "MQTT-1.5.4-1", "\xed\xa0\x80": "MQTT-1.5.4-1",
	} {
		err := ValidUTF8([]byte(s))
		var e *Error
		if clause == "" && err != nil || clause != "" && (!errors.As(err, &e) || e.Clause != clause || e.Code != MalformedPacket) {
			t.Errorf("%q: %v, want [%s]", s, err, clause)
		}
	}
}
