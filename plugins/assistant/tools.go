package assistant

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/mcp"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tools"
	"github.com/patchbay-mq/patchbay/plugins/internal/glob"
	"github.com/patchbay-mq/patchbay/sdk"
)

// ToolsConfig says what models may call.
type ToolsConfig struct {
	tools.Config
	MCP []mcp.Config `json:"mcp" doc:"MCP servers whose tools are there as NAME_TOOL." max:"20"`
}

// checkTools says what is wrong with the tools.
func (c *Config) checkTools(p *problems) {
	t := &c.Tools
	*p = append(*p, t.Check("/tools")...)
	*p = append(*p, mcp.Check("/tools/mcp", t.MCP)...)
	if len(t.Approve) > 0 && t.Approval.Timeout >= c.Answers.Timeout {
		p.add("/tools/approval/timeout", "it is not shorter than answers.timeout: the question would be over when a person has decided")
	}
	for where, list := range t.patterns(c) {
		for i, pattern := range list {
			if !t.someTool(pattern) && pattern != noTools {
				p.add(where+"/"+strconv.Itoa(i), "%q: there is no such tool in tools.use, tools.custom or tools.mcp", pattern)
			}
		}
	}
}

// noTools stands for none in the list of an assistant.
const noTools = "none"

// patterns are the lists that name tools, by where they stand.
func (t *ToolsConfig) patterns(c *Config) map[string][]string {
	out := map[string][]string{"/tools/dry_run": t.DryRun, "/tools/approve": t.Approve}
	for i := range c.Assistants {
		out["/assistants/"+strconv.Itoa(i)+"/tools"] = c.Assistants[i].Tools
	}
	return out
}

// someTool reports whether a pattern may match a tool. Those of MCP servers are not known
// before they are asked.
func (t *ToolsConfig) someTool(pattern string) bool {
	for _, n := range t.Use {
		if glob.Match(pattern, n) {
			return true
		}
	}
	for i := range t.Custom {
		if glob.Match(pattern, t.Custom[i].Name) {
			return true
		}
	}
	for i := range t.MCP {
		begin := t.MCP[i].Name + "_"
		if strings.HasPrefix(pattern, begin) || glob.Match(pattern, begin) {
			return true
		}
	}
	return false
}

// some reports whether there are any tools.
func (t *ToolsConfig) some() bool { return len(t.Use)+len(t.Custom)+len(t.MCP) > 0 }

// startTools makes the tools. The error is a problem with a pointer: a grant is missing.
func (p *plugin) startTools() error {
	c := &p.config
	granted := func(name string) bool { return p.host.Granted(name) != nil }
	missing := c.Tools.Missing("/tools", granted)
	if len(c.Tools.MCP) > 0 && !granted("clients") {
		missing = append(missing, sdk.NewProblem("/tools/mcp", "it needs the grant clients, to see who may use them: write grants: [kv, publish, clients]"))
	}
	if err := sdk.Problems(missing...); err != nil {
		return err
	}
	o := tools.Options{Host: p.host, Config: &c.Tools.Config, Prefix: c.Prefix, Assistants: map[string][]string{}}
	for i := range c.Assistants {
		if a := &c.Assistants[i]; len(a.Tools) > 0 {
			o.Assistants[a.Name] = a.Tools
		}
	}
	if len(c.Tools.MCP) > 0 {
		var err error
		if p.servers, err = mcp.New(c.Tools.MCP, p.log); err != nil {
			return err
		}
		o.External = p.servers
	}
	p.set = tools.New(o)
	if c.Tools.some() {
		p.tools = p.set
	}
	return nil
}

// stopTools ends the connections to MCP servers.
func (p *plugin) stopTools() {
	if p.servers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), margin/2)
	defer cancel()
	p.servers.Close(ctx)
}

// toolMargin is what a call of a tool may take longer than its own limits say.
const toolMargin = 5 * time.Second

var _ sdk.Observer = (*plugin)(nil)

// Observe implements sdk.Observer: some tools show what has happened.
func (p *plugin) Observe(_ context.Context, b *sdk.EventBatch) error {
	p.set.Observe(b)
	return nil
}

// maxImage bounds an image that a topic has retained, in bytes.
const maxImage = 8 << 20

// readRetained reads the retained message of a topic as a client may read it.
func (p *plugin) readRetained(ctx context.Context, a *tool.Ask, topic string) (data []byte, contentType string, err error) {
	if p.host.Granted("retained") == nil || p.host.Granted("clients") == nil {
		return nil, "", fault.New(fault.NotAllowed, "images by topic cannot be had here; send a data URL")
	}
	m, err := p.set.One(ctx, a, topic)
	switch {
	case errors.As(err, new(*tool.Refused)):
		return nil, "", fault.New(fault.NotAllowed, "the topic %s: %v", cut(topic, 200), err)
	case err != nil:
		return nil, "", fault.New(fault.BadRequest, "the topic %s cannot be read", cut(topic, 200)).Because(err)
	case m == nil:
		return nil, "", fault.New(fault.BadRequest, "the topic %s has no retained message", cut(topic, 200))
	case len(m.Payload) > maxImage:
		return nil, "", fault.New(fault.TooLarge, "the image on %s has %d bytes, and %d are possible", cut(topic, 200), len(m.Payload), maxImage)
	}
	return m.Payload, m.ContentType, nil
}
