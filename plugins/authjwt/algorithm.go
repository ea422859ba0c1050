package authjwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"math/big"
)

// algorithm is a signature algorithm of JWS (RFC 7518 §3.1, RFC 8037).
type algorithm struct {
	name string
	kind keyKind
	hash crypto.Hash
	// size of a coordinate of the curve in bytes, for ES.
	size int
}

type keyKind uint8

const (
	octKey keyKind = iota
	rsaKey
	ecKey
	edKey
)

// algorithms are all that are known. "none" is not one.
var algorithms = map[string]*algorithm{
	"HS256": {"HS256", octKey, crypto.SHA256, 0}, "HS384": {"HS384", octKey, crypto.SHA384, 0}, "HS512": {"HS512", octKey, crypto.SHA512, 0},
	"RS256": {"RS256", rsaKey, crypto.SHA256, 0}, "RS384": {"RS384", rsaKey, crypto.SHA384, 0}, "RS512": {"RS512", rsaKey, crypto.SHA512, 0},
	"PS256": {"PS256", rsaKey, crypto.SHA256, 0}, "PS384": {"PS384", rsaKey, crypto.SHA384, 0}, "PS512": {"PS512", rsaKey, crypto.SHA512, 0},
	"ES256": {"ES256", ecKey, crypto.SHA256, 32}, "ES384": {"ES384", ecKey, crypto.SHA384, 48}, "ES512": {"ES512", ecKey, crypto.SHA512, 66},
	"EdDSA": {"EdDSA", edKey, 0, 0}, "Ed25519": {"Ed25519", edKey, 0, 0}, // RFC 9864 has given it a name of its own
}

// verify reports whether signature is one of signed with a key that is for this
// algorithm.
func (a *algorithm) verify(k *key, signed string, signature []byte) bool {
	if a.kind == edKey {
		return ed25519.Verify(k.material.(ed25519.PublicKey), []byte(signed), signature)
	}
	if a.kind == octKey {
		mac := hmac.New(a.hash.New, k.material.([]byte))
		mac.Write([]byte(signed))
		return hmac.Equal(mac.Sum(nil), signature)
	}
	h := a.hash.New()
	h.Write([]byte(signed))
	digest := h.Sum(nil)
	if a.kind == ecKey {
		// R and S, each as long as the curve's order (RFC 7518 §3.4).
		if len(signature) != 2*a.size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:a.size]), new(big.Int).SetBytes(signature[a.size:])
		return ecdsa.Verify(k.material.(*ecdsa.PublicKey), digest, r, s)
	}
	public := k.material.(*rsa.PublicKey)
	if a.name[0] == 'P' {
		// The salt is as long as the hash (RFC 7518 §3.5).
		return rsa.VerifyPSS(public, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return rsa.VerifyPKCS1v15(public, a.hash, digest, signature) == nil
}
