// Package project makes projects of plugins, and builds them: it knows the languages
// that there are SDKs for, what their toolchains are called, and how to get a WebAssembly
// module out of them.
//
// Create writes a project of templates (templates/LANG/KIND, and templates/common/KIND for
// what is the same in all languages: config, recorded events and the verdicts on them).
// The SDK of a language other than Go is written into the project, from what is embedded
// in this program, so that nothing has to be fetched. Find tells a project's language by
// its files, Build runs the toolchain.
//
// The package prints nothing and does not know what plugins do: package trial runs them.
package project
