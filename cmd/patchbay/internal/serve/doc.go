// Package serve is `patchbay serve`: it turns a configuration into a running
// broker, its listeners and its admin listener, says what it is doing in a few
// lines, and obeys signals (SIGTERM and SIGINT end it in order, SIGHUP reloads).
//
// It decides nothing about the protocol (core/broker) and reads no file itself
// (internal/config).
package serve
