package authjwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Bounds of keys.
const (
	minRSA, maxRSA = 2048, 8192 // bits; RFC 7518 §3.3, and what verifying may cost
	maxKeys        = 256        // of one source
)

// key is a key to verify with. It is immutable.
type key struct {
	id       string // "" fits all tokens
	only     string // the algorithm that it is for; "" all of its kind
	kind     keyKind
	material any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// isFor reports whether the key may verify tokens of an algorithm.
func (k *key) isFor(a *algorithm) bool {
	if k.kind != a.kind || k.only != "" && k.only != a.name {
		return false
	}
	switch m := k.material.(type) {
	case []byte:
		return len(m) >= a.hash.Size() // RFC 7518 §3.2
	case *ecdsa.PublicKey:
		return (m.Curve.Params().BitSize+7)/8 == a.size
	}
	return true
}

// named reports whether a token may mean this key.
func (k *key) named(t *token) bool { return !t.hasKeyID || k.id == "" || k.id == t.keyID }

// keyOf makes a key of a public key. The error says what is wrong with it.
func keyOf(public crypto.PublicKey) (*key, error) {
	switch p := public.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("an RSA key of %d bits, and %d to %d are possible", n, minRSA, maxRSA)
		}
		if p.E < 3 || p.E&1 == 0 {
			return nil, fmt.Errorf("an RSA key with the exponent %d", p.E)
		}
		return &key{kind: rsaKey, material: p}, nil
	case *ecdsa.PublicKey:
		switch p.Curve.Params().Name {
		case "P-256", "P-384", "P-521":
			return &key{kind: ecKey, material: p}, nil
		}
		return nil, fmt.Errorf("the curve %s, and it has to be P-256, P-384 or P-521", p.Curve.Params().Name)
	case ed25519.PublicKey:
		return &key{kind: edKey, material: p}, nil
	}
	return nil, fmt.Errorf("a public key of type %T, and it has to be RSA, ECDSA or Ed25519", public)
}

// secretKey makes a key of a shared secret.
func secretKey(secret []byte) (*key, error) {
	if len(secret) < 32 {
		return nil, fmt.Errorf("a secret of %d bytes, and HS256 needs 32, HS384 48 and HS512 64 at least", len(secret))
	}
	return &key{kind: octKey, material: secret}, nil
}

// parsePEM reads all public keys and certificates of a PEM text.
func parsePEM(text []byte) ([]*key, error) {
	var out []*key
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		public, err := publicOf(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(out)+1, err)
		}
		k, err := keyOf(public)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(out)+1, err)
		}
		if out = append(out, k); len(out) > maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM block is in it; a public key begins with -----BEGIN PUBLIC KEY-----")
	}
	return out, nil
}

func publicOf(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	if strings.Contains(block.Type, "PRIVATE KEY") {
		return nil, errors.New("it is a private key, which only the issuer of tokens should have; openssl pkey -pubout makes the public one of it")
	}
	return nil, fmt.Errorf("%q is no public key", block.Type)
}
