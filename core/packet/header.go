package packet

// MaxRemaining is the largest Remaining Length, and the largest value of any
// Variable Byte Integer: 268,435,455.
const MaxRemaining = 1<<28 - 1

// maxString is the longest UTF-8 Encoded String or Binary Data, in bytes.
const maxString = 1<<16 - 1

// Header is a Fixed Header.
type Header struct {
	Type      Type
	Flags     byte // the lower four bits of the first byte
	Remaining int  // bytes that follow the Fixed Header
}

const (
	flagRetain = 1 << 0
	flagDup    = 1 << 3
)

// requiredFlags are the flags of every packet but PUBLISH (Table 2-2).
var requiredFlags = [16]byte{TypePubrel: 2, TypeSubscribe: 2, TypeUnsubscribe: 2}

var (
	errHeaderType  = malformed("", "fixed header: packet type 0 is reserved")
	errPublishQoS3 = malformed("MQTT-3.3.1-4", "PUBLISH: QoS is 3")
	errPublishDup  = malformed("MQTT-3.3.1-2", "PUBLISH: DUP is set on QoS 0")
	errHeaderFlags = flagErrors()
	errVarLong     = malformed("MQTT-1.5.5-1", "variable byte integer has more than four bytes")
	errVarMinimal  = malformed("MQTT-1.5.5-1", "variable byte integer is not in its shortest form")
)

func flagErrors() (errs [16]*Error) {
	for t := range errs {
		errs[t] = malformed("MQTT-2.1.3-1", Type(t).String()+": reserved flags of the fixed header are not as they must be")
	}
	return errs
}

// ReadHeader decodes the Fixed Header at the start of b. n is its length, 2 to 5,
// or 0 with a nil error if b does not hold all of it yet. The first byte is judged
// as soon as it is there.
//
// It refuses type 0, reserved flags [MQTT-2.1.3-1], a PUBLISH with QoS 3
// [MQTT-3.3.1-4] or with DUP on QoS 0 [MQTT-3.3.1-2], and a Remaining Length of
// five bytes or not in its shortest form [MQTT-1.5.5-1]. That AUTH exists in 5.0
// only, and any limit on the length, is for the caller to check.
func ReadHeader(b []byte) (h Header, n int, err error) {
	return readHeader(b, 0)
}

// ReadHeaderV31 is ReadHeader for a connection that speaks MQTT 3.1, where DUP
// may be set on PUBREL, SUBSCRIBE and UNSUBSCRIBE.
func ReadHeaderV31(b []byte) (h Header, n int, err error) {
	return readHeader(b, flagDup)
}

// readHeader is ReadHeader with the flags that do not matter where a packet has
// QoS 1 in its Fixed Header, as MQTT 3.1 put it.
func readHeader(b []byte, optional byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	h = Header{Type: Type(b[0] >> 4), Flags: b[0] & 0x0F}
	if err := checkFlags(h, optional); err != nil {
		return Header{}, 0, err
	}
	v, n, err := readVar(b[1:])
	if n == 0 || err != nil {
		return Header{}, 0, err
	}
	h.Remaining = int(v)
	return h, n + 1, nil
}

func checkFlags(h Header, optional byte) error {
	if h.Type == TypePublish {
		switch qos := h.Flags >> 1 & 3; {
		case qos == 3:
			return errPublishQoS3
		case qos == 0 && h.Flags&flagDup != 0:
			return errPublishDup
		}
		return nil
	}
	want := requiredFlags[h.Type]
	switch {
	case h.Type == 0:
		return errHeaderType
	case h.Flags == want, want != 0 && h.Flags&^optional == want:
		return nil
	}
	return errHeaderFlags[h.Type]
}

// readVar decodes the Variable Byte Integer at the start of b; n is its length, 0
// with a nil error if it is not all there.
func readVar(b []byte) (v uint32, n int, err error) {
	for i, c := range b {
		v |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, 0, errVarMinimal
			}
			return v, i + 1, nil
		}
		if i == 3 {
			return 0, 0, errVarLong
		}
	}
	return 0, 0, nil
}

// appendVar appends v, at most MaxRemaining, as a Variable Byte Integer
// [MQTT-1.5.5-1].
func appendVar(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// sizeVar is the number of bytes that appendVar appends.
func sizeVar(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}
