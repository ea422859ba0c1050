// Package rust holds the SDK for Rust, so that patchbay can write it into new projects.
// See README.md for the SDK itself.
package rust

import "embed"

// Files are those of the crate.
//
//go:embed README.md Cargo.toml src
var Files embed.FS
