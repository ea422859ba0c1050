package authjwt

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// The examples of the specifications verify.
func TestExamplesOfTheSpecifications(t *testing.T) {
	const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for _, c := range []struct{ name, algorithm, jwk, signed, signature string }{
		{
			"RFC 7515 A.1", "HS256",
			`{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + joe, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		},
		{
			"RFC 7515 A.2", "RS256",
			`{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}`,
			"eyJhbGciOiJSUzI1NiJ9." + joe,
			"cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
		},
		{
			"RFC 7515 A.3", "ES256",
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9." + joe, "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
		{
			"RFC 8037 A.4", "EdDSA", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
			"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		},
	} {
		keys, _, err := parseKeys([]byte(c.jwk), true)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		signature, err := decode(c.signature)
		if err != nil {
			t.Fatal(err)
		}
		a := algorithms[c.algorithm]
		if !keys[0].isFor(a) || !a.verify(keys[0], c.signed, signature) {
			t.Errorf("%s does not verify", c.name)
		}
		signature[len(signature)/2] ^= 1
		if a.verify(keys[0], c.signed, signature) || a.verify(keys[0], c.signed, nil) {
			t.Errorf("%s verifies with another signature", c.name)
		}
	}
}

// A key verifies what it has signed, and only with the algorithms that it is for.
func TestAlgorithmsAndKeys(t *testing.T) {
	for name, a := range algorithms {
		s := newSigner(name, "k")
		keys, skipped, err := parseKeys([]byte(set(t, s)), true)
		if err != nil || skipped != nil {
			t.Fatalf("%s: %v, %v", name, skipped, err)
		}
		parsed, err := parse(s.token(t, claims(nil)))
		if err != nil {
			t.Fatal(err)
		}
		if !keys[0].isFor(a) || !a.verify(keys[0], parsed.signed, parsed.signature) {
			t.Errorf("%s does not verify", name)
		}
		for other, b := range algorithms {
			if keys[0].isFor(b) != (other == name) {
				t.Errorf("a key for %s can be used for %s", name, other)
			}
		}
		// Without alg in the JWK it is for all of its kind, and for no other kind.
		keys[0].only = ""
		for other, b := range algorithms {
			if keys[0].isFor(b) && b.kind != a.kind {
				t.Errorf("a key of %s can be used for %s", name, other)
			}
		}
	}
}

func TestForms(t *testing.T) {
	s := newSigner("HS256", "")
	good := s.token(t, claims(nil))
	parts := strings.Split(good, ".")
	none := b64([]byte(`{"alg":"none"}`))
	for text, want := range map[string]error{
		good:        nil,
		"":          errNoToken,
		"password":  errNoToken,
		"a.b":       errNoToken,
		"a.b.c":     errNoToken,
		"..":        errNoToken,
		good + ".":  errNoToken,
		good + "\n": errForm,
		" " + good:  errNoToken,
		parts[0] + "==." + parts[1] + "." + parts[2]:            errNoToken,
		b64([]byte(`{"typ":"JWT"}`)) + ".e30.":                  errNoToken,
		b64([]byte(`[]`)) + ".e30.":                             errNoToken,
		b64([]byte(`null`)) + ".e30.":                           errNoToken,
		b64([]byte(`{"alg":"HS256"}{}`)) + ".e30.":              errNoToken,
		b64([]byte(`{"ALG":"HS256"}`)) + ".e30.":                errNoToken, // names are compared as they are
		none + ".e30.":                                          nil,        // it is the algorithm that is refused
		none + ".bnVsbA.":                                       errForm,
		none + ".W10.":                                          errForm,
		none + ".e30=.":                                         errForm,
		none + ".e30.a":                                         errForm,
		b64([]byte(`{"alg":"HS256","kid":1}`)) + ".e30.":        errForm,
		b64([]byte(`{"alg":"HS256","crit":["exp"]}`)) + ".e30.": errCrit,
		strings.Repeat("a", maxToken) + "..":                    errNoToken,
	} {
		if _, err := parse(text); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", text, err, want)
		}
	}
	// One signature is written in one way.
	last := good[len(good)-1]
	for c := range byte(128) {
		if c == last || !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", rune(c)) {
			continue
		}
		sibling, err := parse(good[:len(good)-1] + string(c))
		if err != nil {
			continue
		}
		own, _ := parse(good)
		if string(sibling.signature) == string(own.signature) {
			t.Errorf("a signature can end with %c and %c", last, c)
		}
	}
}

func FuzzParse(f *testing.F) {
	s := newSigner("HS256", "k")
	f.Add(s.token(f, claims(map[string]any{"aud": []string{"x"}})))
	f.Add("a.b.c")
	f.Add(b64([]byte(`{"alg":"HS256","crit":[]}`)) + "..")
	keys, _, err := parseKeys([]byte(set(f, s)), true)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := parse(text)
		if err != nil {
			return
		}
		if tok.claims == nil || tok.signed+"."+base64.RawURLEncoding.EncodeToString(tok.signature) != text {
			t.Errorf("%q is not what was parsed of it", text)
		}
		// What verifies has been signed.
		if a := algorithms[tok.algorithm]; a != nil && len(fitting(keys, tok, a)) > 0 && a.verify(keys[0], tok.signed, tok.signature) {
			if string(s.sign(t, tok.signed)) != string(tok.signature) {
				t.Errorf("%q verifies", text)
			}
		}
	})
}
