// Package v1host has service Host of the plugin contract as Go sees it: what a plugin
// may ask of the broker.
//
// It owns the interface (Service) and its two ends where a call is an op and bytes, as
// in WebAssembly: Serve for the host, Caller for the plugin. It does not know grants,
// limits or transports: over gRPC the same interface is in v1grpc, and a builtin plugin
// gets the Service itself.
//
// host.gen.go is generated from host.proto, see ../gen.
package v1host
