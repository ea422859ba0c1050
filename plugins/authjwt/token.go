package authjwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// maxToken is the longest token, in bytes: what a field of CONNECT can carry.
const maxToken = 65535

// token is a JWS in its compact form (RFC 7515 §7.1), whose signature has not been
// verified: nothing of it is to be believed yet.
type token struct {
	algorithm, keyID string
	hasKeyID         bool
	signed           string // what the signature is of
	signature        []byte
	claims           map[string]any
}

var (
	// errNoToken says that something does not have the form of a token at all, and so may
	// be a password.
	errNoToken = errors.New("not a token")
	errForm    = errors.New("the token has a fault in its form")
	errCrit    = errors.New("the token needs an extension that is not known (crit)")
)

// parse reads a token. Errors: errNoToken, errForm, errCrit.
func parse(s string) (*token, error) {
	if len(s) > maxToken || strings.Count(s, ".") != 2 {
		return nil, errNoToken
	}
	payload := strings.IndexByte(s, '.') + 1
	end := strings.LastIndexByte(s, '.')
	header, ok := object(s[:payload-1])
	if !ok {
		return nil, errNoToken
	}
	t := &token{signed: s[:end]}
	if t.algorithm, ok = header["alg"].(string); !ok {
		return nil, errNoToken
	}
	if kid, there := header["kid"]; there {
		if t.keyID, t.hasKeyID = kid.(string); !t.hasKeyID {
			return nil, errForm
		}
	}
	// None is understood, and b64 (RFC 7797), which changes what is signed, must be in crit.
	if header["crit"] != nil {
		return nil, errCrit
	}
	if t.claims, ok = object(s[payload:end]); !ok {
		return nil, errForm
	}
	var err error
	if t.signature, err = decode(s[end+1:]); err != nil {
		return nil, errForm
	}
	return t, nil
}

// object reads a JSON object in base64url. Member names are compared as they are; of
// members of the same name the last one counts (RFC 7519 §4).
func object(s string) (map[string]any, bool) {
	b, err := decode(s)
	if err != nil {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil || m == nil {
		return nil, false
	}
	_, err = d.Token()
	return m, err == io.EOF
}

// decode reads base64url without padding, in the one way in which it can be written.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which package base64 skips
		return nil, errForm
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
