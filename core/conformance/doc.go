// Package conformance shows, statement by statement, that a broker obeys MQTT
// 5.0 and MQTT 3.1.1: by what it does on a TCP connection, not by what is inside.
//
// It has no code but tests. They speak the protocol through a codec of their own
// (wire_test.go, packet_test.go), so that a mistake in core/packet cannot hide
// behind itself, and everything that arrives is held against the specification,
// whatever the test is about (inspect_test.go).
//
// Each test names the statements that it shows:
//
//	shows(t, v5, "MQTT-3.1.2-4", "MQTT-3.2.2-2")
//
// testdata/mqtt5.txt and testdata/mqtt311.txt list all of them. A full run
// compares docs/conformance.md with the list and with what the tests showed, and
// fails if it differs; go test ./core/conformance -update writes it.
//
// The target is a broker in the test's own process. Another one is tested with
//
//	PATCHBAY_CONFORMANCE_ADDR=127.0.0.1:1883 go test ./core/conformance
//	PATCHBAY_CONFORMANCE_MOSQUITTO=mosquitto go test ./core/conformance
//
// The first skips what needs a broker configured for it; with the second the
// tests start their own Mosquitto. Where the specification lets a server close
// the connection without saying why, another broker may do so, ours may not.
//
// The package must not know anything of the broker but how to start and stop one
// (target_test.go); core/packet, core/topic and the rest of core stay unused.
package conformance
