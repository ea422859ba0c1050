package format

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

var testMessage = packet.Message{
	Topic: []byte("a/b"), Payload: []byte("payload"), Props: []byte{1, 2}, Publisher: "p",
	ID: 1 << 63, Received: 5, Expires: 6, QoS: 2, Retain: true,
}

func sameMessage(t *testing.T, got, want *packet.Message) {
	t.Helper()
	if !bytes.Equal(got.Topic, want.Topic) || !bytes.Equal(got.Payload, want.Payload) || !bytes.Equal(got.Props, want.Props) ||
		got.Publisher != want.Publisher || got.ID != want.ID || got.Received != want.Received || got.Expires != want.Expires ||
		got.QoS != want.QoS || got.Retain != want.Retain {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestKeysSortAndSplit(t *testing.T) {
	keys := [][]byte{
		BootKey, SchemaKey,
		AppendPairKey(nil, Contents, 1, 2), AppendPairKey(nil, Contents, 1, 256), AppendPairKey(nil, Contents, 2, 0),
		AppendNumberKey(nil, Ended, 1),
		AppendPairKey(nil, Index, 1, 1),
		AppendNumberKey(nil, Shared, 1),
		AppendQuarantineKey(nil, 5, 1, []byte("k")), AppendQuarantineKey(nil, 5, 2, []byte("a")),
		AppendNamedKey(nil, Retained, "", "z"), AppendNamedKey(nil, Retained, "n", "a"),
		AppendRecordKey(nil, 1), AppendSubscriptionKey(nil, 1, "a"), AppendSubscriptionKey(nil, 1, "b"), AppendReceivedKey(nil, 1, 0),
		AppendRecordKey(nil, 2),
		AppendNamedKey(nil, Values, "b", "k"),
	}
	for i := 1; i < len(keys); i++ {
		if bytes.Compare(keys[i-1], keys[i]) >= 0 {
			t.Errorf("%q is not before %q", keys[i-1], keys[i])
		}
	}
	if s, kind, rest, ok := SplitSessionKey(AppendSubscriptionKey(nil, 7, "a/#")); s != 7 || kind != KindSubscription || string(rest) != "a/#" || !ok {
		t.Error(s, kind, rest, ok)
	}
	if s, kind, rest, ok := SplitSessionKey(AppendReceivedKey(nil, 7, 258)); s != 7 || kind != KindReceived || !bytes.Equal(rest, []byte{1, 2}) || !ok {
		t.Error(s, kind, rest, ok)
	}
	if s, n, ok := SplitPairKey(AppendPairKey(nil, Index, 7, 8)); s != 7 || n != 8 || !ok {
		t.Error(s, n, ok)
	}
	if n, ok := SplitNumberKey(AppendNumberKey(nil, Shared, 9)); n != 9 || !ok {
		t.Error(n, ok)
	}
	if scope, name, ok := SplitNamedKey(AppendNamedKey(nil, Values, "bucket", []byte("key"))); string(scope) != "bucket" || string(name) != "key" || !ok {
		t.Error(scope, name, ok)
	}
	if when, key, ok := SplitQuarantineKey(AppendQuarantineKey(nil, 77, 1, []byte("k"))); when != 77 || string(key) != "k" || !ok {
		t.Error(when, key, ok)
	}
	for _, space := range []byte{Sessions, Contents, Index} {
		lower, upper := SessionSpan(space, 1<<64-1)
		if bytes.Compare(lower, upper) >= 0 || bytes.Compare(AppendPairKey(nil, space, 1<<64-1, 1<<64-1), upper) >= 0 {
			t.Errorf("span of the last session: %q %q", lower, upper)
		}
	}
}

func TestRecords(t *testing.T) {
	key := []byte("key")
	for _, r := range []store.Record{
		{},
		{Namespace: "n", ClientID: "c", Username: "u", Expiry: 1<<32 - 1, Detached: 7, WillDue: 8},
		{ClientID: "c", Will: &store.Will{Message: &testMessage, Delay: 1, Expiry: 2, HasExpiry: true}},
	} {
		got, err := DecodeRecord(key, AppendRecord(nil, key, &r))
		if err != nil {
			t.Fatal(err)
		}
		if r.Will != nil {
			sameMessage(t, got.Will.Message, &testMessage)
			got.Will.Message = r.Will.Message
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, want %+v", got, r)
		}
	}
	sub := store.Subscription{QoS: 2, NoLocal: true, RetainHandling: 1, ID: 77}
	if got, err := DecodeSubscription(key, AppendSubscription(nil, key, sub)); err != nil || got != sub {
		t.Error(got, err)
	}
	if err := DecodeMark(key, AppendMark(nil, key)); err != nil {
		t.Error(err)
	}
	if got, err := DecodeText(key, AppendText(nil, key, "text")); err != nil || got != "text" {
		t.Error(got, err)
	}
	if got, err := DecodeNumber(key, AppendNumber(nil, key, 1<<63)); err != nil || got != 1<<63 {
		t.Error(got, err)
	}
	if v, n, expires, err := DecodeValue(key, AppendValue(nil, key, []byte("v"), 3, 4)); err != nil || string(v) != "v" || n != 3 || expires != 4 {
		t.Error(v, n, expires, err)
	}
	if why, original, err := DecodeQuarantined(key, AppendQuarantined(nil, key, "why", []byte("v"))); err != nil || why != "why" || string(original) != "v" {
		t.Error(why, original, err)
	}
}

func TestMessages(t *testing.T) {
	key := []byte("key")
	var m packet.Message
	if err := DecodeRetained(key, AppendRetained(nil, key, &testMessage), &m, nil); err != nil {
		t.Fatal(err)
	}
	sameMessage(t, &m, &testMessage)
	route := &store.Route{IDs: []uint32{1, 1 << 27}, Group: "g", Filter: "f"}
	var memo Memo
	for _, c := range []Content{
		{QoS: 1, Size: 5},
		{QoS: 2, Retain: true, Unscreened: true, Direct: true, Expires: 9, Size: 1 << 28, Route: route},
		{Shared: 77, Fan: 1000, Route: route},
	} {
		value := AppendContent(nil, key, &c, &testMessage)
		var got Content
		if err := DecodeContent(key, value, &got, &memo); err != nil {
			t.Fatal(err)
		}
		if c.Shared == 0 {
			var m packet.Message
			if err := DecodeBody(got.Body, &m, &memo); err != nil {
				t.Fatal(err)
			}
			sameMessage(t, &m, &testMessage)
			got.Body = nil
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("got %+v, want %+v", got, c)
		}
	}
	for _, released := range []bool{false, true} {
		if pos, r, err := DecodeIndex(key, AppendIndex(nil, key, 1<<40, released)); err != nil || pos != 1<<40 || r != released {
			t.Error(pos, r, err)
		}
	}
}

// A record is bound to its key, and each bit of it counts.
func TestDamage(t *testing.T) {
	key := []byte("key")
	value := AppendRetained(nil, key, &testMessage)
	var m packet.Message
	if err := DecodeRetained([]byte("kez"), value, &m, nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	for bit := range len(value) * 8 {
		b := bytes.Clone(value)
		b[bit/8] ^= 1 << (bit % 8)
		if err := DecodeRetained(key, b, &m, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("bit %d: %v", bit, err)
		}
	}
	for n := range value {
		if err := DecodeRetained(key, value[:n], &m, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// Operands give the same in whatever order and grouping they are merged.
func TestMerge(t *testing.T) {
	key := []byte("key")
	first := AppendShared(nil, key, 3, &testMessage)
	minus := AppendShared(nil, key, -1, nil)
	merge := func(includesBase bool, older bool, values ...[]byte) []byte {
		t.Helper()
		vm, err := Merger().Merge(key, values[0])
		for _, v := range values[1:] {
			if older {
				err = errors.Join(err, vm.MergeOlder(v))
			} else {
				err = errors.Join(err, vm.MergeNewer(v))
			}
		}
		value, _, ferr := vm.Finish(includesBase)
		if err = errors.Join(err, ferr); err != nil {
			t.Fatal(err)
		}
		return value
	}
	for name, value := range map[string][]byte{
		"newer":   merge(true, false, first, minus),
		"older":   merge(true, true, minus, first),
		"grouped": merge(true, true, merge(false, true, minus, minus), merge(false, false, first, AppendShared(nil, key, 1, nil))),
	} {
		n, body, err := DecodeShared(key, value)
		var m packet.Message
		if err == nil {
			err = DecodeBody(body, &m, nil)
		}
		if err != nil || n != 2 || SharedFree(key, value) {
			t.Errorf("%s: %d %v", name, n, err)
		}
		sameMessage(t, &m, &testMessage)
	}
	last := merge(true, true, minus, minus, minus, first)
	if n, body, err := DecodeShared(key, last); err != nil || n != 0 || body != nil || !SharedFree(key, last) {
		t.Errorf("%d %q %v", n, body, err)
	}
	// What is newer than the base may be merged for itself: nothing may go then.
	part := merge(false, true, minus, minus)
	if n, _, err := DecodeShared(key, merge(true, true, part, first)); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	// With a broken operand nobody knows the count.
	broken := merge(true, true, minus, minus, []byte("broken"), minus, first)
	if SharedFree(key, broken) {
		t.Error("free, but an operand was lost")
	}
	if _, body, err := DecodeShared(key, broken); err != nil || body == nil {
		t.Error(err)
	}
}

// FuzzDecode feeds all decoders with anything, sealed or not: they must neither
// panic nor accept what they would not write.
func FuzzDecode(f *testing.F) {
	key := []byte("key")
	r := store.Record{ClientID: "c", Will: &store.Will{Message: &testMessage}}
	route := &store.Route{IDs: []uint32{1}, Group: "g"}
	for _, b := range [][]byte{
		AppendRecord(nil, key, &r), AppendSubscription(nil, key, store.Subscription{QoS: 1}), AppendMark(nil, key),
		AppendText(nil, key, "n"), AppendNumber(nil, key, 5), AppendValue(nil, key, []byte("v"), 1, 2),
		AppendQuarantined(nil, key, "why", nil), AppendRetained(nil, key, &testMessage),
		AppendContent(nil, key, &Content{Route: route, Size: 1}, &testMessage), AppendContent(nil, key, &Content{Shared: 1, Fan: 2}, nil),
		AppendIndex(nil, key, 1, true), AppendShared(nil, key, -1, nil), AppendShared(nil, key, 2, &testMessage),
		AppendRecordKey(nil, 1), AppendNamedKey(nil, Values, "b", "k"), AppendPairKey(nil, Contents, 1, 2), AppendQuarantineKey(nil, 1, 2, key),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		SplitSessionKey(b)
		SplitPairKey(b)
		SplitNumberKey(b)
		SplitQuarantineKey(b)
		if scope, name, ok := SplitNamedKey(b); ok && !bytes.Equal(AppendNamedKey(nil, b[0], string(scope), name), b) {
			t.Errorf("named key %q", b)
		}
		decodeAll(t, key, b)
		if len(b) > 4 { // as if it had been sealed like that
			decodeAll(t, key, seal(append([]byte{version}, b...), 0, key))
		}
	})
}

func decodeAll(t *testing.T, key, value []byte) {
	var m packet.Message
	var c Content
	var memo Memo
	if r, err := DecodeRecord(key, value); err == nil {
		r2, err := DecodeRecord(key, AppendRecord(nil, key, &r))
		if err != nil || r2.ClientID != r.ClientID || (r2.Will == nil) != (r.Will == nil) {
			t.Errorf("record %+v, %+v: %v", r, r2, err)
		}
	}
	if s, err := DecodeSubscription(key, value); err == nil {
		if s2, err := DecodeSubscription(key, AppendSubscription(nil, key, s)); err != nil || s2 != s {
			t.Errorf("subscription %+v, %+v: %v", s, s2, err)
		}
	}
	if err := DecodeContent(key, value, &c, &memo); err == nil {
		if c.Shared == 0 {
			err = DecodeBody(c.Body, &m, &memo)
		}
		if err == nil {
			var c2 Content
			if err := DecodeContent(key, AppendContent(nil, key, &c, &m), &c2, nil); err != nil || c2.Shared != c.Shared || c2.Size != c.Size {
				t.Errorf("content %+v, %+v: %v", c, c2, err)
			}
		}
	}
	_ = DecodeRetained(key, value, &m, &memo)
	_ = DecodeMark(key, value)
	_, _ = DecodeText(key, value)
	_, _ = DecodeNumber(key, value)
	_, _, _, _ = DecodeValue(key, value)
	_, _, _ = DecodeQuarantined(key, value)
	_, _, _ = DecodeIndex(key, value)
	_, _, _ = DecodeShared(key, value)
	if vm, err := Merger().Merge(key, value); err == nil {
		_ = vm.MergeOlder(value)
		if _, _, err := vm.Finish(true); err != nil {
			t.Error(err)
		}
	}
}
