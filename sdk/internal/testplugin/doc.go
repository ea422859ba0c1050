// Package testplugin is a plugin that uses most of the SDK, for the tests of sdk and
// plugintest: one source that they run in all three runtimes. cmd is its main package.
package testplugin
