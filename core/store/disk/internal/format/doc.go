// Package format is what the store writes: the layout of its keys and the
// encoding of its values. It is pure functions over bytes and knows neither
// Pebble, but for the merge operator's interface, nor how a store behaves.
//
// Keys begin with one byte that names a keyspace; numbers in keys are
// big-endian, so that keys sort by them:
//
//	0x00 name                        meta: schema number, boot number
//	's'  session 0x00                session record
//	's'  session 0x01 filter         subscription
//	's'  session 0x02 id(2)          Packet Identifier received at QoS 2
//	'c'  session pos                 content: a message of a session, waiting or in flight
//	'i'  session seq                 index: a message in flight
//	'm'  id                          shared message: count of references and body
//	'r'  len(ns) ns topic            retained message
//	'v'  len(bucket) bucket key      value
//	'e'  session                     ended session whose messages are still there
//	'q'  when(8) n(4) key            quarantined record
//
// session, pos, seq and id take 8 bytes each. Lengths are uvarints.
//
// Values are a version byte, fields, and the CRC-32C of key, version and fields:
// a record that was moved to another key is as bad as one with a flipped bit.
// Fields are added behind the last one with a new version; schema numbers change
// when keys do.
//
// Start with keys.go; records.go has sessions, messages.go what they get,
// merge.go the counting of references.
package format
