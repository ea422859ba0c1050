// Package config turns the JSON config of a plugin into its struct, and the struct's
// type into a JSON Schema (2020-12). Both follow the same field tags:
//
//	json:"name"        name of the key; "-" leaves the field out
//	doc:"…"            description
//	example:"…"        an example, as the value would be written
//	default:"…"        value if the key is absent
//	required:"true"    the key must be there
//	enum:"a,b,c"       what a string or a number may be
//	min:"…" max:"…"    bounds: of the value, or of the length of strings, lists and maps
//	secret:"true"      never shown; implied by Secret
//
// Types: bool, string, integers, floats, Duration, Size, Secret, slices, maps with
// string keys, structs, pointers to these (nil: absent), and whatever reads itself from
// text (UnmarshalText), as netip.Prefix does.
//
// Entry points: Check and Schema at registration, Decode when a config arrives. It uses
// neither fmt nor encoding/json, which would double what it weighs in a guest.
package config
