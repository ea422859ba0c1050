package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	sdkmcp "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/internal/glob"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// askTimeout bounds how long a server may take to tell its tools, and so how long a
	// question waits for one that does not answer.
	askTimeout = 10 * time.Second
	// pause is for how long a server is left alone that could not be asked.
	pause = 30 * time.Second
	// maxTools, maxDescription and maxSchema bound what a server may tell the model of its
	// tools; the last two in bytes.
	maxTools, maxDescription, maxSchema = 128, 2000, 16 << 10
)

// server is one MCP server. What it is and has is changed by the one who has the turn.
type server struct {
	c         *Config
	log       *sdk.Logger
	transport *http.Transport
	client    *sdkmcp.Client
	// ctx ends with close.
	ctx    context.Context
	cancel context.CancelFunc
	end    sync.Once
	ended  chan struct{}

	turn    chan struct{}
	session *sdkmcp.ClientSession
	tools   []offer
	until   time.Time // tools are good until then
	failed  error     // why there are none
}

// offer is a tool of a server.
type offer struct {
	tool.Tool
	remote string // the server's name for it
}

func newServer(c *Config, log *sdk.Logger) (*server, error) {
	t, err := c.transport()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &server{
		c: c, log: log, transport: t, ctx: ctx, cancel: cancel, ended: make(chan struct{}), turn: make(chan struct{}, 1),
		// No capabilities: it may ask for nothing.
		client: sdkmcp.NewClient(&sdkmcp.Implementation{Name: "patchbay", Version: "1"}, &sdkmcp.ClientOptions{Capabilities: &sdkmcp.ClientCapabilities{}}),
	}, nil
}

// take takes the turn.
func (s *server) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *server) pass() { <-s.turn }

// list returns the tools.
func (s *server) list(ctx context.Context) ([]offer, error) {
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	if time.Now().Before(s.until) {
		defer s.pass()
		return s.tools, s.failed
	}
	var tools []offer
	var err error
	done := make(chan struct{})
	go func() { // it is for all that wait, and goes on if who has begun it goes
		defer s.pass()
		defer close(done)
		tools, err = s.refresh()
	}()
	select {
	case <-done:
		return tools, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refresh asks for the tools. The caller has the turn.
func (s *server) refresh() ([]offer, error) {
	ctx, cancel := context.WithTimeout(s.ctx, askTimeout)
	defer cancel()
	s.tools, s.failed = s.fetch(ctx)
	s.until = time.Now().Add(s.c.Refresh.Std())
	if s.failed != nil && s.ctx.Err() == nil {
		s.log.Warn("an MCP server cannot be asked for its tools", "server", s.c.Name, "error", cut(s.failed.Error(), 500), "again_in", pause.String())
		s.drop(s.session)
		s.until = time.Now().Add(pause)
	}
	return s.tools, s.failed
}

// connected returns the session, which is made if there is none. The caller has the turn.
func (s *server) connected(ctx context.Context) (*sdkmcp.ClientSession, error) {
	if s.session != nil {
		return s.session, nil
	}
	session, err := s.client.Connect(ctx, &sdkmcp.StreamableClientTransport{
		Endpoint: s.c.URL, HTTPClient: s.c.client(s.transport), MaxRetries: -1, DisableStandaloneSSE: true, MaxEventSize: maxBody,
	}, nil)
	s.session = session
	return session, err
}

// drop forgets a session. The caller has the turn.
func (s *server) drop(session *sdkmcp.ClientSession) {
	if session == nil || s.session != session {
		return
	}
	s.session = nil
	go session.Close() // it says goodbye to a server that may not listen; bounded by the library
}

// fetch asks the server for its tools.
func (s *server) fetch(ctx context.Context) ([]offer, error) {
	session, err := s.connected(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	var out []offer
	seen := map[string]bool{}
	params := &sdkmcp.ListToolsParams{}
	for range maxTools { // pages
		page, err := session.ListTools(ctx, params)
		if errors.Is(err, sdkmcp.ErrSessionMissing) { // it has been started anew
			s.drop(session)
			if session, err = s.connected(ctx); err == nil {
				page, err = session.ListTools(ctx, params)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("list tools: %w", err)
		}
		for _, t := range page.Tools {
			if len(s.c.Tools) > 0 && !glob.Any(s.c.Tools, t.Name) {
				continue
			}
			o, why := s.offer(t)
			switch {
			case why != "":
				s.skipped(t.Name, why)
			case seen[o.Name]:
				s.skipped(t.Name, "there is another of that name")
			case len(out) == maxTools:
				s.skipped(t.Name, "there are too many")
			default:
				seen[o.Name] = true
				out = append(out, o)
			}
		}
		if params.Cursor = page.NextCursor; params.Cursor == "" {
			break
		}
	}
	return out, nil
}

func (s *server) skipped(name, why string) {
	s.log.Warn("a tool of an MCP server is left out", "server", s.c.Name, "tool", cut(name, 100), "reason", why)
}

// unnameable are characters that a model's tool cannot have in its name.
var unnameable = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// offer makes a server's tool one for models, or says why it cannot be one.
func (s *server) offer(t *sdkmcp.Tool) (o offer, why string) {
	o = offer{Tool: tool.Tool{Name: s.c.Name + "_" + unnameable.ReplaceAllString(t.Name, "_"), Description: t.Description}, remote: t.Name}
	if len(o.Name) > 64 {
		return o, "its name is too long"
	}
	if o.Description == "" {
		o.Description = t.Title
	}
	if len(o.Description) > maxDescription {
		o.Description = strings.ToValidUTF8(o.Description[:maxDescription], "")
	}
	schema, err := json.Marshal(t.InputSchema)
	if err != nil || t.InputSchema == nil {
		return o, "it has no schema of its arguments"
	}
	if o.Parameters = schema; len(schema) > maxSchema {
		return o, "the schema of its arguments is too large"
	}
	return o, ""
}

// call calls a tool by the server's name for it. It is tried again only if the server has
// said that it did not look at it.
func (s *server) call(ctx context.Context, remote string, args json.RawMessage) (*sdkmcp.CallToolResult, error) {
	for attempt := 0; ; attempt++ {
		if err := s.take(ctx); err != nil {
			return nil, err
		}
		session, err := s.connected(ctx)
		s.pass()
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		res, err := session.CallTool(ctx, &sdkmcp.CallToolParams{Name: remote, Arguments: args})
		if err == nil || ctx.Err() != nil {
			return res, err
		}
		if s.take(ctx) == nil {
			if errors.Is(err, sdkmcp.ErrSessionMissing) || errors.Is(err, sdkmcp.ErrConnectionClosed) {
				s.drop(session)
			}
			s.pass()
		}
		if attempt > 0 || !errors.Is(err, sdkmcp.ErrSessionMissing) {
			return nil, err
		}
	}
}

// close ends the connection. It says goodbye to the server, which may not listen: that is
// not waited for beyond ctx.
func (s *server) close(ctx context.Context) {
	s.cancel()
	go s.end.Do(func() {
		defer close(s.ended)
		s.turn <- struct{}{} // for good
		if s.session != nil {
			_ = s.session.Close() // nothing can be done about it
		}
		s.transport.CloseIdleConnections()
	})
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
}
