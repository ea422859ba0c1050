package authjwt

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestKeysThatAreRefused(t *testing.T) {
	p256 := newSigner("ES256", "").jwk(t)
	with := func(m map[string]any, more ...any) string {
		out := map[string]any{}
		for k, v := range m {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i].(string)] = more[i+1]
		}
		return jsonOf(t, out)
	}
	small := b64(make([]byte, 128)[:]) // a modulus of 0
	for text, want := range map[string]string{
		`{}`:                                    "not for verifying signatures",
		`{"keys":[]}`:                           "the set is empty",
		`{"keys":{}}`:                           "it is not a JWK Set",
		`{"keys":[1]}`:                          "key 1: json:",
		with(p256, "use", "enc"):                "not for verifying",
		with(p256, "key_ops", []string{"sign"}): "not for verifying",
		with(p256, "crv", "secp256k1", "alg", "ES256K"):                     "not for verifying",
		with(p256, "alg", "ES384"):                                          `a key of type "EC" for the algorithm "ES384"`,
		with(p256, "alg", "HS256"):                                          `for the algorithm "HS256"`,
		with(p256, "alg", "none"):                                           `for the algorithm "none"`,
		with(p256, "y", p256["x"]):                                          "not on the curve",
		with(p256, "x", "AA"):                                               "32 bytes each",
		with(p256, "x", "!"):                                                "32 bytes each",
		`{"kty":"RSA","n":"` + small + `","e":"AQAB"}`:                      "an RSA key of 0 bits",
		with(newSigner("RS256", "").jwk(t), "e", "Ag"):                      "the exponent 2",
		with(newSigner("RS256", "").jwk(t), "e", "AQ"):                      "the exponent 1",
		with(newSigner("RS256", "").jwk(t), "e", "_____w"):                  "e is too large",
		with(newSigner("RS256", "").jwk(t), "n", strings.Repeat("A", 2000)): "n is not",
		`{"kty":"OKP","crv":"Ed25519","x":"AA"}`:                            "not an Ed25519 key",
		`{"kty":"OKP","crv":"X25519","x":"AA"}`:                             "not for verifying",
		`{"kty":"oct","k":"c2hvcnQ"}`:                                       "a secret of 5 bytes",
		`{"kty":"oct","k":1}`:                                               "k is not base64url",
		`{"kty":"oct","k":"a+b"}`:                                           "k is not base64url",
		"":                                                                  "no PEM block",
		"-----BEGIN NONSENSE-----\n-----END NONSENSE-----\n":                `"NONSENSE" is no public key`,
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}})): "it is a private key",
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}})):     "PEM block 1: ",
	} {
		if _, _, err := parseKeys([]byte(text), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %s", text, err, want)
		}
	}
	if _, _, err := parseKeys([]byte(set(t, newSigner("HS256", ""))), false); err == nil || !strings.Contains(err.Error(), "a shared secret does not belong") {
		t.Errorf("a secret from afar: %v", err)
	}
	if _, err := keyOf(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}); err == nil {
		t.Error("an RSA key of 1,024 bits is taken")
	}
}

// Keys that are not for us do not spoil those that are.
func TestOtherKeysAreSkipped(t *testing.T) {
	es := newSigner("ES256", "a")
	text := `{"keys":[{"kty":"new"},` + jsonOf(t, es.jwk(t)) + `,{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`
	keys, skipped, err := parseKeys([]byte(text), false)
	if err != nil || len(keys) != 1 || keys[0].id != "a" || len(skipped) != 2 {
		t.Errorf("%d keys, skipped %q, %v", len(keys), skipped, err)
	}
	if _, _, err := parseKeys([]byte(`{"keys":[`+strings.Repeat(`{},`, maxKeys)+`{}]}`), false); err == nil {
		t.Error("a set without end is taken")
	}
}

func TestPEM(t *testing.T) {
	r := newSigner("RS256", "")
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotAfter: time.Now().Add(time.Hour)}
	private := r.private.(*rsa.PrivateKey)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text := r.public(t) + newSigner("ES384", "").public(t) + newSigner("EdDSA", "").public(t) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&private.PublicKey)}))
	keys, _, err := parseKeys([]byte(text), true)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []keyKind
	for _, k := range keys {
		kinds = append(kinds, k.kind)
	}
	if len(kinds) != 5 || kinds[0] != rsaKey || kinds[1] != ecKey || kinds[2] != edKey || kinds[3] != rsaKey || kinds[4] != rsaKey {
		t.Errorf("kinds %v", kinds)
	}
}

func FuzzKeys(f *testing.F) {
	for name := range algorithms {
		f.Add([]byte(set(f, newSigner(name, "k"))))
	}
	f.Add([]byte(newSigner("ES256", "").public(f)))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, _, err := parseKeys(text, true)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			for _, a := range algorithms {
				if k.isFor(a) && a.verify(k, "a.b", []byte("no signature")) {
					t.Errorf("%q verifies nonsense", text)
				}
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, name := range []string{"HS256", "RS256", "PS256", "ES256", "ES512", "EdDSA"} {
		b.Run(name, func(b *testing.B) {
			s := newSigner(name, "k")
			keys, _, err := parseKeys([]byte(set(b, s)), true)
			if err != nil {
				b.Fatal(err)
			}
			text := s.token(b, claims(nil))
			b.ReportAllocs()
			for b.Loop() {
				t, err := parse(text)
				if err != nil || !algorithms[name].verify(keys[0], t.signed, t.signature) {
					b.Fatal("it does not verify")
				}
			}
		})
	}
}
