// Package v1json has the JSON form of the plugin contract's messages: protobuf's JSON
// mapping, with names in camelCase, bytes in base64, 64 bit integers as strings, and
// enum values by name.
//
// It is for plugins that speak JSON (patchbay_abi_v1_json), manifest files and people.
// It is not part of package pluginv1, so that a WebAssembly guest need not carry it.
//
// AppendJSON leaves out what is zero. UnmarshalJSON takes what AppendJSON makes and all
// that protobuf's own reader takes: names as in the .proto files too, numbers in
// quotes, enum values by number, base64 in either alphabet with or without padding; it
// ignores names and enum values that it does not know. It refuses a name that is there
// twice, and what the limits of the contract do not allow. Unlike pluginv1's Unmarshal
// it copies: nothing of the input is kept.
//
// json.gen.go is generated, see ../gen; encode.go and decode.go have what it uses.
package v1json
