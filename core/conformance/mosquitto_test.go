package conformance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mosquitto is the path of an Eclipse Mosquitto 2 program, a second opinion on
// the tests themselves.
type mosquitto string

func (program mosquitto) start(s settings) (string, func(), error) {
	if s.enhancedAuth != "" || s.topicAliasMaximum != 0 || s.responseInfo != "" || s.outboundTopicAlias || s.storeFails ||
		s.wildcardsOff || s.sharedOff || s.subscriptionIDsOff || s.maximumClientID != 0 || s.connectTimeout != 0 {
		return "", nil, errUnsupported
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // Mosquitto gives up root's rights
		return "", nil, err
	}
	conf := fmt.Sprintf("listener %d 127.0.0.1\npersistence false\nmax_queued_messages 0\nlog_type error\nallow_anonymous %t\n", port, !s.noAnonymous)
	for _, o := range []struct {
		set  bool
		line string
	}{
		{s.websocket, "protocol websockets"},
		{s.serverKeepAlive != 0, fmt.Sprint("max_keepalive ", s.serverKeepAlive)},
		{s.maximumQoS != 0, fmt.Sprint("max_qos ", s.maximumQoS)},
		{s.retainUnavailable, "retain_available false"},
		{s.maximumPacketSize != 0, fmt.Sprint("max_packet_size ", s.maximumPacketSize)},
		{s.receiveMaximum != 0, fmt.Sprint("max_inflight_messages ", s.receiveMaximum)},
		{s.denyPublish != "", "acl_file " + filepath.Join(dir, "acl")},
	} {
		if o.set {
			conf += o.line + "\n"
		}
	}
	acl := "topic readwrite #\ntopic deny " + s.denyPublish + "\n"
	for name, text := range map[string]string{"conf": conf, "acl": acl} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", nil, err
		}
	}
	cmd := exec.Command(string(program), "-c", filepath.Join(dir, "conf"))
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	stop := func() {
		cmd.Process.Kill()
		<-ended
		os.RemoveAll(dir)
	}
	for deadline := time.Now().Add(patience); ; {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return addr, stop, nil
		}
		select {
		case <-ended:
			stop()
			return "", nil, errors.New("mosquitto ended: " + output.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, errors.New("mosquitto does not listen")
		}
	}
}
