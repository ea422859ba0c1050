package dump

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"
)

// octets are bytes that are a string in JSON if they are text, and
// {"base64":"…"} otherwise: nothing is lost, and people can read what is meant to
// be read.
type octets []byte

// encoded is how octets look that are no text.
type encoded struct {
	Base64 []byte `json:"base64"`
}

// readable reports whether b is text: UTF-8 without control characters other than
// those of lines and columns, which JSON would write at six bytes each.
func readable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}

func (o octets) MarshalJSON() ([]byte, error) {
	if !readable(o) {
		const head, tail = `{"base64":"`, `"}`
		out := make([]byte, 0, len(head)+base64.StdEncoding.EncodedLen(len(o))+len(tail))
		out = base64.StdEncoding.AppendEncode(append(out, head...), o)
		return append(out, tail...), nil
	}
	var b bytes.Buffer
	b.Grow(len(o) + len(o)/16 + 3)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(o)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

func (o *octets) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*o = octets(s)
		return nil
	case '{':
		var e encoded
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return err
		}
		*o = e.Base64
		return nil
	}
	return errors.New(`neither a string nor {"base64":"…"}`)
}

// text is octets as a string.
type text string

func (t text) MarshalJSON() ([]byte, error) { return octets(t).MarshalJSON() }

func (t *text) UnmarshalJSON(b []byte) error {
	var o octets
	if err := o.UnmarshalJSON(b); err != nil {
		return err
	}
	*t = text(o)
	return nil
}

// stamp is a time in Unix milliseconds. In JSON it is RFC 3339 with milliseconds
// in UTC, or the number where the calendar of RFC 3339 ends.
type stamp int64

const stampLayout = "2006-01-02T15:04:05.000Z07:00"

func (s stamp) MarshalJSON() ([]byte, error) {
	t := time.UnixMilli(int64(s)).UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return json.Marshal(int64(s))
	}
	return t.AppendFormat(nil, `"`+stampLayout+`"`), nil
}

func (s *stamp) UnmarshalJSON(b []byte) error {
	if b[0] != '"' {
		var n int64
		if err := json.Unmarshal(b, &n); err != nil {
			return err
		}
		if n < 0 {
			return errEarly
		}
		*s = stamp(n)
		return nil
	}
	var t time.Time
	if err := t.UnmarshalJSON(b); err != nil {
		return errors.New("not a time such as 2026-01-31T12:00:00.000Z")
	}
	if t.UnixMilli() < 0 {
		return errEarly
	}
	*s = stamp(t.UnixMilli())
	return nil
}

// errEarly: a store knows no such times.
var errEarly = errors.New("a time before 1970")
