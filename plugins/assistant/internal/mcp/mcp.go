package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	sdkmcp "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Servers are MCP servers. They are safe for concurrent use.
type Servers struct {
	list []*server
}

var _ tool.Source = (*Servers)(nil)

// New makes Servers of configs that have been checked. Nobody is asked yet.
func New(list []Config, log *sdk.Logger) (*Servers, error) {
	out := &Servers{}
	for i := range list {
		s, err := newServer(&list[i], log)
		if err != nil {
			return nil, fmt.Errorf("MCP server %s: %w", list[i].Name, err)
		}
		out.list = append(out.list, s)
	}
	return out, nil
}

// List implements tool.Source: the tools of all servers that can be asked.
func (s *Servers) List(ctx context.Context, _ *tool.Ask) ([]tool.Tool, error) {
	lists := make([][]offer, len(s.list))
	var wg sync.WaitGroup
	for i, one := range s.list {
		wg.Go(func() {
			lists[i], _ = one.list(ctx) // it has said why, and the question goes on without
		})
	}
	wg.Wait()
	var out []tool.Tool
	for _, l := range lists {
		for i := range l {
			out = append(out, l[i].Tool)
		}
	}
	return out, nil
}

// Call implements tool.Source.
func (s *Servers) Call(ctx context.Context, _ *tool.Ask, name string, args json.RawMessage) (tool.Result, error) {
	for _, one := range s.list {
		if !strings.HasPrefix(name, one.c.Name+"_") {
			continue
		}
		tools, err := one.list(ctx)
		if err != nil {
			return tool.Result{}, fmt.Errorf("MCP server %s: %w", one.c.Name, err)
		}
		for i := range tools {
			if tools[i].Name == name {
				return one.result(ctx, tools[i].remote, args)
			}
		}
	}
	return tool.Result{}, tool.ErrNoTool
}

// result calls a tool and reads what it has brought.
func (s *server) result(ctx context.Context, remote string, args json.RawMessage) (tool.Result, error) {
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	res, err := s.call(ctx, remote, args)
	if err != nil {
		return tool.Result{}, fmt.Errorf("MCP server %s: %w", s.c.Name, err)
	}
	text := textOf(res)
	if res.IsError {
		return tool.Result{}, errors.New(text)
	}
	return tool.Result{Text: text}, nil
}

// textOf is what a model can read of a result.
func textOf(res *sdkmcp.CallToolResult) string {
	var b strings.Builder
	for _, c := range res.Content {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		switch c := c.(type) {
		case *sdkmcp.TextContent:
			b.WriteString(c.Text)
		case *sdkmcp.ImageContent:
			fmt.Fprintf(&b, "(an image, %s, %d bytes)", c.MIMEType, len(c.Data))
		case *sdkmcp.AudioContent:
			fmt.Fprintf(&b, "(a sound, %s, %d bytes)", c.MIMEType, len(c.Data))
		case *sdkmcp.ResourceLink:
			fmt.Fprintf(&b, "(a link to %s)", c.URI)
		case *sdkmcp.EmbeddedResource:
			if c.Resource != nil {
				fmt.Fprintf(&b, "(%s)\n%s", c.Resource.URI, c.Resource.Text)
			}
		}
	}
	if b.Len() == 0 && res.StructuredContent != nil {
		if j, err := json.Marshal(res.StructuredContent); err == nil {
			b.Write(j)
		}
	}
	return b.String()
}

// Close ends the connections, by the end of ctx at the latest.
func (s *Servers) Close(ctx context.Context) {
	var wg sync.WaitGroup
	for _, one := range s.list {
		wg.Go(func() { one.close(ctx) })
	}
	wg.Wait()
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
