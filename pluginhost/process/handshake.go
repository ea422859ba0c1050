package process

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin"

	"github.com/patchbay-mq/patchbay/sdk/instance"
)

// checkHandshake says what is wrong with the line that a plugin prints first, and where go-plugin's errors
// do not teach. The line is
//
//	core protocol | version of the contract | network | address | "grpc" | certificate
func checkHandshake(line string) error {
	line = strings.TrimSpace(line)
	fields := strings.Split(line, "|")
	bad := func(format string, args ...any) error {
		return &Error{Cause: BadHandshake, Reason: fmt.Sprintf(format, args...)}
	}
	if len(fields) < 4 {
		return bad("it wrote %q to standard output where the handshake belongs: is it a plugin? A plugin writes nothing before that", shown(line))
	}
	if fields[0] != strconv.Itoa(plugin.CoreProtocolVersion) {
		return bad("it speaks version %s of the handshake, this broker version %d", shown(fields[0]), plugin.CoreProtocolVersion)
	}
	if fields[1] != strconv.Itoa(instance.ProtocolVersion) {
		return &Error{Cause: WrongVersion, Reason: fmt.Sprintf("it speaks version %s of the plugin contract, this broker version %d",
			shown(fields[1]), instance.ProtocolVersion)}
	}
	if len(fields) < 5 || fields[4] != string(plugin.ProtocolGRPC) {
		return bad("the protocol in its handshake %q is not grpc", shown(line))
	}
	if len(fields) < 6 || len(fields[5]) < 50 {
		return bad("its handshake has no certificate: a plugin makes one when PLUGIN_CLIENT_CERT is in its environment")
	}
	return nil
}

func shown(s string) string { return text([]byte(s), 200) }
