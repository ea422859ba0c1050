package parcel

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

const keyPrefix = "ed25519:"

// Key is a public key in text, as "ed25519:BASE64".
type Key string

// KeyOf writes a public key.
func KeyOf(k ed25519.PublicKey) Key { return Key(keyPrefix + base64.StdEncoding.EncodeToString(k)) }

// Public reads a key.
func (k Key) Public() (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(string(k), keyPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q is not a public key: %s and 32 bytes in base64", string(k), keyPrefix)
	}
	return b, nil
}

// GenerateKey makes a key, and writes it to a new file in PEM that its owner alone can
// read, and the public one to the file with ".pub" added.
func GenerateKey(file string) (Key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := create(file, text, 0o600); err != nil {
		return "", err
	}
	k := KeyOf(public)
	if err := create(file+".pub", []byte(k+"\n"), 0o644); err != nil {
		_ = os.Remove(file)
		return "", err
	}
	return k, nil
}

// create writes a file that must not be there.
func create(file string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// ReadKey reads a private key of GenerateKey, or of openssl genpkey.
func ReadKey(file string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: is not a private key in PEM; patchbay plugin keygen makes one", file)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	private, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: is not an ed25519 key", file)
	}
	return private, nil
}
