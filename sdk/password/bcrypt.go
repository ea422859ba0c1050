package password

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	// bcryptCost is that of new hashes, the least that OWASP recommends: some 60 ms.
	bcryptCost = 10
	// maxBcryptCost is the highest that is verified: some 2 s of one core.
	maxBcryptCost = 15

	maxBcryptPassword = 72 // bytes
	bcryptLen         = 60
)

type bcryptHash struct {
	text string
	cost int
}

func newBcrypt(password []byte) (string, error) {
	hash, err := bcrypt.GenerateFromPassword(password, bcryptCost)
	if err != nil {
		return "", fmt.Errorf("bcrypt: %w", err)
	}
	// Go writes $2a$ for what everybody else calls $2b$: the algorithm without the flaws
	// that the letters were raised for.
	return "$2b$" + strings.TrimPrefix(string(hash), "$2a$"), nil
}

func (b *bcryptHash) load() load { return smallLoad }

func (b *bcryptHash) matches(password []byte) bool {
	return len(password) <= maxBcryptPassword && bcrypt.CompareHashAndPassword([]byte(b.text), password) == nil
}

func (b *bcryptHash) outdated() bool { return b.cost < bcryptCost }

// decoy keeps the salt, since it is no secret, and has a key of random bits.
func (b *bcryptHash) decoy() string {
	key := make([]byte, 23)
	rand.Read(key)
	return b.text[:bcryptLen-31] + bcryptBase64.EncodeToString(key)
}

// bcryptBase64 is bcrypt's own alphabet.
var bcryptBase64 = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)

func parseBcrypt(hash string) (scheme, error) {
	// $2x$ is the one letter that means another calculation.
	if len(hash) != bcryptLen || !strings.ContainsRune("aby", rune(hash[2])) || hash[3] != '$' || hash[6] != '$' {
		return nil, fmt.Errorf("%w: bcrypt is $2a$, $2b$ or $2y$, and %d characters", ErrForm, bcryptLen)
	}
	if _, err := bcryptBase64.DecodeString(hash[7:29]); err != nil || strings.ContainsAny(hash, "\r\n") {
		return nil, fmt.Errorf("%w: the salt of a bcrypt hash", ErrForm)
	}
	if _, err := bcryptBase64.DecodeString(hash[29:]); err != nil {
		return nil, fmt.Errorf("%w: the key of a bcrypt hash", ErrForm)
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("%w: bcrypt cost %d, at most %d", ErrCost, cost, maxBcryptCost)
	}
	return &bcryptHash{hash, cost}, nil
}
