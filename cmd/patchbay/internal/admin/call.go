package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// caller makes the calls of a command to the broker behind a socket.
type caller struct {
	socket string
	http   *http.Client
}

const (
	dialTimeout = 5 * time.Second
	// answerTimeout is until an answer begins: long enough for a walk over some
	// millions of sessions, and for a reload that reads certificates.
	answerTimeout = time.Minute
	// maxAnswer bounds a single object: a retained message of the largest packet
	// MQTT knows, in base64.
	maxAnswer = 400 << 20
)

func newCaller(socket string) *caller {
	d := net.Dialer{Timeout: dialTimeout}
	return &caller{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		ResponseHeaderTimeout: answerTimeout,
		DisableKeepAlives:     true, // a command makes one call or two
	}}}
}

// Open makes one of the calls with an exported path to the broker behind a socket,
// and returns the body of a good answer. An error with a method ExitCode is one
// that the broker gave; the others say that none came about.
func Open(ctx context.Context, socket, path string) (io.ReadCloser, error) {
	return newCaller(socket).call(ctx, http.MethodGet, path, nil, nil)
}

// get and post return the broker's answer, one JSON object.
func (c *caller) get(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	return c.object(ctx, http.MethodGet, path, query, nil)
}

func (c *caller) post(ctx context.Context, path string, body any) (json.RawMessage, error) {
	return c.object(ctx, http.MethodPost, path, nil, body)
}

func (c *caller) object(ctx context.Context, method, path string, query url.Values, body any) (json.RawMessage, error) {
	answer, err := c.call(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	text, err := io.ReadAll(io.LimitReader(answer, maxAnswer))
	if err != nil {
		return nil, c.cutShort(err)
	}
	return text, nil
}

// list calls each with every line of a list, one JSON object. The bytes are valid
// during the call only.
func (c *caller) list(ctx context.Context, path string, query url.Values, each func(line json.RawMessage) error) error {
	answer, err := c.call(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	d := json.NewDecoder(answer)
	for {
		var line json.RawMessage
		if err := d.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return c.cutShort(err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

// call returns the body of a good answer.
func (c *caller) call(ctx context.Context, method, path string, query url.Values, body any) (io.ReadCloser, error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return nil, err
		}
	}
	// The host is not looked at.
	where := url.URL{Scheme: "http", Host: "patchbay", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, where.String(), &content)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	f := &failure{}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if json.Unmarshal(text, f) != nil || f.Message == "" {
		f.Message = fmt.Sprintf("%s: unexpected answer %s: is it a broker's socket?", shown(c.socket), answer.Status)
	}
	if f.ExitCode == 0 {
		f.ExitCode = exitRuntime
	}
	return nil, &exitError{f.ExitCode, errors.New(f.Message)}
}

// unreachable says what to do when no call came about.
func (c *caller) unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no running broker at %s: start one, or give --socket", shown(c.socket))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied: only the user that runs the broker may use its socket", shown(c.socket))
	}
	return fmt.Errorf("broker at %s: %w", shown(c.socket), innermost(err))
}

func (c *caller) cutShort(err error) error {
	return fmt.Errorf("broker at %s: the answer is cut short: %w", shown(c.socket), err)
}

// shown writes a relative path so that it looks like one.
func shown(path string) string {
	if filepath.IsAbs(path) || strings.HasPrefix(path, ".") {
		return path
	}
	return "." + string(filepath.Separator) + path
}
