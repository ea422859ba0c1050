package password

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// maxIterations bounds PBKDF2: some 2 s of one core. Mosquitto's default is 101 and 1,000 later on.
const maxIterations = 3_000_000

// mosquittoHash is a line of a password_file: SHA-512 of password and salt, or PBKDF2
// with SHA-512.
type mosquittoHash struct {
	iterations int // 0 is SHA-512
	salt, key  []byte
}

func (m *mosquittoHash) load() load { return smallLoad }

func (m *mosquittoHash) derive(password []byte) []byte {
	if m.iterations == 0 {
		h := sha512.New()
		h.Write(password)
		h.Write(m.salt)
		return h.Sum(nil)
	}
	key, err := pbkdf2.Key(sha512.New, string(password), m.salt, m.iterations, len(m.key))
	if err != nil {
		return nil // FIPS mode refuses short salts; then nothing matches
	}
	return key
}

func (m *mosquittoHash) matches(password []byte) bool {
	return subtle.ConstantTimeCompare(m.derive(password), m.key) == 1
}

// outdated is always true: either form is quick to guess, or meant for slower days.
func (m *mosquittoHash) outdated() bool { return true }

func (m *mosquittoHash) decoy() string {
	salt, key := make([]byte, len(m.salt)), make([]byte, len(m.key))
	rand.Read(salt)
	rand.Read(key)
	return (&mosquittoHash{m.iterations, salt, key}).String()
}

// String writes the hash down.
func (m *mosquittoHash) String() string {
	b64 := base64.StdEncoding.EncodeToString
	if m.iterations == 0 {
		return "$6$" + b64(m.salt) + "$" + b64(m.key)
	}
	return "$7$" + strconv.Itoa(m.iterations) + "$" + b64(m.salt) + "$" + b64(m.key)
}

func parseSHA512(hash string) (scheme, error) {
	m := new(mosquittoHash)
	if err := m.parse(strings.TrimPrefix(hash, "$6$")); err != nil {
		return nil, err
	}
	return m, nil
}

func parsePBKDF2(hash string) (scheme, error) {
	iterations, rest, _ := strings.Cut(strings.TrimPrefix(hash, "$7$"), "$")
	n, err := strconv.Atoi(iterations)
	if err != nil || n < 1 || strconv.Itoa(n) != iterations {
		return nil, fmt.Errorf("%w: $7$ is followed by the number of iterations", ErrForm)
	}
	if n > maxIterations {
		return nil, fmt.Errorf("%w: %d iterations of PBKDF2, at most %d", ErrCost, n, maxIterations)
	}
	m := &mosquittoHash{iterations: n}
	if err := m.parse(rest); err != nil {
		return nil, err
	}
	return m, nil
}

// parse reads salt and key.
func (m *mosquittoHash) parse(s string) error {
	salt, key, ok := strings.Cut(s, "$")
	strict := base64.StdEncoding.Strict()
	var errSalt, errKey error
	m.salt, errSalt = strict.DecodeString(salt)
	m.key, errKey = strict.DecodeString(key)
	switch {
	case !ok || errSalt != nil || errKey != nil || strings.ContainsAny(s, "\r\n"), len(m.salt) > 1<<10:
		return fmt.Errorf("%w: salt and key of $6$ and $7$ are base64 (hashes of crypt(3) are not these)", ErrForm)
	case len(m.key) != sha512.Size:
		return fmt.Errorf("%w: the key has %d bytes, not %d", ErrForm, len(m.key), sha512.Size)
	}
	return nil
}
