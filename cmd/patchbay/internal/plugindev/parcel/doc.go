// Package parcel has the packages in which plugins travel: NAME.pbp, a tar.gz with
//
//	package.json   what the plugin is: name, version, platform, manifest, size and SHA-256 of its file
//	package.sig    the signer's public key, and an ed25519 signature of package.json
//	NAME.wasm      the file, or a program
//
// The signature is of package.json's very bytes, and that has the file's sum: nothing of a
// package can be changed without the key. Open believes nothing before it has checked it,
// and takes only what keys have signed that the operator trusts. What signs is the author;
// what the plugin may do is still the operator's to say.
//
// Fetch gets a package from a file, a URL or an OCI image layout, within a size. Place
// writes it into a plugin folder, so that the folder's watcher sees a whole plugin or none.
//
// The package runs nothing, asks nobody, and knows no configuration.
package parcel
