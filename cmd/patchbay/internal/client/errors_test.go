package client

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
)

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args string
		says string
	}{
		{"pub -t a", "no message given: use one of -m, -f, -l, -n, -s"},
		{"pub -t a -m x -l", "-m and -l exclude each other"},
		{"pub -m x", "want exactly one topic, by -t or -L, not 0"},
		{"pub -t a -t b -m x", "not 2"},
		{"pub -t a/# -m x", "-t: "},
		{"pub -t a -m x stray", `unexpected argument "stray"`},
		{"pub -t a -m x -q 3", "-q 3: QoS is 0, 1 or 2"},
		{"pub -t a -m x -V 4", "-V 4: no such MQTT version; use 5, 3.1.1 or 3.1"},
		{"pub -t a -m x -p 70000", "value out of range"},
		{"pub -t a -m x --repeat 0", "--repeat wants a number from 1"},
		{"pub -t a -l --repeat 2", "do not go with -l"},
		{"pub -t a -m x --nonsense", "unknown flag: --nonsense"},
		{"pub -t a -m x -i a -I b", "-i and -I exclude each other"},
		{"pub -t a -m x -c", "it needs a Client Identifier: give -i"},
		{"pub -t a -m x -x 5s", "-x 5s: want seconds"},
		{"pub -t a -m x -x ∞", "needs a Client Identifier"},
		{"pub -t a -m x -x 5 -V 311", "-x needs MQTT 5"},
		{"pub -t a -m x -P secret -V 311", "-P without -u"},
		{"pub -t a -m x -V 311 -D publish content-type x", "-D: properties need MQTT 5"},
		{"pub -t a -m x -D publish content-type", "want COMMAND NAME VALUE"},
		{"pub -t a -m x -D publish user-property k", "the value is missing"},
		{"pub -t a -m x -D puback user-property k v", "want connect, publish"},
		{"pub -t a -m x -D publish nonsense v", "PUBLISH has no such property"},
		{"pub -t a -m x -D nonsense content-type v", "want connect, publish"},
		{"pub -t a -m x -D connect receive-maximum 0", "want a number from 1 to 65535"},
		{"pub -t a -m x --will-payload x", "need --will-topic"},
		{"pub -t a -m x --will-topic w --will-qos 3", "--will-qos 3"},
		{"pub -t a -m x --will-topic #", "--will-topic: "},
		{"pub -m x -L http://h/t", `unknown scheme "http"`},
		{"pub -m x -L mqtt://u:secret@h:x/t", "-L mqtt://…@h:x/t: port"},
		{"pub -t a -m x -A 256.0.0.1", "-A 256.0.0.1: no such address"},
		{"pub -t a -m x --unix s --ws", "--unix goes with neither"},
		{"pub -t a -m x --cert c", "--cert and --key go together"},
		{"pub -t a -m x --cafile /does/not/exist", "--cafile: open /does/not/exist"},
		{"pub -t a -m x --capath /does/not/exist", "no PEM certificate"},
		{"pub -t a -m x --tls-version 1.2", "want tlsv1.3, tlsv1.2 or tlsv1.1"},
		{"pub -t a -m x --ciphers HIGH", `unknown suite "HIGH"; known are ECDHE`},
		{"sub", "no topic given: use -t FILTER"},
		{"sub sensors/#", `unexpected argument "sensors/#" (topics go behind -t`},
		{"sub -t a#", "-t a#: "},
		{"sub -t a -T +b", "-T +b: "},
		{"sub -t a -U ##", "-U ##: "},
		{"sub -t a -C 0", "-C 0: want a number from 1"},
		{"sub -t a -W 0", "-W 0: want seconds above 0"},
		{"sub -t a -F %Q", `-F: unknown sequence "%Q"`},
		{"sub -t a -F %p --json", "format json"},
		{"sub -t a -R --retained-only", "no-retained retained-only"},
		{"sub -t a --sub-id 0", "--sub-id 0: want a number from 1"},
		{"sub -t a --no-local -V 311", "need MQTT 5"},
		{"rr -t a", "no message given: use one of -m, -f, -n, -s"},
		{"rr -t a -m x -V 3.1.1", "-e is missing"},
		{"rr -t a -m x -e r/+", "-e: "},
		{"rr -t a -m x -W -1", "-W -1: want seconds"},
	} {
		r := run(t, strings.Fields(c.args)...)
		if r.code() != 2 || !strings.Contains(fmt.Sprint(r.err), c.says) || strings.Contains(r.err.Error(), "\n") {
			t.Errorf("patchbay %s: exit code %d, %v; want 2 and …%s…", c.args, r.code(), r.err, c.says)
		}
		if strings.Contains(fmt.Sprint(r.err), "secret") {
			t.Errorf("patchbay %s: the error shows the password: %v", c.args, r.err)
		}
	}
}

func TestConnectErrors(t *testing.T) {
	b := needBroker(t)
	closed := freePort()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	pub := func(args ...string) []string {
		return append([]string{"pub", "-t", "a", "-m", "x", "-q", "1"}, args...)
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"refused":      {pub("-h", "127.0.0.1", "-p", closed), "cannot connect to 127.0.0.1:" + closed + ": connection refused (is the broker running?)"},
		"refused sub":  {[]string{"sub", "-t", "a", "-h", "127.0.0.1", "-p", closed}, "connection refused (is the broker running?)"},
		"refused rr":   {[]string{"rr", "-t", "a", "-m", "x", "-h", "127.0.0.1", "-p", closed, "-W", "5"}, "connection refused"},
		"no socket":    {pub("--unix", filepath.Join(t.TempDir(), "none")), "no such socket"},
		"password":     {pub("-p", b.passwordPort, "-u", "alice", "-P", "wrong"), "Not authorized (0x87) (check -u and -P)"},
		"password 311": {pub("-p", b.passwordPort, "-u", "alice", "-P", "wrong", "-V", "311"), "not authorized (5) (check -u and -P)"},
		"not allowed":  {pub("-p", b.passwordPort, "-u", "alice", "-P", "secret"), "1 of 1 messages refused: Not authorized (0x87)"},
		"wrong name":   {pub("-h", "127.0.0.1", "-p", b.tlsPort, "--cafile", b.caFile), "--insecure"},
		"unknown CA":   {pub("-p", b.tlsPort, "--tls-use-os-certs"), "unknown authority (give its CA with --cafile)"},
		"TLS expected": {pub("-p", b.tlsPort), "if it expects TLS, give --cafile"},
		"no TLS there": {pub("-p", b.port, "--cafile", b.caFile), "does the broker expect TLS on this port?"},
		"no WebSocket": {pub("-p", b.port, "--ws"), "cannot connect to ws://localhost:" + b.port + "/mqtt: no WebSocket answer"},
		"no file":      {[]string{"pub", "-t", "a", "-f", "/does/not/exist"}, "-f: open /does/not/exist"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, c.args...)
			if r.code() != 1 || !strings.Contains(fmt.Sprint(r.err), c.says) || strings.Contains(fmt.Sprint(r.err), "\n") {
				t.Errorf("exit code %d, %v; want 1 and …%s…", r.code(), r.err, c.says)
			}
		})
	}
}

// Answers in wire form. ii stands for the client's Packet Identifier.
const (
	accept5    = "\x20\x03\x00\x00\x00"
	accept3    = "\x20\x02\x00\x00"
	granted5   = "\x90\x04ii\x00\x00"
	takenOver5 = "\xe0\x02\x8e\x00"
	shutdown5  = "\xe0\x02\x8b\x00"
)

// What brokers other than the installed one answer.
func TestAnswers(t *testing.T) {
	connack := func(answer string) script { return script{packet.TypeConnect: {answer}} }
	for name, c := range map[string]struct {
		script script
		args   string
		code   int
		says   string
	}{
		"reason string": {connack("\x20\x0b\x00\x88\x08\x1f\x00\x05later"), "pub -t a -m x", 1, "connection refused by localhost:PORT: Server unavailable (0x88): later"},
		"client id":     {connack("\x20\x03\x00\x85\x00"), "pub -t a -m x", 1, "Client Identifier not valid (0x85) (give another one with -i)"},
		"version":       {connack("\x20\x03\x00\x84\x00"), "pub -t a -m x", 1, "(try -V 3.1.1)"},
		"reference":     {connack("\x20\x09\x00\x9c\x06\x1c\x00\x03two"), "pub -t a -m x", 1, "its Server Reference is two"},
		"3.1.1 broker":  {connack("\x20\x02\x00\x01"), "pub -t a -m x", 1, "no CONNACK from localhost:PORT"},
		"hangs up":      {connack("close"), "pub -t a -m x", 1, "if it lacks MQTT 5, use -V 3.1.1"},
		"hangs up 311":  {connack("close"), "pub -t a -m x -V 311", 1, "it closed the connection"},
		"version 311":   {connack("\x20\x02\x00\x01"), "pub -t a -m x -V 311", 1, "unacceptable protocol version (1) (try another -V)"},
		"id 311":        {connack("\x20\x02\x00\x02"), "pub -t a -m x -V 311", 1, "identifier rejected (2)"},
		"busy 311":      {connack("\x20\x02\x00\x03"), "pub -t a -m x -V 311", 1, "server unavailable (3)"},
		"password 31":   {connack("\x20\x02\x00\x04"), "pub -t a -m x -V 31", 1, "bad user name or password (4)"},

		"quota":   {script{packet.TypeConnect: {accept5}, packet.TypePublish: {"\x40\x0a" + "ii\x97\x06\x1f\x00\x03why"}}, "pub -t a -m x -q 1", 1, "1 of 1 messages refused: Quota exceeded (0x97): why"},
		"PUBREC":  {script{packet.TypeConnect: {accept5}, packet.TypePublish: {"\x50\x03ii\x99"}}, "pub -t a -m x -q 2", 1, "Payload format invalid (0x99)"},
		"some":    {script{packet.TypeConnect: {accept5}, packet.TypePublish: {"\x40\x02ii", "\x40\x03ii\x10", "\x40\x03ii\x87"}}, "pub -t a -m x -q 1 --repeat 3", 1, "1 of 3 messages refused"},
		"gone":    {script{packet.TypeConnect: {accept5}, packet.TypePublish: {"close"}}, "pub -t a -m x -q 1", 1, "1 of 1 messages not acknowledged: connection lost: "},
		"gone 3":  {script{packet.TypeConnect: {accept3}, packet.TypePublish: {"close"}}, "pub -t a -m x -q 1 -V 311", 1, "1 of 1 messages "},
		"size":    {connack("\x20\x08\x00\x00\x05\x27\x00\x00\x00\x14"), "pub -t a -m 0123456789abcdef", 1, "a message of 16 bytes is too large: the broker's Maximum Packet Size leaves 11"},
		"max qos": {connack("\x20\x05\x00\x00\x02\x24\x00"), "pub -t a -m x -q 1", 1, "server maximum QoS is 0"},

		"SUBACK":         {script{packet.TypeConnect: {accept5}, packet.TypeSubscribe: {"\x90\x04ii\x00\x87"}}, "sub -t a", 1, "cannot subscribe to a: Not authorized (0x87)"},
		"SUBACK 311":     {script{packet.TypeConnect: {accept3}, packet.TypeSubscribe: {"\x90\x03ii\x80"}}, "sub -t a -V 311", 1, "cannot subscribe to a: "},
		"part of SUBACK": {script{packet.TypeConnect: {accept5}, packet.TypeSubscribe: {"\x90\x05ii\x00\x8f\x01"}}, "sub -t a -t b -E", 0, "cannot subscribe to a: Topic Filter invalid (0x8F)"},
		"UNSUBACK":       {script{packet.TypeConnect: {accept5}, packet.TypeUnsubscribe: {"\xb0\x04ii\x00\x87"}}, "sub -U a", 1, "cannot unsubscribe from a: Not authorized"},
		"taken over":     {script{packet.TypeConnect: {accept5}, packet.TypeSubscribe: {granted5 + takenOver5}}, "sub -t a", 1, "Session taken over (0x8E) (another client connected"},
		"comes back": {script{packet.TypeConnect: {accept5, accept5}, packet.TypeSubscribe: {granted5 + shutdown5, granted5 + "\x30\x05\x00\x01a\x00!"}},
			"sub -t a -C 1", 0, "Server shutting down (0x8B); connecting again in 1s"},
		"timeout while away": {script{packet.TypeConnect: {accept5, "close"}, packet.TypeSubscribe: {granted5 + shutdown5}}, "sub -t a -W 0.3", 27, "timed out after 0.3 s (-W)"},

		"request refused": {script{packet.TypeConnect: {accept5}, packet.TypeSubscribe: {"\x90\x04ii\x00\x87"}}, "rr -t a -m x", 1, "choose another with -e"},
		"rr disconnected": {script{packet.TypeConnect: {accept5}, packet.TypeSubscribe: {granted5}, packet.TypePublish: {shutdown5}}, "rr -t a -m x", 1, "Server shutting down (0x8B)"},
		"no answer":       {script{packet.TypeConnect: {accept5}, packet.TypeSubscribe: {granted5}}, "rr -t a -m x -q 1 -W 0.1", 27, "no response within 0.1 s"},
		"AUTH":            {script{packet.TypeConnect: {"\xf0\x07\x18\x05\x15\x00\x02AB"}, packet.TypeAuth: {"\x20\x08\x00\x00\x05\x15\x00\x02AB"}}, "pub -t a -m x -D connect authentication-method AB", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := c.script.serve(t)
			r := run(t, append(strings.Fields(c.args), "-p", port)...)
			says := strings.ReplaceAll(c.says, "PORT", port)
			if r.code() != c.code || !strings.Contains(fmt.Sprint(r.stderr, r.err), says) {
				t.Errorf("exit code %d, %v, stderr %q; want %d and …%s…", r.code(), r.err, r.stderr, c.code, says)
			}
		})
	}
}

// The broker's Response Information is where the response goes.
func TestResponseInformation(t *testing.T) {
	port := script{
		packet.TypeConnect:   {"\x20\x09\x00\x00\x06\x1a\x00\x03inf"},
		packet.TypeSubscribe: {granted5},
		packet.TypePublish:   {"\x30\x0b\x00\x05inf/x\x00yes"},
	}.serve(t)
	if r := run(t, "rr", "-p", port, "-t", "a", "-m", "x", "-d"); r.err != nil || r.stdout != "yes\n" || !strings.Contains(r.stderr, "response topic inf/") {
		t.Errorf("%v, printed %q, stderr %q", r.err, r.stdout, r.stderr)
	}
}

// A message that was not acknowledged is not passed over in silence, not even on Ctrl-C.
func TestInterruptedPublish(t *testing.T) {
	for v, accept := range map[string]string{"5": accept5, "3.1.1": accept3} {
		port := script{packet.TypeConnect: {accept}}.serve(t)
		p := start(t, strings.NewReader(""), "pub", "-p", port, "-V", v, "-t", "a", "-m", "x", "-q", "1", "-d")
		p.stderr.waitFor(t, "sending PUBLISH")
		if r := p.interrupt(); r.code() != 1 || r.err.Error() != "1 of 1 messages not acknowledged: interrupted" {
			t.Errorf("V%s: exit code %d, %v", v, r.code(), r.err)
		}
	}
}
