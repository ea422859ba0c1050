package passwd

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Costs of new hashes. A broker pays them at every CONNECT, with thousands of clients coming back at once
// after a restart, so they are the least that OWASP recommends: argon2id with 19 MiB and 2 passes, bcrypt
// with cost 10. Either takes some 30 to 60 ms of one core.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
	bcryptCost   = 10
)

// Bounds for hashes that are verified: a line of a file must not be able to ask for all memory.
const (
	maxArgonMemory  = 1 << 20 // KiB
	maxArgonTime    = 64
	maxArgonThreads = 64
	maxArgonBytes   = 1 << 10 // of salt and key
)

var errHash = errors.New("not a hash that we know: want $argon2id$v=19$m=…,t=…,p=…$salt$hash or $2b$…")

// hashPassword makes a new hash; kind is "argon2id" or "bcrypt".
func hashPassword(kind string, password []byte) (string, error) {
	if kind == "bcrypt" {
		if len(password) > 72 {
			return "", fmt.Errorf("bcrypt takes at most 72 bytes of password, not %d; use --hash argon2id", len(password))
		}
		hash, err := bcrypt.GenerateFromPassword(password, bcryptCost)
		if err != nil {
			return "", fmt.Errorf("bcrypt: %w", err)
		}
		// Go writes $2a$ for what everybody else calls $2b$: the algorithm without the flaws that the
		// letters were raised for.
		return "$2b$" + strings.TrimPrefix(string(hash), "$2a$"), nil
	}
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails
	key := argon2.IDKey(password, salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64(salt), b64(key)), nil
}

// Verify reports whether password is the one that hash was made of. It takes argon2id PHC strings and
// bcrypt hashes of any letter ($2a$, $2b$, $2y$); the error is for everything else. It keeps neither
// argument, takes constant time in the password's content, and is safe for concurrent use.
func Verify(hash string, password []byte) (bool, error) {
	if strings.HasPrefix(hash, "$2") {
		err := bcrypt.CompareHashAndPassword([]byte(hash), password)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword), errors.Is(err, bcrypt.ErrPasswordTooLong):
			return false, nil
		}
		return false, fmt.Errorf("bcrypt: %w", err)
	}
	a, err := parseArgon(hash)
	if err != nil {
		return false, err
	}
	key := argon2.IDKey(password, a.salt, a.time, a.memory, a.threads, uint32(len(a.key)))
	return subtle.ConstantTimeCompare(key, a.key) == 1, nil
}

// argonHash is a parsed argon2id PHC string.
type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

func parseArgon(hash string) (*argonHash, error) {
	fields := strings.Split(hash, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" {
		return nil, errHash
	}
	var version int
	var a argonHash
	const form = "v=%d m=%d,t=%d,p=%d"
	params := fields[2] + " " + fields[3]
	_, err := fmt.Sscanf(params, form, &version, &a.memory, &a.time, &a.threads)
	// Sscanf takes signs, zeros and trailing text; the one true spelling is what it prints.
	if err != nil || fmt.Sprintf(form, version, a.memory, a.time, a.threads) != params {
		return nil, errHash
	}
	if version != argon2.Version {
		return nil, fmt.Errorf("argon2id: version %d is not %d", version, argon2.Version)
	}
	var errSalt, errKey error
	a.salt, errSalt = base64.RawStdEncoding.DecodeString(fields[4])
	a.key, errKey = base64.RawStdEncoding.DecodeString(fields[5])
	switch {
	case errSalt != nil || errKey != nil:
		return nil, errHash
	case a.memory > maxArgonMemory || a.time < 1 || a.time > maxArgonTime || a.threads < 1 || a.threads > maxArgonThreads,
		len(a.salt) > maxArgonBytes, len(a.key) < 4 || len(a.key) > maxArgonBytes:
		return nil, fmt.Errorf("argon2id: a cost in %q is out of bounds", fields[3])
	}
	return &a, nil
}
