package parcel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// MediaType is that of a package in an OCI image layout.
const MediaType = "application/vnd.patchbay.plugin.v1.tar+gzip"

// fetchTime bounds a download.
const fetchTime = 2 * time.Minute

// Fetch returns the bytes of a package at a file, an http or https URL, or in an OCI image
// layout (DIR, or DIR:TAG), at most most of them. Nothing of them has been checked, but
// the digests of a layout.
func Fetch(ctx context.Context, from string, most int64) ([]byte, error) {
	if strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://") {
		return download(ctx, from, most)
	}
	info, err := os.Stat(from)
	if err == nil && info.Mode().IsRegular() {
		return readAll(from, most)
	}
	dir, tag := from, ""
	if err != nil {
		if i := strings.LastIndexByte(from, ':'); i > 0 {
			dir, tag = from[:i], from[i+1:]
		}
	}
	if _, lerr := os.Stat(filepath.Join(dir, "oci-layout")); lerr != nil {
		if err == nil {
			err = fmt.Errorf("%s: is neither a package nor an OCI image layout", from)
		}
		return nil, err
	}
	return layout(dir, tag, most)
}

func readAll(file string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return atMost(f, most, file)
}

func atMost(r io.Reader, most int64, from string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s: it is larger than %d bytes", from, most)
	}
	return b, nil
}

func download(ctx context.Context, from string, most int64) ([]byte, error) {
	u, err := url.Parse(from)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "patchbay")
	client := &http.Client{CheckRedirect: func(to *http.Request, via []*http.Request) error {
		switch {
		case len(via) >= 10:
			return errors.New("it redirects again and again")
		case via[len(via)-1].URL.Scheme == "https" && to.URL.Scheme != "https":
			return errors.New("it redirects from https to " + to.URL.Scheme)
		}
		return nil
	}}
	answer, err := client.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", u.Redacted(), answer.Status)
	}
	return atMost(answer.Body, most, u.Redacted())
}

// descriptor points to a blob of a layout.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// maxDocument bounds the JSON of a layout.
const maxDocument = 4 << 20

// layout finds the package in an OCI image layout: the one layer of MediaType in the
// image with that tag, or in the only image.
func layout(dir, tag string, most int64) ([]byte, error) {
	text, err := readAll(filepath.Join(dir, "index.json"), maxDocument)
	if err != nil {
		return nil, err
	}
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: index.json: %w", dir, err)
	}
	var images []descriptor
	var tags []string
	for _, d := range index.Manifests {
		name := d.Annotations["org.opencontainers.image.ref.name"]
		tags = append(tags, name)
		if tag == "" || name == tag {
			images = append(images, d)
		}
	}
	switch {
	case len(images) == 0:
		return nil, fmt.Errorf("%s: there is no image %q; there are: %s", dir, tag, strings.Join(tags, ", "))
	case len(images) > 1:
		return nil, fmt.Errorf("%s: there are several images; say which: %s:TAG, with one of %s", dir, dir, strings.Join(tags, ", "))
	}
	if text, err = blob(dir, images[0], maxDocument); err != nil {
		return nil, err
	}
	var image struct {
		Layers []descriptor `json:"layers"`
	}
	if err := json.Unmarshal(text, &image); err != nil {
		return nil, fmt.Errorf("%s: manifest: %w", dir, err)
	}
	for _, d := range image.Layers {
		if d.MediaType == MediaType {
			return blob(dir, d, most)
		}
	}
	return nil, fmt.Errorf("%s: the image has no layer of type %s", dir, MediaType)
}

// blob reads a blob, and compares it with its digest.
func blob(dir string, d descriptor, most int64) ([]byte, error) {
	sum, ok := strings.CutPrefix(d.Digest, "sha256:")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("%s: digest %q: only sha256 is known", dir, d.Digest)
	}
	b, err := readAll(filepath.Join(dir, "blobs", "sha256", strings.ToLower(sum)), most)
	if err != nil {
		return nil, err
	}
	got := sha256.Sum256(b)
	if want, _ := hex.DecodeString(sum); !bytes.Equal(got[:], want) {
		return nil, fmt.Errorf("%s: blob %s has the SHA-256 %x: it was changed", dir, d.Digest, got)
	}
	return b, nil
}
