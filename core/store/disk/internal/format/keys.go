package format

import (
	"bytes"
	"encoding/binary"
)

// Schema is the number of this layout.
const Schema = 1

// Keyspaces.
const (
	Meta       byte = 0x00
	Sessions   byte = 's'
	Contents   byte = 'c'
	Index      byte = 'i'
	Shared     byte = 'm'
	Retained   byte = 'r'
	Values     byte = 'v'
	Ended      byte = 'e'
	Quarantine byte = 'q'
)

// Kinds of keys in Sessions.
const (
	KindRecord       byte = 0x00
	KindSubscription byte = 0x01
	KindReceived     byte = 0x02
)

// The keys of Meta. They are not to be changed by the caller.
var (
	SchemaKey = []byte("\x00schema")
	BootKey   = []byte("\x00boot")
)

// Span returns the bounds of a keyspace: lower included, upper not.
func Span(space byte) (lower, upper []byte) { return []byte{space}, []byte{space + 1} }

// SessionSpan returns the bounds of what a keyspace has of one session.
func SessionSpan(space byte, session uint64) (lower, upper []byte) {
	lower = appendNumber([]byte{space}, session)
	if session+1 == 0 {
		return lower, []byte{space + 1}
	}
	return lower, appendNumber([]byte{space}, session+1)
}

// AppendRecordKey appends the key of a session's record.
func AppendRecordKey(dst []byte, session uint64) []byte {
	return append(appendNumber(append(dst, Sessions), session), KindRecord)
}

// AppendSubscriptionKey appends the key of a subscription.
func AppendSubscriptionKey(dst []byte, session uint64, filter string) []byte {
	return append(append(appendNumber(append(dst, Sessions), session), KindSubscription), filter...)
}

// AppendReceivedKey appends the key of a received Packet Identifier.
func AppendReceivedKey(dst []byte, session uint64, id uint16) []byte {
	dst = append(appendNumber(append(dst, Sessions), session), KindReceived)
	return binary.BigEndian.AppendUint16(dst, id)
}

// AppendPairKey appends a key of Contents (number is a pos) or Index (a seq).
func AppendPairKey(dst []byte, space byte, session, number uint64) []byte {
	return appendNumber(appendNumber(append(dst, space), session), number)
}

// AppendNumberKey appends a key of Shared or Ended.
func AppendNumberKey(dst []byte, space byte, number uint64) []byte {
	return appendNumber(append(dst, space), number)
}

// AppendNamedKey appends a key of Retained (namespace and topic) or Values
// (bucket and key).
func AppendNamedKey[T ~string | ~[]byte](dst []byte, space byte, scope string, name T) []byte {
	dst = binary.AppendUvarint(append(dst, space), uint64(len(scope)))
	return append(append(dst, scope...), name...)
}

// AppendQuarantineKey appends the key of a record that was moved away; n tells
// those of the same millisecond apart.
func AppendQuarantineKey(dst []byte, when int64, n uint32, key []byte) []byte {
	dst = appendNumber(append(dst, Quarantine), uint64(when))
	return append(binary.BigEndian.AppendUint32(dst, n), key...)
}

func appendNumber(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(dst, n) }

// SplitSessionKey takes a key of Sessions apart. rest is the filter, or the two
// bytes of the Packet Identifier.
func SplitSessionKey(key []byte) (session uint64, kind byte, rest []byte, ok bool) {
	if len(key) < 10 || key[0] != Sessions {
		return 0, 0, nil, false
	}
	session, kind, rest = binary.BigEndian.Uint64(key[1:]), key[9], key[10:]
	switch kind {
	case KindRecord:
		ok = len(rest) == 0
	case KindSubscription:
		ok = true
	case KindReceived:
		ok = len(rest) == 2
	}
	return session, kind, rest, ok
}

// SplitPairKey takes a key of Contents or Index apart.
func SplitPairKey(key []byte) (session, number uint64, ok bool) {
	if len(key) != 17 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:]), true
}

// SplitNumberKey takes a key of Shared or Ended apart.
func SplitNumberKey(key []byte) (number uint64, ok bool) {
	if len(key) != 9 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// SplitNamedKey takes a key of Retained or Values apart.
func SplitNamedKey(key []byte) (scope, name []byte, ok bool) {
	if len(key) < 2 {
		return nil, nil, false
	}
	n, k := binary.Uvarint(key[1:])
	if k <= 0 || n > uint64(len(key)-1-k) {
		return nil, nil, false
	}
	scope, name = key[1+k:1+k+int(n)], key[1+k+int(n):]
	// There must be one key only for each pair.
	return scope, name, bytes.Equal(binary.AppendUvarint(nil, n), key[1:1+k])
}

// SplitQuarantineKey takes a key of Quarantine apart.
func SplitQuarantineKey(key []byte) (when int64, original []byte, ok bool) {
	if len(key) < 13 || key[0] != Quarantine {
		return 0, nil, false
	}
	return int64(binary.BigEndian.Uint64(key[1:])), key[13:], true
}
