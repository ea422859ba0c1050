// Package as holds the SDK for AssemblyScript, so that patchbay can write it into new
// projects. See README.md for the SDK itself.
package as

import "embed"

// Files has the folder patchbay, from which plugins import.
//
//go:embed README.md patchbay
var Files embed.FS
