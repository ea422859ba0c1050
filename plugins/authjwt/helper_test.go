package authjwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// buildDir is where runners are built, removed by TestMain.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "authjwt-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

func program() string { return filepath.Join(buildDir, "authjwt.exe") }

// runners are the plugin in all runtimes, built once.
var runners = sync.OnceValues(func() ([]plugintest.Runner, error) {
	module := filepath.Join(buildDir, "authjwt.wasm")
	build := func(file string, env ...string) error {
		args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", file}
		if len(env) > 0 {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, "./cmd/authjwt")...)
		cmd.Env = append(os.Environ(), env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	}
	if err := build(program()); err != nil {
		return nil, err
	}
	out := []plugintest.Runner{plugintest.Builtin(Plugin()), plugintest.Process(program())}
	if withWasm {
		if err := build(module, "GOOS=wasip1", "GOARCH=wasm"); err != nil {
			return nil, err
		}
		out = append(out, plugintest.Wasm(module))
	}
	return out, nil
})

func allRunners(t testing.TB) []plugintest.Runner {
	t.Helper()
	out, err := runners()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// signer makes tokens with one key.
type signer struct {
	algorithm, id string
	private       any // []byte, *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey
}

// privates are keys of all kinds, made once.
var privates = sync.OnceValue(func() map[string]any {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	out := map[string]any{"HS": []byte(strings.Repeat("0123456789abcdef", 4)), "RS": r, "PS": r, "Ed": ed}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if out[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			panic(err)
		}
	}
	return out
})

func newSigner(algorithm, id string) *signer {
	all := privates()
	private := all[algorithm]
	if private == nil {
		private = all[algorithm[:2]]
	}
	return &signer{algorithm, id, private}
}

// fresh is a signer with a key of its own.
func fresh(t testing.TB, id string) *signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{"ES256", id, k}
}

var b64 = base64.RawURLEncoding.EncodeToString

// token signs claims.
func (s *signer) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	header := map[string]any{"alg": s.algorithm, "typ": "JWT"}
	if s.id != "" {
		header["kid"] = s.id
	}
	return s.raw(t, jsonOf(t, header), jsonOf(t, claims))
}

// raw signs texts.
func (s *signer) raw(t testing.TB, header, payload string) string {
	t.Helper()
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(s.sign(t, signed))
}

func (s *signer) sign(t testing.TB, signed string) []byte {
	t.Helper()
	a := algorithms[s.algorithm]
	var digest []byte
	if a.hash != 0 {
		h := a.hash.New()
		h.Write([]byte(signed))
		digest = h.Sum(nil)
	}
	var out []byte
	var err error
	switch k := s.private.(type) {
	case []byte:
		mac := hmac.New(a.hash.New, k)
		mac.Write([]byte(signed))
		out = mac.Sum(nil)
	case *rsa.PrivateKey:
		if s.algorithm[0] == 'P' {
			out, err = rsa.SignPSS(rand.Reader, k, a.hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			out, err = rsa.SignPKCS1v15(rand.Reader, k, a.hash, digest)
		}
	case *ecdsa.PrivateKey:
		var r, v *big.Int
		if r, v, err = ecdsa.Sign(rand.Reader, k, digest); err == nil {
			out = append(r.FillBytes(make([]byte, a.size)), v.FillBytes(make([]byte, a.size))...)
		}
	case ed25519.PrivateKey:
		out, err = k.Sign(rand.Reader, []byte(signed), crypto.Hash(0))
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// public is the public key in PEM.
func (s *signer) public(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.private.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// jwk is the key as a JWK.
func (s *signer) jwk(t testing.TB) map[string]any {
	t.Helper()
	out := map[string]any{"use": "sig", "alg": s.algorithm}
	if s.id != "" {
		out["kid"] = s.id
	}
	switch k := s.private.(type) {
	case []byte:
		out["kty"], out["k"] = "oct", b64(k)
	case *rsa.PrivateKey:
		out["kty"], out["n"], out["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PrivateKey:
		size := algorithms[s.algorithm].size
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		out["kty"], out["crv"], out["x"], out["y"] = "EC", k.Curve.Params().Name, b64(point[1:1+size]), b64(point[1+size:])
	case ed25519.PrivateKey:
		out["kty"], out["crv"], out["x"] = "OKP", "Ed25519", b64(k.Public().(ed25519.PublicKey))
	}
	return out
}

// set is a JWK Set of signers.
func set(t testing.TB, signers ...*signer) string {
	t.Helper()
	keys := []map[string]any{}
	for _, s := range signers {
		keys = append(keys, s.jwk(t))
	}
	return jsonOf(t, map[string]any{"keys": keys})
}

// claims are those of a token that is valid for an hour, and more.
func claims(more map[string]any) map[string]any {
	out := map[string]any{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(out, more)
	return out
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
