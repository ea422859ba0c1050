// Package jsontext reads JSON into a tree and writes JSON texts, in a form that is
// small enough for a WebAssembly guest: encoding/json brings 0.4 MB along.
//
// It owns syntax only (RFC 8259, duplicate names refused). What a config means is in
// package config; protobuf's JSON form is in sdk/proto/v1json. Entry points: Parse and
// AppendString.
package jsontext
