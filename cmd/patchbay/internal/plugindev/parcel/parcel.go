package parcel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

const (
	aboutName     = "package.json"
	signatureName = "package.sig"
	// version of the format.
	version = 1
	// signed begins what is signed, so that a signature of something else is none of this.
	signed = "patchbay plugin package 1\n"
)

// The limits of a package.
const (
	maxAbout = 4 << 20
	// MaxFile is the largest plugin.
	MaxFile = 256 << 20
	// MaxPackage is the largest package.
	MaxPackage = MaxFile + maxAbout + 1<<20
)

// About is package.json.
type About struct {
	Format  int    `json:"patchbay_package"`
	Name    string `json:"name"`
	Version string `json:"version"`
	// Runtime is wasm or process; Platform is that of a program, as linux/amd64.
	Runtime  string `json:"runtime"`
	Platform string `json:"platform,omitempty"`
	// File is the name of the plugin's file in the package.
	File   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Manifest is the plugin's, as protobuf-JSON.
	Manifest json.RawMessage `json:"manifest"`
}

type signature struct {
	Key       Key    `json:"key"`
	Signature string `json:"signature"`
}

// Package is a package that was opened, and is what its signer has made.
type Package struct {
	About
	Signer   Key
	Content  []byte
	Manifest *pluginv1.Manifest
}

var (
	// ErrUnsigned is a package without signature.
	ErrUnsigned = errors.New("the package is not signed: its author signs it with patchbay plugin pack --key")
	// ErrUntrusted is one that somebody has signed whom the operator does not trust.
	ErrUntrusted = errors.New("nobody who is trusted has signed the package")
	// ErrTampered is one that is not what was signed.
	ErrTampered = errors.New("the package was changed after it was signed")
)

// Pack writes a package. Size, SHA256 and Format of about are filled in. Without key
// it is unsigned. The same input makes the same bytes.
func Pack(w io.Writer, about About, content []byte, key ed25519.PrivateKey) error {
	sum := sha256.Sum256(content)
	about.Format, about.Size, about.SHA256 = version, int64(len(content)), hex.EncodeToString(sum[:])
	text, err := json.MarshalIndent(&about, "", "  ")
	if err != nil {
		return err
	}
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	add := func(name string, mode int64, b []byte) {
		err = errors.Join(err, t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(b)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}))
		_, werr := t.Write(b)
		err = errors.Join(err, werr)
	}
	add(aboutName, 0o644, text)
	if key != nil {
		s, merr := json.Marshal(signature{
			Key:       KeyOf(key.Public().(ed25519.PublicKey)),
			Signature: base64.StdEncoding.EncodeToString(ed25519.Sign(key, append([]byte(signed), text...))),
		})
		err = errors.Join(err, merr)
		add(signatureName, 0o644, s)
	}
	add(about.File, 0o755, content)
	return errors.Join(err, t.Close(), z.Close())
}

// Open reads a package that one of the trusted keys has signed. The error is ErrUnsigned,
// ErrUntrusted or ErrTampered where one of these is the reason. It keeps nothing of r.
func Open(r io.Reader, trusted []Key) (*Package, error) {
	files, names, err := unpack(r)
	if err != nil {
		return nil, fmt.Errorf("it is not a package of patchbay plugin pack: %w", err)
	}
	text, sig := files[aboutName], files[signatureName]
	p := &Package{}
	if err := json.Unmarshal(text, &p.About); err != nil {
		return nil, fmt.Errorf("%s: %w", aboutName, err)
	}
	if p.Format != version {
		return nil, fmt.Errorf("the package has format %d; this patchbay knows %d: use a newer one", p.Format, version)
	}
	if sig == nil {
		return nil, ErrUnsigned
	}
	if p.Signer, err = verify(text, sig, trusted); err != nil {
		return nil, err
	}
	// From here on package.json is its signer's.
	if err := p.check(names); err != nil {
		return nil, err
	}
	p.Content = files[p.File]
	sum := sha256.Sum256(p.Content)
	if got := hex.EncodeToString(sum[:]); got != p.SHA256 || int64(len(p.Content)) != p.Size {
		return nil, fmt.Errorf("%w: the SHA-256 of %s is %s, and %s was signed", ErrTampered, p.File, got, p.SHA256)
	}
	p.Manifest = new(pluginv1.Manifest)
	if err := v1json.UnmarshalJSON(p.About.Manifest, p.Manifest); err != nil {
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	return p, nil
}

// unpack reads the few files of an archive.
func unpack(r io.Reader) (files map[string][]byte, names []string, err error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	z.Multistream(false)
	files = map[string][]byte{}
	left := int64(MaxPackage)
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if h.Typeflag != tar.TypeReg || files[h.Name] != nil || len(names) == 3 {
			return nil, nil, fmt.Errorf("it has %q in it, which does not belong there", h.Name)
		}
		b, err := io.ReadAll(io.LimitReader(t, left+1))
		if err != nil {
			return nil, nil, err
		}
		if left -= int64(len(b)); left < 0 {
			return nil, nil, fmt.Errorf("it is larger than %d bytes", MaxPackage)
		}
		if b == nil {
			b = []byte{}
		}
		files[h.Name], names = b, append(names, h.Name)
	}
	if len(files[aboutName]) > maxAbout || files[aboutName] == nil {
		return nil, nil, fmt.Errorf("it has no %s", aboutName)
	}
	return files, names, nil
}

// verify returns the trusted key that has signed text.
func verify(text, sig []byte, trusted []Key) (Key, error) {
	var s signature
	if err := json.Unmarshal(sig, &s); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrTampered, signatureName, err)
	}
	public, err := s.Key.Public()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrTampered, err)
	}
	raw, err := base64.StdEncoding.DecodeString(s.Signature)
	if err != nil || !ed25519.Verify(public, append([]byte(signed), text...), raw) {
		return "", fmt.Errorf("%w: the signature does not fit", ErrTampered)
	}
	if !slices.Contains(trusted, s.Key) {
		return "", fmt.Errorf("%w: it was signed by %s. If you know whose key that is and trust them, add it to plugin_keys in the configuration, or say --trusted",
			ErrUntrusted, s.Key)
	}
	return s.Key, nil
}

var fileName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}(\.wasm|\.exe)?$`)

// check looks at what a signer may have got wrong.
func (p *Package) check(names []string) error {
	base, isModule := strings.CutSuffix(p.File, ".wasm")
	base = strings.TrimSuffix(base, ".exe")
	switch {
	case !fileName.MatchString(p.File) || base != p.Name:
		return fmt.Errorf("the file %q in the package does not fit its name %q", p.File, p.Name)
	case !slices.Contains(names, p.File) || len(names) != 3:
		return fmt.Errorf("%w: there is no file %s in it", ErrTampered, p.File)
	case p.Runtime == "wasm" && isModule:
		return nil
	case p.Runtime != "process" || isModule:
		return fmt.Errorf("the package's runtime %q does not fit its file %s", p.Runtime, p.File)
	case p.Platform != Platform():
		return fmt.Errorf("the program in the package is for %s, and this is %s", p.Platform, Platform())
	}
	return nil
}

// Platform is the one of this program, as linux/amd64.
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// Base is the name of a plugin's file without what it ends with.
func Base(file string) string {
	return strings.TrimSuffix(strings.TrimSuffix(file, ".wasm"), ".exe")
}

// equalManifests reports whether two manifests say the same, in whatever form.
func equalManifests(a, b *pluginv1.Manifest) bool {
	return bytes.Equal(a.AppendTo(nil), b.AppendTo(nil))
}

// Describes reports whether the package says of the plugin what that says of itself.
func (p *Package) Describes(m *pluginv1.Manifest) error {
	if !equalManifests(p.Manifest, m) {
		return errors.New("the plugin says something else of itself than the package does of it: what it asks for cannot be relied on")
	}
	return nil
}
