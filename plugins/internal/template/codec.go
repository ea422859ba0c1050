package template

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Codec is what a payload is on the other side. It is a type for a config.
type Codec uint8

const (
	// Raw payloads are the same bytes on both sides.
	Raw Codec = iota
	// JSONCodec is raw, of payloads that must be JSON. In templates ${payload} is a value.
	JSONCodec
	// Base64 payloads are base64 on the other side.
	Base64
)

var codecs = [...]string{"raw", "json", "base64"}

// String returns the name of the codec.
func (c Codec) String() string { return codecs[c] }

// MarshalText returns the name of the codec.
func (c Codec) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the name of a codec.
func (c *Codec) UnmarshalText(b []byte) error {
	for i, name := range codecs {
		if name == string(b) {
			*c = Codec(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no codec: raw, json or base64", b)
}

// Encode makes of a message's payload what goes to the other side. The result may be the
// payload itself.
func (c Codec) Encode(payload []byte) ([]byte, error) {
	switch c {
	case JSONCodec:
		return checkJSON(payload)
	case Base64:
		return base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(len(payload))), payload), nil
	}
	return payload, nil
}

// Decode makes a payload of what comes from the other side. The result may be b itself.
func (c Codec) Decode(b []byte) ([]byte, error) {
	switch c {
	case JSONCodec:
		return checkJSON(b)
	case Base64:
		out, err := base64.StdEncoding.DecodeString(string(b))
		if err != nil {
			return nil, errors.New("it is no base64")
		}
		return out, nil
	}
	return b, nil
}

func checkJSON(b []byte) ([]byte, error) {
	if !json.Valid(b) {
		return nil, errNoJSON
	}
	return b, nil
}
