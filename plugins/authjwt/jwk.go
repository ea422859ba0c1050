package authjwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// jwk is a JSON Web Key (RFC 7517, RFC 7518 §6, RFC 8037).
type jwk struct {
	Type      string          `json:"kty"`
	Use       string          `json:"use"`
	Ops       []string        `json:"key_ops"`
	Algorithm string          `json:"alg"`
	ID        string          `json:"kid"`
	Curve     string          `json:"crv"`
	N         string          `json:"n"`
	E         string          `json:"e"`
	X         string          `json:"x"`
	Y         string          `json:"y"`
	K         json.RawMessage `json:"k"`
}

// errOther marks keys that are well-formed and not for us: to be skipped (RFC 7517 §5).
var errOther = errors.New("not for verifying signatures")

// parseKeys reads a JWK Set, a single JWK, or PEM. What makes a set as a whole useless is
// an error; keys that cannot be used are skipped, and why is said. Secrets count only
// where they are allowed: a set that is fetched from a public place has none.
func parseKeys(content []byte, secrets bool) (keys []*key, skipped []string, err error) {
	content = bytes.TrimSpace(content)
	if len(content) == 0 || content[0] != '{' {
		keys, err = parsePEM(content)
		return keys, nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(content, &set); err != nil {
		return nil, nil, fmt.Errorf("it is not a JWK Set: %w", err)
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{content}
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("it has %d keys, and %d are possible", len(set.Keys), maxKeys)
	}
	for i, raw := range set.Keys {
		k, err := parseJWK(raw, secrets)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("key %d: %v", i+1, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, nil, errors.New("it has no key that tokens can be verified with: " + strings.Join(append(skipped, "the set is empty")[:1], ""))
	}
	return keys, skipped, nil
}

func parseJWK(raw []byte, secrets bool) (*key, error) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, err
	}
	if j.Use != "" && j.Use != "sig" || len(j.Ops) > 0 && !slices.Contains(j.Ops, "verify") {
		return nil, errOther
	}
	k, err := j.key(secrets)
	if err != nil {
		return nil, err
	}
	k.id = j.ID
	if j.Algorithm != "" {
		a := algorithms[j.Algorithm]
		if a == nil || !k.isFor(a) {
			return nil, fmt.Errorf("a key of type %q for the algorithm %q", j.Type, j.Algorithm)
		}
		k.only = j.Algorithm
	}
	return k, nil
}

func (j *jwk) key(secrets bool) (*key, error) {
	switch {
	case j.Type == "RSA":
		return j.rsa()
	case j.Type == "EC":
		return j.ec()
	case j.Type == "OKP" && j.Curve == "Ed25519":
		x, err := decode(j.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("x is not an Ed25519 key")
		}
		return keyOf(ed25519.PublicKey(x))
	case j.Type == "oct" && !secrets:
		return nil, errors.New("a shared secret does not belong into a set that is fetched")
	case j.Type == "oct":
		var text string
		if err := json.Unmarshal(j.K, &text); err != nil {
			return nil, errors.New("k is not base64url")
		}
		secret, err := decode(text)
		if err != nil {
			return nil, errors.New("k is not base64url")
		}
		return secretKey(secret)
	}
	return nil, errOther
}

func (j *jwk) rsa() (*key, error) {
	n, err := decode(j.N)
	if err != nil || len(n) > maxRSA/8+1 {
		return nil, errors.New("n is not the modulus of an RSA key that is possible")
	}
	e, err := decode(j.E)
	if err != nil || len(e) == 0 || len(e) > 4 {
		return nil, errors.New("e is not an exponent")
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 {
		return nil, errors.New("e is too large")
	}
	return keyOf(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())})
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

func (j *jwk) ec() (*key, error) {
	curve := curves[j.Curve]
	if curve == nil {
		return nil, errOther
	}
	size := (curve.Params().BitSize + 7) / 8
	point := make([]byte, 1, 1+2*size)
	point[0] = 4 // uncompressed
	for _, text := range [...]string{j.X, j.Y} {
		c, err := decode(text)
		if err != nil || len(c) != size {
			return nil, fmt.Errorf("x and y have %d bytes each", size)
		}
		point = append(point, c...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errors.New("x and y are not on the curve")
	}
	return keyOf(public)
}
