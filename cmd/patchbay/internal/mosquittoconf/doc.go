// Package mosquittoconf is `patchbay config import`: it reads a mosquitto.conf of
// Mosquitto 2.0 with what belongs to it, and writes a configuration of Patchbay that does
// the same.
//
//	mosquitto.conf, include_dir ──► entries ──► sections ──► patchbay.yaml, users.txt, acl.txt
//	                                   │                         ▲
//	                                   └── what is not carried ──┴──► report, by line
//
// Two rules. Every line is accounted for: what no part of the conversion has taken is in the
// report. And nothing becomes more open: a listener whose protection cannot be had is
// left out, and the report says so.
//
// It owns what Mosquitto's keys mean in Patchbay; not what a configuration of Patchbay may
// be (package config, which has the last word on what is written here).
//
// Start at command.go; parse.go (lines, sections), convert.go, general.go (a key each),
// listener.go, security.go (who may connect), bridge.go, report.go, yaml.go.
package mosquittoconf
