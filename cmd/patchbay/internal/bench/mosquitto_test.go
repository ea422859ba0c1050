package bench

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startMosquitto starts a real broker, without limits and persistence, and gives its
// URL. The test is skipped where there is none.
func startMosquitto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is neither in PATH nor in /usr/sbin")
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	ln.Close()
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n", addr.Port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("tcp", addr.String())
		if err == nil {
			nc.Close()
			return "mqtt://" + addr.String()
		}
		if time.Now().After(end) {
			t.Fatalf("mosquitto does not listen: %v", err)
		}
	}
}

// A broker that does what it should loses, doubles and mixes up nothing.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	url := startMosquitto(t)
	for _, args := range []string{
		"pair --pairs 5 --rate 1000",
		"pair --pairs 5 --rate 1000 -q 1 -V 3.1.1",
		"pair --pairs 5 --rate 1000 -q 2",
		"pair --pairs 2 --rate 0 -q 1",
		"pair --pairs 2 --rate 0",
		"fan-out --publishers 2 --subscribers 20 --topics 128 --rate 200 -q 1",
		"fan-out --publishers 2 --subscribers 20 --topics 128 --rate 0",
		"fan-in --publishers 20 --topics 8 --rate 0",
		"fan-in --publishers 20 --topics 8 --rate 1000 --subscribers 1 -q 2",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			r := runJSON(t, append(shortly(args), "--url", url)...)
			if m := r.Messages; m.Published == 0 || m.Lost != 0 || m.Duplicated != 0 || m.OutOfOrder != 0 ||
				m.Unacknowledged != 0 || m.Foreign != 0 || r.Connect.Lost != 0 {
				t.Errorf("%+v\n%+v\n%v", *m, r.Connect, r.Errors)
			}
		})
	}
	for _, args := range []string{"offline", "offline -q 2 -V 3.1.1"} {
		t.Run(args, func(t *testing.T) {
			r := runJSON(t, append(strings.Fields(args), "--subscribers", "20", "--messages", "50", "--url", url)...)
			if m := r.Messages; m.Published != 1000 || m.Lost != 0 || m.Duplicated != 0 || m.OutOfOrder != 0 || r.Offline.SessionsLost != 0 {
				t.Errorf("%+v\n%+v", *m, *r.Offline)
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		if r := runJSON(t, "idle", "--connections", "100", "-d", "0s", "--url", url); r.Idle.Connections != 100 {
			t.Errorf("%+v", *r.Idle)
		}
	})
	t.Run("churn", func(t *testing.T) {
		if r := runJSON(t, "churn", "--count", "200", "-d", "10s", "--url", url); r.Connect.Established != 200 || r.Connect.Failed != 0 {
			t.Errorf("%+v %v", r.Connect, r.Errors)
		}
	})
}
