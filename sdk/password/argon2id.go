package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// argonDefault are the costs of new hashes. A broker pays them at every CONNECT, with
// thousands of clients coming back at once after a restart, so they are the least that
// OWASP recommends: 19 MiB and 2 passes, some 30 ms of one core.
var argonDefault = argonHash{memory: 19 * 1024, time: 2, threads: 1}

const (
	argonSalt = 16 // bytes
	argonKey  = 32 // bytes
)

// Bounds for hashes that are verified: a line of a file must not be able to ask for all
// memory or for minutes.
const (
	maxArgonMemory  = 256 << 10 // KiB
	maxArgonWork    = 4 << 20   // KiB times passes: some 4 s of one core
	maxArgonThreads = 64
	maxArgonBytes   = 1 << 10 // of salt and key
)

// argonHash is a PHC string of argon2id, taken apart. Memory is in KiB.
type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

func newArgon(password []byte) string {
	a := argonDefault
	a.salt = make([]byte, argonSalt)
	rand.Read(a.salt) // never fails
	a.key = a.derive(password, argonKey)
	return a.String()
}

func (a *argonHash) derive(password []byte, n int) []byte {
	return argon2.IDKey(password, a.salt, a.time, a.memory, a.threads, uint32(n))
}

// String writes the hash down.
func (a *argonHash) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.memory, a.time, a.threads, b64(a.salt), b64(a.key))
}

func (a *argonHash) load() load {
	// The least that argon2 takes is 8 blocks of 1 KiB for each lane.
	return load{int64(max(a.memory, 8*uint32(a.threads))) << 10, int(a.threads)}
}

func (a *argonHash) matches(password []byte) bool {
	return subtle.ConstantTimeCompare(a.derive(password, len(a.key)), a.key) == 1
}

func (a *argonHash) outdated() bool {
	return a.memory < argonDefault.memory || a.time < argonDefault.time || len(a.salt) < argonSalt || len(a.key) < argonKey
}

func (a *argonHash) decoy() string {
	d := *a
	d.salt, d.key = make([]byte, len(a.salt)), make([]byte, len(a.key))
	rand.Read(d.salt)
	rand.Read(d.key)
	return d.String()
}

func parseArgon(hash string) (scheme, error) {
	fields := strings.Split(hash, "$")
	if len(fields) != 6 {
		return nil, ErrForm
	}
	var version int
	var a argonHash
	const form = "v=%d m=%d,t=%d,p=%d"
	params := fields[2] + " " + fields[3]
	_, err := fmt.Sscanf(params, form, &version, &a.memory, &a.time, &a.threads)
	// Sscanf takes signs, zeros and trailing text; the one true spelling is what it prints.
	if err != nil || fmt.Sprintf(form, version, a.memory, a.time, a.threads) != params {
		return nil, ErrForm
	}
	if version != argon2.Version {
		return nil, fmt.Errorf("%w: argon2id version %d is not %d", ErrForm, version, argon2.Version)
	}
	strict := base64.RawStdEncoding.Strict()
	var errSalt, errKey error
	a.salt, errSalt = strict.DecodeString(fields[4])
	a.key, errKey = strict.DecodeString(fields[5])
	switch {
	case errSalt != nil || errKey != nil || strings.ContainsAny(hash, "\r\n"): // base64 skips these
		return nil, ErrForm
	case a.time < 1 || a.threads < 1 || len(a.key) < 4:
		return nil, fmt.Errorf("%w: a cost in %q is out of bounds", ErrForm, fields[3])
	case a.memory > maxArgonMemory || uint64(a.memory)*uint64(a.time) > maxArgonWork || a.time > maxArgonWork/1024,
		a.threads > maxArgonThreads, len(a.salt) > maxArgonBytes, len(a.key) > maxArgonBytes:
		return nil, fmt.Errorf("%w: %s", ErrCost, fields[3])
	}
	return &a, nil
}
