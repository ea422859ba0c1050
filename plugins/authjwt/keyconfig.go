package authjwt

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// read makes keys of what the config says. With an error comes where it is, below the
// key.
func (c *KeyConfig) read() (keys []*key, at string, err error) {
	switch {
	case (c.Secret.Reveal() == "") == (c.PEM == ""):
		return nil, "", errors.New(`a key has either "secret" or "pem"`)
	case c.PEM != "":
		at = "/pem"
		keys, err = parsePEM([]byte(c.PEM))
	default:
		at = "/secret"
		var secret []byte
		if secret, err = c.secret(); err == nil {
			var k *key
			k, err = secretKey(secret)
			keys = []*key{k}
		}
	}
	if err != nil {
		return nil, at, err
	}
	for _, k := range keys {
		k.id, k.only = c.ID, c.Algorithm
		if a := algorithms[c.Algorithm]; a != nil && !k.isFor(a) {
			return nil, "/algorithm", fmt.Errorf("the key cannot be used for %s", c.Algorithm)
		}
	}
	return keys, "", nil
}

// secret decodes the secret. A line end behind it, as files have one, does not count.
func (c *KeyConfig) secret() (out []byte, err error) {
	text := strings.TrimRight(c.Secret.Reveal(), "\r\n")
	switch c.Encoding {
	case "base64":
		out, err = base64.StdEncoding.DecodeString(text)
	case "base64url":
		out, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	case "hex":
		out, err = hex.DecodeString(text)
	default:
		return []byte(text), nil
	}
	if err != nil {
		return nil, errors.New("it is not written in " + c.Encoding) // the secret is in err
	}
	return out, nil
}
