package mcp

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config is an MCP server.
type Config struct {
	Name    string            `json:"name" required:"true" doc:"Its name: its tools are NAME_TOOL." min:"1" max:"24"`
	URL     string            `json:"url" required:"true" doc:"Its address (streamable HTTP)." example:"https://mcp.example.com/mcp"`
	Token   sdk.Secret        `json:"token" doc:"Bearer token."`
	Headers map[string]string `json:"headers" doc:"HTTP headers to send with each request."`
	CAFile  string            `json:"ca_file" doc:"PEM file of authorities that its certificate must lead to. Absent: the system's."`
	Tools   []string          `json:"tools" doc:"Which of its tools, by its own names for them; with * at the end, all that begin so. Absent: all." max:"200"`
	Refresh sdk.Duration      `json:"refresh" doc:"It is asked for its tools again after so long." default:"5m" min:"1s" max:"1d"`
}

// name is what a server may be called.
var name = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// Check says what is wrong with servers, as problems with pointers below at.
func Check(at string, list []Config) (problems []error) {
	seen := map[string]bool{}
	for i := range list {
		c := &list[i]
		where := at + "/" + strconv.Itoa(i)
		add := func(key, format string, args ...any) {
			problems = append(problems, sdk.NewProblem(where+key, fmt.Sprintf(format, args...)))
		}
		switch {
		case !name.MatchString(c.Name):
			add("/name", "%q: a name has letters, digits and \"-\"", c.Name)
		case seen[c.Name]:
			add("/name", "there is another server %q", c.Name)
		}
		seen[c.Name] = true
		u, err := url.Parse(c.URL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			add("/url", "want a URL as https://mcp.example.com/mcp") // not shown: it may hold a key
		case u.User != nil:
			add("/url", "a URL with a password in it is shown in logs; use token or headers")
		}
		if _, err := c.transport(); err != nil {
			add("/ca_file", "%v", err)
		}
	}
	return problems
}
