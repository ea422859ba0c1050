package format

import (
	"encoding/binary"
	"fmt"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

const (
	recordHasWill byte = 1 << iota
	recordWillHasExpiry
)

// AppendRecord appends the value of a session's record.
func AppendRecord(dst, key []byte, r *store.Record) []byte {
	start := len(dst)
	var flags byte
	if r.Will != nil {
		flags |= recordHasWill
		if r.Will.HasExpiry {
			flags |= recordWillHasExpiry
		}
	}
	dst = append(dst, version, flags)
	dst = appendBytes(dst, r.Namespace)
	dst = appendBytes(dst, r.ClientID)
	dst = appendBytes(dst, r.Username)
	dst = binary.AppendUvarint(dst, uint64(r.Expiry))
	dst = appendTime(dst, r.Detached)
	dst = appendTime(dst, r.WillDue)
	if w := r.Will; w != nil {
		dst = binary.AppendUvarint(dst, uint64(w.Delay))
		dst = binary.AppendUvarint(dst, uint64(w.Expiry))
		dst = AppendMessage(dst, w.Message)
	}
	return seal(dst, start, key)
}

// DecodeRecord reads a session's record. The Will's message is kept; its
// reference is the caller's.
func DecodeRecord(key, value []byte) (r store.Record, err error) {
	b, err := unseal(key, value)
	if err != nil {
		return r, err
	}
	f := fields{b: b}
	flags := f.byte()
	r.Namespace, r.ClientID, r.Username = string(f.bytes()), string(f.bytes()), string(f.bytes())
	r.Expiry, r.Detached, r.WillDue = f.uint32(), f.time(), f.time()
	if flags&recordHasWill == 0 {
		return r, f.err("session record")
	}
	w := &store.Will{Delay: f.uint32(), Expiry: f.uint32(), HasExpiry: flags&recordWillHasExpiry != 0}
	if f.bad {
		return r, f.err("session record")
	}
	var m packet.Message
	if err := decodeMessage(f.b, &m, nil); err != nil {
		return r, err
	}
	w.Message = m.Keep(m.ID)
	r.Will = w
	return r, nil
}

const (
	subscriptionNoLocal byte = 1 << iota
	subscriptionRetainAsPublished
)

// AppendSubscription appends the value of a subscription.
func AppendSubscription(dst, key []byte, s store.Subscription) []byte {
	start := len(dst)
	var flags byte
	if s.NoLocal {
		flags |= subscriptionNoLocal
	}
	if s.RetainAsPublished {
		flags |= subscriptionRetainAsPublished
	}
	dst = append(dst, version, flags, s.QoS, s.RetainHandling)
	dst = binary.AppendUvarint(dst, uint64(s.ID))
	return seal(dst, start, key)
}

// DecodeSubscription reads a subscription.
func DecodeSubscription(key, value []byte) (s store.Subscription, err error) {
	b, err := unseal(key, value)
	if err != nil {
		return s, err
	}
	f := fields{b: b}
	flags := f.byte()
	s = store.Subscription{
		QoS: f.byte(), RetainHandling: f.byte(), ID: f.uint32(),
		NoLocal: flags&subscriptionNoLocal != 0, RetainAsPublished: flags&subscriptionRetainAsPublished != 0,
	}
	if s.QoS > 2 || s.RetainHandling > 2 {
		return s, fmt.Errorf("%w: subscription with QoS %d, Retain Handling %d", ErrCorrupt, s.QoS, s.RetainHandling)
	}
	return s, f.err("subscription")
}

// AppendMark appends the value of a record that says all by its key.
func AppendMark(dst, key []byte) []byte { return seal(append(dst, version), len(dst), key) }

// DecodeMark checks such a value.
func DecodeMark(key, value []byte) error {
	b, err := unseal(key, value)
	if err != nil {
		return err
	}
	f := fields{b: b}
	return f.err("mark")
}

// AppendText appends a value that is one text: the namespace of an ended session.
func AppendText(dst, key []byte, text string) []byte {
	start := len(dst)
	return seal(appendBytes(append(dst, version), text), start, key)
}

// DecodeText reads such a value.
func DecodeText(key, value []byte) (string, error) {
	b, err := unseal(key, value)
	if err != nil {
		return "", err
	}
	f := fields{b: b}
	text := string(f.bytes())
	return text, f.err("text")
}

// AppendNumber appends a value that is one number: those of Meta.
func AppendNumber(dst, key []byte, n uint64) []byte {
	start := len(dst)
	return seal(binary.AppendUvarint(append(dst, version), n), start, key)
}

// DecodeNumber reads such a value.
func DecodeNumber(key, value []byte) (uint64, error) {
	b, err := unseal(key, value)
	if err != nil {
		return 0, err
	}
	f := fields{b: b}
	n := f.uvarint()
	return n, f.err("number")
}

// AppendValue appends an entry of Values: expires is in Unix milliseconds, 0
// never.
func AppendValue(dst, key, value []byte, number uint64, expires int64) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(append(dst, version), number)
	dst = append(appendTime(dst, expires), value...)
	return seal(dst, start, key)
}

// DecodeValue reads an entry of Values. The result lies in stored.
func DecodeValue(key, stored []byte) (value []byte, number uint64, expires int64, err error) {
	b, err := unseal(key, stored)
	if err != nil {
		return nil, 0, 0, err
	}
	f := fields{b: b}
	number, expires = f.uvarint(), f.time()
	value, f.b = f.b, nil
	return value, number, expires, f.err("value")
}

// AppendQuarantined appends the value of a record that was moved away.
func AppendQuarantined(dst, key []byte, why string, original []byte) []byte {
	start := len(dst)
	dst = appendBytes(append(dst, version), why)
	return seal(append(dst, original...), start, key)
}

// DecodeQuarantined reads it. original lies in value.
func DecodeQuarantined(key, value []byte) (why string, original []byte, err error) {
	b, err := unseal(key, value)
	if err != nil {
		return "", nil, err
	}
	f := fields{b: b}
	why = string(f.bytes())
	original, f.b = f.b, nil
	return why, original, f.err("quarantined record")
}
