package main

// Schema is the contract as emitters see it: in the order of the .proto files,
// which is sorted by name, and in the order of declaration within each.
type Schema struct {
	Package string // protobuf package
	Files   []*File
	// Descriptors is a FileDescriptorSet in wire form, without comments.
	Descriptors []byte
}

// each calls do for all messages.
func each(s *Schema, do func(*Message)) {
	for _, f := range s.Files {
		for _, m := range f.Messages {
			do(m)
		}
	}
}

// File is one .proto file.
type File struct {
	Name     string // without folder and ".proto"
	Doc      string
	Enums    []*Enum
	Messages []*Message
	Services []*Service
}

// Message is a message type; there are no nested or recursive ones.
type Message struct {
	Name   string
	Doc    string
	Fields []*Field // in the order of their numbers
}

// Kind is the type of a field.
type Kind int

// The kinds that the contract allows. On the wire String, Bytes and MessageKind
// are length-delimited, Double is 64 bits, all others are varints.
const (
	Bool Kind = iota
	Uint32
	Uint64
	Int64
	Double
	String
	Bytes
	EnumKind
	MessageKind
)

// Field is a field of a message.
type Field struct {
	Name     string
	JSON     string
	Number   int
	Kind     Kind
	Repeated bool
	// Limit is the largest number of elements of a repeated field.
	Limit   int
	Message *Message // of MessageKind
	Enum    *Enum    // of EnumKind
	Doc     string
}

// Packed reports whether elements are written one after the other in one
// length-delimited value. Readers must take both forms.
func (f *Field) Packed() bool {
	return f.Repeated && f.Kind != String && f.Kind != Bytes && f.Kind != MessageKind
}

// WireType is how the field is written: 0 varint, 1 64 bits, 2 length-delimited.
func (f *Field) WireType() int {
	if f.Packed() {
		return wireBytes
	}
	return f.Kind.wireType()
}

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

func (k Kind) wireType() int {
	switch k {
	case String, Bytes, MessageKind:
		return wireBytes
	case Double:
		return wireFixed64
	}
	return wireVarint
}

// Tag is the number and wire type as they stand before the value, a varint.
func (f *Field) Tag() uint64 { return uint64(f.Number)<<3 | uint64(f.WireType()) }

// ElementTag is the Tag of a single element of a packed field, in its other form.
func (f *Field) ElementTag() uint64 { return uint64(f.Number)<<3 | uint64(f.Kind.wireType()) }

// Enum is an enum type.
type Enum struct {
	Name   string
	Doc    string
	Values []*Value // the first is zero
}

// Value is a value of an enum; no two have the same number.
type Value struct {
	Name   string
	Number int
	Doc    string
}

// Service is a gRPC service.
type Service struct {
	Name    string
	Doc     string
	Methods []*Method
	// Ops is the enum that has a value for each Method.
	Ops *Enum
}

// Method is a call. It is either unary or a stream in both directions.
type Method struct {
	Name            string
	Doc             string
	Request, Answer *Message
	Stream          bool
	Op              *Value
	// Grant is the name of the grant that the call needs, GrantNote what is to be
	// said of it beside; both empty for none.
	Grant, GrantNote string
	// Waits is set for calls that may take long.
	Waits bool
}
