package password

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
)

// MaxLen is the longest password, in bytes: what CONNECT can carry.
const MaxLen = 65535

// Algorithm is how a password is hashed.
type Algorithm uint8

const (
	// Argon2id is RFC 9106, and the best there is.
	Argon2id Algorithm = iota
	// Bcrypt takes passwords of up to 72 bytes.
	Bcrypt
)

// Errors of this package; compare with errors.Is.
var (
	// ErrForm says that a hash has none of the forms that can be verified.
	ErrForm = errors.New(`not a hash that we know: want $argon2id$v=19$m=…,t=…,p=…$salt$key, $2b$…, or Mosquitto's $6$… or $7$…`)
	// ErrCost says that verifying would take too much memory or time.
	ErrCost = errors.New("the hash costs too much to verify")
	// ErrTooLong says that a password is too long for its algorithm.
	ErrTooLong = errors.New("the password is too long")
)

// Options bound a Hasher.
type Options struct {
	// MaxMemory is how many bytes all that is under way may take together; a hash that
	// needs more by itself is refused. Zero: 256 MiB.
	MaxMemory int64
	// Parallel is how many cores may be at work. Zero: all but one, so that the
	// broker keeps one while thousands log in.
	Parallel int
}

// defaultMaxMemory is room for 13 of our own hashes at once.
const defaultMaxMemory = 256 << 20

// Hasher hashes and verifies. It is safe for concurrent use: calls beyond its bounds
// wait for their turn, first come, first served.
type Hasher struct {
	gate gate
}

// New makes a Hasher.
func New(o Options) *Hasher {
	if o.MaxMemory <= 0 {
		o.MaxMemory = defaultMaxMemory
	}
	if o.Parallel <= 0 {
		o.Parallel = max(1, runtime.GOMAXPROCS(0)-1)
	}
	return &Hasher{gate{all: load{o.MaxMemory, o.Parallel}, free: load{o.MaxMemory, o.Parallel}}}
}

// Hash makes a new hash, with a salt of its own. It waits for its turn, until ctx ends
// with the error of ctx. The password is not kept. Errors: ErrTooLong.
func (h *Hasher) Hash(ctx context.Context, password []byte, a Algorithm) (string, error) {
	if len(password) > MaxLen {
		return "", fmt.Errorf("%w: %d bytes, at most %d are possible", ErrTooLong, len(password), MaxLen)
	}
	if a == Bcrypt && len(password) > maxBcryptPassword {
		return "", fmt.Errorf("%w: bcrypt takes %d bytes, not %d", ErrTooLong, maxBcryptPassword, len(password))
	}
	l := argonDefault.load()
	if a == Bcrypt {
		l = smallLoad
	}
	if err := h.gate.enter(ctx, l); err != nil {
		return "", err
	}
	defer h.gate.leave(l)
	if a == Bcrypt {
		return newBcrypt(password)
	}
	return newArgon(password), nil
}

// Verify reports whether hash was made of password. Its time depends on the hash and
// not on how much of the password is right. It waits for its turn, until ctx ends with the
// error of ctx. Neither argument is kept. Errors: ErrForm, ErrCost. A password that is too
// long for the algorithm does not match.
func (h *Hasher) Verify(ctx context.Context, password []byte, hash string) (bool, error) {
	s, err := parse(hash)
	if err != nil {
		return false, err
	}
	l := s.load()
	if l.bytes > h.gate.all.bytes {
		return false, fmt.Errorf("%w: %d MiB of memory, and %d are allowed", ErrCost, l.bytes>>20, h.gate.all.bytes>>20)
	}
	if len(password) > MaxLen {
		return false, nil
	}
	if err := h.gate.enter(ctx, l); err != nil {
		return false, err
	}
	defer h.gate.leave(l)
	return s.matches(password), nil
}

// Check reports whether a hash can be verified at all (by a Hasher with the default
// options): nil, ErrForm or ErrCost, wrapped with what is wrong.
func Check(hash string) error {
	_, err := parse(hash)
	return err
}

// Outdated reports whether Hash would make a better hash today than this one is: then a
// password that has just been verified should be hashed anew. It is true for a hash
// that Check refuses.
func Outdated(hash string) bool {
	s, err := parse(hash)
	return err != nil || s.outdated()
}

// Decoy returns a hash that costs as much as another one, and that no password is known
// to fit. Verifying a Decoy when there is no such user takes as long as if there
// were one. Errors are those of Check.
func Decoy(like string) (string, error) {
	s, err := parse(like)
	if err != nil {
		return "", err
	}
	return s.decoy(), nil
}

// scheme is a hash that has been read.
type scheme interface {
	load() load
	matches(password []byte) bool
	outdated() bool
	decoy() string
}

// parse reads a hash and refuses what would cost too much.
func parse(hash string) (scheme, error) {
	switch {
	case len(hash) > math.MaxUint16:
		return nil, ErrForm
	case strings.HasPrefix(hash, "$argon2id$"):
		return parseArgon(hash)
	case strings.HasPrefix(hash, "$2"):
		return parseBcrypt(hash)
	case strings.HasPrefix(hash, "$6$"):
		return parseSHA512(hash)
	case strings.HasPrefix(hash, "$7$"):
		return parsePBKDF2(hash)
	}
	return nil, ErrForm
}
