// Package client owns the commands `patchbay pub`, `patchbay sub` and `patchbay rr`.
//
// They take the flags that users of mosquitto_pub, mosquitto_sub and mosquitto_rr know, with the same
// letters and meaning, and work against any broker. They stand on the Paho libraries and not on
// Patchbay's own codec, so that they judge the broker by somebody else's reading of the specification:
// paho.golang for MQTT 5 (the default), paho.mqtt.golang for 3.1.1 and 3.1 (-V).
//
//	flags ──► options.resolve ──► plan ──► connect ──► link ──► pub | sub | rr
//	          (usage errors: 2)            (dial, CONNECT)      (run-time errors: 1, -W: 27)
//
// The packet types of paho.golang (paho.Publish, paho.Subscribe, …) are the vocabulary of the whole
// package; link3 translates them for MQTT 3.x.
//
// Entry point: [Commands]. Errors that the commands return have a method ExitCode() int and a text of one
// line; the program prints it and exits with that code. Nothing in here prints an error twice.
//
// The package must not know the broker: of core it uses the names of Reason Codes and the rules for topics.
//
// Where to go next: options.go for flags, link.go for what a connection promises, conn.go for why the
// clients are fast, format.go for -F.
package client
