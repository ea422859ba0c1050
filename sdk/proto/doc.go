// Package proto is the home of the plugin contract, version 1; it has no code.
//
// The contract is patchbay/plugin/v1/*.proto: what a plugin says of itself, is asked
// and told, answers, and may ask of the broker. Its comments are the reference, which
// CONTRACT.md has in one piece. Everything else here is made from it or checks it:
//
//	patchbay/plugin/v1/*.proto ──gen──┬─► v1       structs and codec, standard library only
//	                                  ├─► v1host   the host's services as a Go interface
//	                                  ├─► v1json   JSON form
//	                                  ├─► v1grpc   gRPC clients and servers
//	                                  ├─► CONTRACT.md
//	                                  └─► v1.binpb descriptor set, for tools and tests
//	                  compat ◄── holds a changed contract against v1.binpb
//
// testdata/vectors has encoded messages with their JSON form, for the codecs of all
// languages: NAME.json says what NAME.bin is (see vectors_test.go). The tests of this
// package compare the codecs with protobuf's own.
//
// Version 1 is for ever: fields, values and calls are added, nothing else. The
// generator refuses anything else. To add something, edit the .proto, run
//
//	go generate ./sdk/proto && go test ./sdk/proto -run Vectors -update
//
// and give the addition a name in HostInfo.features.
//
// Nothing here knows the broker: what the host does with the messages is in pluginhost.
package proto

//go:generate go run -C gen .
