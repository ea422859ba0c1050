package pluginv1

import "errors"

// Proto is what every message of the contract is, as a pointer to its struct.
type Proto interface {
	// MessageName is the name in the .proto files, without the package.
	MessageName() string
	// Size is the length of the encoding in bytes.
	Size() int
	// AppendTo appends the encoding to b, whose spare capacity it uses.
	AppendTo(b []byte) []byte
	// MarshalTo writes the encoding to the beginning of b and returns its length.
	// If b is too short it writes nothing and returns the length that is needed,
	// with ErrShortBuffer.
	MarshalTo(b []byte) (int, error)
	// Unmarshal reads an encoding. What it read points into b; see the package
	// comment. After an error the message is in an unspecified state. The error is a
	// *DecodeError.
	Unmarshal(b []byte) error
	// Reset makes all fields empty and keeps their memory.
	Reset()

	put(b []byte, end int) int
}

// Equal reports whether two messages say the same: have the same encoding.
func Equal(a, b Proto) bool {
	return a.MessageName() == b.MessageName() && string(a.AppendTo(nil)) == string(b.AppendTo(nil))
}

// ErrShortBuffer says that MarshalTo needs a longer slice.
var ErrShortBuffer = errors.New("pluginv1: the message is longer than the buffer")

// grow makes room for n bytes.
func grow(b []byte, n int) []byte {
	if n <= cap(b)-len(b) {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}
