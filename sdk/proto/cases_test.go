package proto

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// filler gives every field of a message a value that is not zero, different from
// field to field and the same in every run.
type filler struct{ n uint64 }

func (f *filler) fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !fd.IsList() {
			m.Set(fd, f.value(fd))
			continue
		}
		list := m.Mutable(fd).List()
		list.Append(f.value(fd))
		list.Append(f.value(fd))
	}
}

func (f *filler) value(fd protoreflect.FieldDescriptor) protoreflect.Value {
	f.n++
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(f.n * 99))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(f.n * 1_000_003)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(1_790_000_000_000 + f.n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(f.n) + 0.25)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("%s %d", fd.Name(), f.n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(bytes.Repeat([]byte{byte(f.n), 0, 0xFF}, int(f.n%4)+1))
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(1 + int(f.n)%(values.Len()-1)).Number())
	}
	m := dynamicpb.NewMessage(fd.Message())
	f.fill(m)
	return protoreflect.ValueOfMessage(m)
}

// edgeCase is a value, in JSON, or bytes that no writer of ours would make.
type edgeCase struct {
	name, message, about string
	json                 string
	bytes                []byte
	err                  string
}

// field is a tag with what follows it.
func field(number protowire.Number, typ protowire.Type, value ...[]byte) []byte {
	return append(protowire.AppendTag(nil, number, typ), bytes.Join(value, nil)...)
}

func varint(v uint64) []byte { return protowire.AppendVarint(nil, v) }

func span(parts ...[]byte) []byte { return protowire.AppendBytes(nil, bytes.Join(parts, nil)) }

func fixed64(v float64) []byte { return protowire.AppendFixed64(nil, math.Float64bits(v)) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

const (
	tVarint, tFixed64, tBytes = protowire.VarintType, protowire.Fixed64Type, protowire.BytesType
	tStart, tEnd, tFixed32    = protowire.StartGroupType, protowire.EndGroupType, protowire.Fixed32Type
)

// The numbers of fields are those of the .proto files: Batch.seq is 1 and so on.
var edgeCases = []edgeCase{
	{name: "empty-batch", message: "Batch", about: "no fields, no bytes", json: `{}`},
	{name: "empty-elements", message: "Batch", about: "elements without fields are there", json: `{"clients":[{}],"events":[{},{}]}`},
	{name: "empty-nested", message: "Verdict", about: "a message without fields is not an absent one",
		json: `{"replacement":{},"auth":{"quotas":{}}}`},
	{name: "empty-strings", message: "Subscription", about: "an empty string is not written", json: `{"topicFilter":""}`},
	{name: "empty-list-strings", message: "Grant", about: "an empty string in a list is", json: `{"namespaces":["","a",""]}`},
	{name: "empty-list-bytes", message: "Certificate", about: "so are empty bytes", json: `{"chain":["","AA=="]}`},
	{name: "varint-max", message: "Message", about: "the largest values of each type", json: `{"qos":4294967295,
		"id":"18446744073709551615","receivedMs":"9223372036854775807","messageExpiryInterval":4294967295}`},
	{name: "varint-min-int64", message: "Message", about: "negative values take ten bytes", json: `{"receivedMs":"-9223372036854775808"}`},
	{name: "varint-minus-one", message: "Message", about: "negative values take ten bytes", json: `{"receivedMs":"-1"}`},
	{name: "varint-steps", message: "Quotas", about: "values where a varint becomes longer",
		json: `{"maxSubscriptions":127,"maxInflight":128,"maxQueued":16383,"maxQueuedBytes":"16384"}`},
	{name: "varint-steps-64", message: "KvEntry", about: "a value of nine bytes", json: `{"version":"9223372036854775807"}`},
	{name: "enum-negative", message: "HostError", about: "a negative enum value takes ten bytes",
		json: `{"code":"HOST_ERROR_CODE_DENIED","message":"no","grant":"kv"}`},
	{name: "enum-unknown", message: "Verdict", about: "a value that is not known is kept as a number", json: `{"action":99}`},
	{name: "enum-unknown-negative", message: "HostError", about: "a value that is not known is kept as a number", json: `{"code":-2147483648}`},
	{name: "double-special", message: "Sample", about: "minus zero, NaN and infinities, and a value with many digits",
		json: `{"value":-0.0,"buckets":["-Infinity",-0.0,0.1,1e300,"Infinity"]}`},
	{name: "double-nan", message: "Sample", about: "not a number", json: `{"value":"NaN"}`},
	{name: "text-utf8", message: "Message", about: "characters of one to four bytes, and U+0000",
		json: `{"topic":"aä€🙂/\u0000/\ufeff","contentType":"\"\\\n\t\u001f"}`},
	{name: "bytes-all", message: "Message", about: "all byte values", json: fmt.Sprintf(`{"payload":%q}`, base64All)},
	{name: "length-128", message: "Message", about: "a length of two bytes",
		json: fmt.Sprintf(`{"topic":%q,"contentType":%q}`, strings.Repeat("t", 127), strings.Repeat("c", 128))},
	{name: "length-16384", message: "Message", about: "a length of three bytes", json: fmt.Sprintf(`{"topic":%q}`, strings.Repeat("x", 16_384))},
	{name: "list-order", message: "Message", about: "the order stays, names repeat",
		json: `{"userProperties":[{"name":"b","value":"1"},{"name":"a","value":"2"},{"name":"b","value":"3"}]}`},
	{name: "list-long", message: "Answer", about: "300 verdicts", json: `{"verdicts":[` + strings.Repeat(`{"action":"ACTION_DROP"},`, 299) + `{}]}`},
	{name: "tag-two-bytes", message: "Message", about: "a field number above 15", json: `{"origin":"bridge","hops":3}`},
	{name: "batch-shared-message", message: "Batch", about: "two receivers of one message", json: `{"seq":"7","point":"POINT_INTERCEPT_DELIVER",
		"clients":[{"clientId":"a"},{"clientId":"b"}],"events":[{"id":"1","client":1,"message":{"topic":"t","payload":"aGk="}},
		{"id":"2","client":2,"messageOf":1}],"deadlineMs":50}`},
	{name: "permit-batch", message: "Batch", about: "what may these clients do?", json: `{"seq":"8","point":"POINT_PERMIT","clients":[
		{"clientId":"a","username":"ann","attributes":[{"name":"group","value":"crew"}],"remoteAddress":"192.0.2.1:50123"},
		{"clientId":"b"}],"events":[{"id":"3","client":1},{"id":"4","client":2}],"deadlineMs":5000}`},
	{name: "permit-answer", message: "Answer", about: "permissions for one, nothing to say of the other",
		json: `{"seq":"8","verdicts":[{"action":"ACTION_ALLOW","auth":{"hasPermissions":true,"permissions":[
		{"actions":3,"topicFilter":"crew/secret/#"},{"allow":true,"actions":3,"topicFilter":"crew/#","qos":3,"retain":"RETAIN_RULE_NOT_RETAINED"}]}}]}`},

	{name: "read-unknown", message: "Event", about: "unknown fields of every wire type, between known ones", bytes: join(
		field(1, tVarint, varint(5)), field(100, tVarint, varint(1<<40)), field(101, tFixed64, make([]byte, 8)),
		field(5, tBytes, span([]byte("t"))), field(102, tBytes, span([]byte("whatever"))), field(103, tFixed32, make([]byte, 4)),
		field(104, tStart, field(1, tVarint, varint(1)), field(2, tStart, field(2, tEnd)), field(104, tEnd)), field(6, tVarint, varint(1)))},
	{name: "read-unknown-largest", message: "StopResponse", about: "the largest field number", bytes: field(1<<29-1, tVarint, varint(0))},
	{name: "read-out-of-order", message: "Pair", about: "fields in another order", bytes: join(
		field(2, tBytes, span([]byte("v"))), field(1, tBytes, span([]byte("n"))))},
	{name: "read-twice", message: "Pair", about: "of a field that is there twice the last one counts", bytes: join(
		field(1, tBytes, span([]byte("old"))), field(1, tBytes, span([]byte("new"))))},
	{name: "read-twice-nested", message: "Verdict", about: "a message that is there twice is merged", bytes: join(
		field(6, tBytes, span(field(1, tBytes, span([]byte("t"))), field(3, tVarint, varint(1)))), field(2, tVarint, varint(3)),
		field(6, tBytes, span(field(3, tVarint, varint(2)), field(10, tBytes, span()))))},
	{name: "read-zero", message: "Message", about: "zeros that are written all the same", bytes: join(
		field(1, tBytes, span()), field(3, tVarint, varint(0)), field(4, tVarint, varint(0)))},
	{name: "read-long-varint", message: "Message", about: "a varint, a tag and a length with more bytes than needed", bytes: join(
		[]byte{0x98, 0x00}, []byte{0x82, 0x00}, []byte{0x0A, 0x81, 0x80, 0x00, 't'})},
	{name: "read-truncated-to-32", message: "Message", about: "the upper half of a value is ignored where there are 32 bits",
		bytes: field(3, tVarint, varint(1<<32|2))},
	{name: "read-bool", message: "Message", about: "any value but 0 is true", bytes: field(4, tVarint, varint(1<<63))},
	{name: "read-not-packed", message: "Sample", about: "a list of numbers one by one", bytes: join(
		field(6, tFixed64, fixed64(1)), field(6, tFixed64, fixed64(2)))},
	{name: "read-mixed-packed", message: "Sample", about: "a list of numbers in all forms", bytes: join(
		field(6, tFixed64, fixed64(1)), field(6, tBytes, span(fixed64(2), fixed64(3))), field(6, tBytes, span()), field(6, tFixed64, fixed64(4)))},
	{name: "read-other-wire-type", message: "Message", about: "a known number with another wire type is an unknown field", bytes: join(
		field(1, tVarint, varint(1)), field(3, tBytes, span([]byte("x"))), field(6, tFixed64, make([]byte, 8)), field(4, tVarint, varint(1)))},

	{name: "refuse-truncated-tag", message: "Batch", about: "a tag that does not end", bytes: []byte{0x80}, err: "truncated"},
	{name: "refuse-truncated-varint", message: "Batch", about: "a varint that does not end", bytes: []byte{0x08, 0xFF}, err: "truncated"},
	{name: "refuse-no-varint", message: "Batch", about: "a tag without a value", bytes: []byte{0x08}, err: "truncated"},
	{name: "refuse-truncated-bytes", message: "Message", about: "a length beyond the end", bytes: []byte{0x0A, 0x05, 'a'}, err: "truncated"},
	{name: "refuse-huge-length", message: "Message", about: "a length that is negative in 64 bits",
		bytes: join([]byte{0x0A}, varint(1<<63+5), []byte("abc")), err: "truncated"},
	{name: "refuse-length-in-parent", message: "Verdict", about: "a nested length beyond the end of the message around it",
		bytes: join(field(6, tBytes, span([]byte{0x0A, 0x05, 'a'})), []byte("bcde")), err: "truncated"},
	{name: "refuse-truncated-fixed64", message: "Sample", about: "seven bytes of eight", bytes: append([]byte{0x19}, make([]byte, 7)...), err: "truncated"},
	{name: "refuse-truncated-packed", message: "Sample", about: "a list that ends within an element",
		bytes: field(6, tBytes, span(make([]byte, 12))), err: "truncated"},
	{name: "refuse-truncated-unknown", message: "Pair", about: "an unknown field of 32 bits, cut off", bytes: []byte{0x1D, 0, 0, 0}, err: "truncated"},
	{name: "refuse-overflow", message: "Batch", about: "a varint of 65 bits", bytes: join([]byte{0x08}, bytes.Repeat([]byte{0xFF}, 9), []byte{0x02}), err: "overflow"},
	{name: "refuse-endless-varint", message: "Batch", about: "a varint of eleven bytes", bytes: join([]byte{0x08}, bytes.Repeat([]byte{0x80}, 10), []byte{0}), err: "overflow"},
	{name: "refuse-field-0", message: "Batch", about: "field number 0", bytes: []byte{0x00, 0x01}, err: "tag"},
	{name: "refuse-field-too-large", message: "Batch", about: "a field number of 30 bits", bytes: join(varint(1<<32), []byte{0}), err: "tag"},
	{name: "refuse-wire-type-6", message: "Batch", about: "wire type 6", bytes: []byte{0x0E, 0x01}, err: "tag"},
	{name: "refuse-end-group", message: "Batch", about: "the end of a group that has not begun", bytes: field(1, tEnd), err: "tag"},
	{name: "refuse-other-end-group", message: "Batch", about: "the end of another group", bytes: join(field(100, tStart), field(101, tEnd)), err: "tag"},
	{name: "refuse-open-group", message: "Batch", about: "a group that does not end", bytes: field(100, tStart), err: "truncated"},
	{name: "refuse-deep-groups", message: "Batch", about: "17 groups in each other; readers may take them, but need not",
		bytes: join(bytes.Repeat(field(100, tStart), 17), bytes.Repeat(field(100, tEnd), 17)), err: "limit"},
	{name: "refuse-utf8", message: "Message", about: "a string that is not UTF-8", bytes: field(1, tBytes, span([]byte{'a', 0xFF})), err: "utf8"},
	{name: "refuse-utf8-long", message: "Message", about: "a long string that is not UTF-8 in the middle",
		bytes: field(1, tBytes, span([]byte(strings.Repeat("x", 20)+"\xC3"+strings.Repeat("y", 20)))), err: "utf8"},
	{name: "refuse-utf8-surrogate", message: "Grant", about: "half of a pair of UTF-16, in a list", bytes: field(4, tBytes, span([]byte("\xED\xA0\x80"))), err: "utf8"},
	{name: "refuse-too-many", message: "Answer", about: "1,025 verdicts", bytes: bytes.Repeat(field(2, tBytes, span()), 1025), err: "limit"},
	{name: "refuse-too-many-packed", message: "Sample", about: "65 numbers where 64 are allowed", bytes: field(6, tBytes, span(make([]byte, 65*8))), err: "limit"},
	{name: "refuse-too-many-in-all", message: "Batch", about: "65,537 elements: four events with 16,383 subscriptions each, and one more",
		bytes: join(bytes.Repeat(field(4, tBytes, span(bytes.Repeat(field(11, tBytes, span()), 16_383))), 4), field(4, tBytes, span())), err: "limit"},
}

var base64All = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w=="
