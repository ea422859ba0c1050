// Package dump is the format of `patchbay store export`: a stream of JSON lines,
// each an object with a single key that says what it is.
//
//	{"patchbay_export":1,"version":"…","created":"…"}
//	{"session":{"client_id":"a","session_expiry":3600,"subscriptions":[…],…}}
//	{"inflight":{"packet_id":7,"qos":1,"message":{…}}}   of the session above,
//	{"queued":{"qos":1,"message":{…}}}                   in their order
//	{"retained":{"message":{…}}}
//	{"value":{"bucket":"…","key":"…","value":"…","version":"…"}}
//	{"end":{"sessions":1,…}}
//
// Texts and payloads are strings, or {"base64":"…"} where they are no text. Times
// are RFC 3339 in UTC. The end line counts the lines before it: a stream without
// it, or with other numbers, is refused.
//
// The package owns the format and what has to fit in it; it holds one line at a
// time. Sequence numbers, places in a queue and what else only means something in
// one folder are not in a dump: of a message in flight it has the Packet
// Identifier. It opens no folders and knows no command line.
//
// Entry points: [Export], [Import]. The lines are in lines.go, how bytes become
// text in text.go, what is refused in reader.go and parse.go. docs/storage.md
// tells operators of it.
package dump
