package main_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
)

// argonHash is a hash of a password at a cost; memory is in KiB.
func argonHash(password string, memory, passes uint32) string {
	salt := []byte("sixteen bytes of")
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, memory, passes, b64(salt),
		b64(argon2.IDKey([]byte(password), salt, passes, memory, 1, 32)))
}

// users writes a file of users for authfile, all with one hash.
func (b *broker) users(hash string, names ...string) (path string) {
	b.t.Helper()
	var text bytes.Buffer
	for _, n := range names {
		fmt.Fprintf(&text, "%s:%s\n", n, hash)
	}
	path = b.dir + "/users.txt"
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// loginRaw logs in by MQTT 3.1.1 and returns the return code of CONNACK. The connection is
// open if that is 0.
func loginRaw(address, id, user, password string) (r raw, code byte, err error) {
	if r.Conn, err = dialPatiently(address); err != nil {
		return raw{}, 0, err
	}
	flags := byte(0xC2) // user name, password, clean session
	if _, err = r.Write(packet(0x10, text("MQTT"), []byte{4, flags, 0, 0}, text(id), text(user), text(password))); err == nil {
		code, err = r.connack()
	}
	if err != nil || code != 0 {
		err = errors.Join(err, r.Close())
	}
	return r, code, err
}

// processorTime is what the broker has used of processors since it was started.
func (b *broker) processorTime() time.Duration {
	b.t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(b.cmd.Process.Pid) + "/stat")
	if err != nil {
		b.t.Fatal(err)
	}
	// After the name in brackets, which may have blanks, user and system time are the
	// 12th and 13th fields, in hundredths of a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.t.Fatal(err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

// TestLoginTime: what a failed login costs the broker, and how long it takes, does not tell
// whether there is such a user.
//
// Time is measured on a machine that does other things: the two kinds of login take turns,
// medians are compared, and a factor of 3 is allowed, where a broker that looks at the user
// first would show one of hundreds. Processor time is the broker's own and has less leeway.
func TestLoginTime(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "")
	b.configure(`
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
plugins: [{name: authfile, config: {file: "` + b.users(argonHash("right", 19456, 2), "ann", "bob") + `"}}]
`)
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()
	try := func(id, user, password string, want byte) time.Duration {
		t.Helper()
		began := time.Now()
		r, code, err := loginRaw(b.addr["tcp"], id, user, password)
		took := time.Since(began)
		if err != nil || code != want {
			t.Fatalf("%s: %d, %v; want %d", user, code, err, want)
		}
		if code == 0 {
			r.Close()
		}
		return took
	}
	// ann's right password is remembered: that must not show either.
	try("warm", "ann", "right", 0)
	try("warm", "nobody", "x", 4)

	const rounds = 15
	kinds := []struct {
		name string
		try  func(i int) time.Duration
	}{
		{"a user with a wrong password", func(i int) time.Duration { return try("c", "ann", fmt.Sprint("wrong", i), 4) }},
		{"no such user", func(i int) time.Duration { return try("c", "nobody", fmt.Sprint("wrong", i), 4) }},
		{"no such user, another each time", func(i int) time.Duration { return try("c", fmt.Sprint("user", i), "wrong", 4) }},
		{"a user with an empty password", func(i int) time.Duration { return try(fmt.Sprint("c", i), "bob", "", 4) }},
		{"no such user, with another's password", func(i int) time.Duration { return try("c", fmt.Sprint("ann", i), "right", 4) }},
	}
	took := make([][]time.Duration, len(kinds))
	cost := make([]time.Duration, len(kinds))
	for i := range rounds {
		for k := range kinds {
			before := time.Duration(0)
			if runtime.GOOS == "linux" {
				before = b.processorTime()
			}
			took[k] = append(took[k], kinds[k].try(i))
			if runtime.GOOS == "linux" {
				cost[k] += b.processorTime() - before
			}
		}
	}
	median := make([]time.Duration, len(kinds))
	for k := range kinds {
		slices.Sort(took[k])
		median[k] = took[k][rounds/2]
		t.Logf("%-40s median %v, processor %v each", kinds[k].name, median[k].Round(100*time.Microsecond), cost[k]/rounds)
	}
	for k := range kinds {
		if median[k] > 3*median[0] || median[0] > 3*median[k] {
			t.Errorf("%s takes %v, %s %v", kinds[k].name, median[k], kinds[0].name, median[0])
		}
		if cost[k] > 2*cost[0] || cost[0] > 2*cost[k] {
			t.Errorf("%s costs %v, %s %v", kinds[k].name, cost[k]/rounds, kinds[0].name, cost[0]/rounds)
		}
	}
}
