package assistant

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// mcpServer is an MCP server with tools about doors.
type mcpServer struct {
	url   string
	calls atomic.Int64
	// token is the Authorization of the last request.
	token atomic.Value
	// before, if there is one, may answer in the server's place.
	before  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	handler atomic.Pointer[mcp.StreamableHTTPHandler]
}

type doorArgs struct {
	Door string `json:"door" jsonschema:"which door"`
}

func startMCP(t testing.TB) *mcpServer {
	s := &mcpServer{}
	s.restart()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.token.Store(r.Header.Get("Authorization"))
		if f := s.before.Load(); f != nil && (*f)(w, r) {
			return
		}
		s.handler.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	s.url = web.URL
	return s
}

// restart forgets all sessions.
func (s *mcpServer) restart() {
	server := mcp.NewServer(&mcp.Implementation{Name: "home", Version: "1"}, nil)
	add := func(name string, fn func(ctx context.Context, door string) *mcp.CallToolResult) {
		mcp.AddTool(server, &mcp.Tool{Name: name, Description: name + " a door"}, func(ctx context.Context, _ *mcp.CallToolRequest, in doorArgs) (*mcp.CallToolResult, any, error) {
			s.calls.Add(1)
			return fn(ctx, in.Door), nil, nil
		})
	}
	text := func(s string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
	}
	add("open", func(_ context.Context, door string) *mcp.CallToolResult { return text("the " + door + " door is open") })
	add("close", func(context.Context, string) *mcp.CallToolResult {
		r := text("it is stuck")
		r.IsError = true
		return r
	})
	add("paint", func(context.Context, string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.ImageContent{MIMEType: "image/png", Data: []byte("1234")}, &mcp.TextContent{Text: "red"}}}
	})
	add("watch", func(ctx context.Context, _ string) *mcp.CallToolResult { // without an end
		<-ctx.Done()
		return text("")
	})
	add("door.bell", func(context.Context, string) *mcp.CallToolResult { return text(strings.Repeat("ding ", 10_000)) })
	s.handler.Store(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
}
