// Package zig holds the SDK for Zig, so that patchbay can write it into new projects. See
// README.md for the SDK itself.
package zig

import "embed"

// Files are those of the Zig package.
//
//go:embed README.md build.zig build.zig.zon src
var Files embed.FS
