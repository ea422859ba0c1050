// Package guesttest has the tests that every SDK for a language other than Go has to
// pass: Codec holds its encoding against the golden vectors and against the Go codec,
// and Conformance holds the test plugin of package testplugin, written with that SDK,
// against the original. Tools finds compilers.
//
// It is used by tests only. It does not know any language, nor the broker.
package guesttest
