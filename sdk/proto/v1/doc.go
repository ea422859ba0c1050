// Package pluginv1 has the messages of the plugin contract, version 1, as plain
// structs, with a codec that is small enough for a WebAssembly guest and quick
// enough for every message of a broker.
//
// It owns the wire form and nothing else: not what the messages mean (that is in
// CONTRACT.md and the .proto files, whose comments are repeated here), not how they
// travel. It imports the standard library only. JSON is in v1json, gRPC in v1grpc.
//
// Every message X has
//
//	Size() int                        bytes of its encoding
//	AppendTo(b []byte) []byte         appends the encoding
//	MarshalTo(b []byte) (int, error)  writes it to the beginning of b
//	Unmarshal(b []byte) error         reads it
//	Reset()                           empties it and keeps its memory
//
// Unmarshal makes views: strings and byte slices of the message point into b, which
// must not change as long as they are in use. To keep a message, unmarshal a copy of
// b (bytes.Clone). Unmarshal begins with Reset, which reuses the slices and the
// messages that the message holds; so a message that is unmarshalled again and again
// allocates nothing, and whatever was taken out of it before (&batch.Events[0],
// event.Message) is overwritten. A message must not be copied by value while both
// copies are unmarshalled into.
//
// It skips what it does not know, and refuses what is malformed, breaks a Limit of
// the contract or is not UTF-8, with a *DecodeError that names the field. It never
// panics, and allocates no more than a small multiple of the input and of what the
// limits allow. Encoding writes what is there: it checks neither limits nor UTF-8.
//
// A message may be read by any number of goroutines at once (encoding reads), and
// must be written by one alone.
//
// Files ending in .gen.go are generated, see ../gen. wire.go has what they use; start
// at event.gen.go and verdict.gen.go.
package pluginv1
