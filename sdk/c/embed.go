// Package c holds the SDK for C, so that patchbay can write it into new projects. See
// README.md for the SDK itself.
package c

import "embed"

// Files are the SDK's: headers in include, the library in src.
//
//go:embed README.md include src
var Files embed.FS
