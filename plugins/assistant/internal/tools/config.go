package tools

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Names of the tools that are built in.
const (
	readRetained  = "read_retained"
	readRecent    = "read_recent"
	listTopics    = "list_topics"
	publish       = "publish"
	request       = "request"
	listClients   = "list_clients"
	brokerMetrics = "broker_metrics"
	explainDrop   = "explain_drop"
)

// needs says which grants a tool that is built in needs.
var needs = map[string][]string{
	readRetained: {"retained", "clients"}, readRecent: {"clients"}, listTopics: {"retained", "clients"},
	publish: {"publish_as_client", "clients"}, request: {"publish_as_client", "clients"},
	listClients: {"clients"}, brokerMetrics: {"retained", "clients"}, explainDrop: {"clients"},
}

// Config says which tools there are. Its zero value is none.
type Config struct {
	Use     []string `json:"use" doc:"Tools that are built in to be used: read_retained, read_recent, list_topics, publish, request, list_clients, broker_metrics, explain_drop. Each needs a grant." max:"20"`
	Topics  []string `json:"topics" doc:"Topic Filters of the topics that built-in tools read and publish to, beside what the client may and the grants cover. Absent: all but those that begin with $." max:"100"`
	DryRun  []string `json:"dry_run" doc:"Tools that only say that nothing was done; with * at the end, all that begin so." max:"100"`
	Approve []string `json:"approve" doc:"Tools of which each call waits for a person's yes." max:"100"`

	Approval Approval `json:"approval" doc:"How people are asked."`
	Recent   Recent   `json:"recent" doc:"What read_recent and list_topics remember."`
	Custom   []Custom `json:"custom" doc:"Tools of your own: what the model says becomes a message." max:"64"`

	Rounds    int          `json:"rounds" doc:"How often a model may ask for tools before it has to answer." default:"8" min:"1" max:"100"`
	Calls     int          `json:"calls" doc:"How many calls it may make for one question." default:"32" min:"1" max:"1000"`
	Timeout   sdk.Duration `json:"timeout" doc:"How long a call may take, the wait for a person not included." default:"15s" min:"10ms" max:"30m"`
	MaxResult sdk.Size     `json:"max_result" doc:"How much of a result the model is told." default:"16KiB" min:"256" max:"1MiB"`
}

// Approval is how people are asked.
type Approval struct {
	Topic   string       `json:"topic" doc:"Requests are published on TOPIC/ID, in the client's namespace, and decisions awaited on TOPIC/ID/decision. Absent: PREFIX/approval."`
	Timeout sdk.Duration `json:"timeout" doc:"Without an answer for so long it is a no." default:"1m" min:"10ms" max:"1h"`
}

// Recent is what is remembered of what is published.
type Recent struct {
	TopicFilters []string `json:"topic_filters" doc:"Topic Filters of what is remembered." default:"#" max:"100"`
	PerTopic     int      `json:"per_topic" doc:"Messages of a topic." default:"10" min:"1" max:"1000"`
	MaxBytes     sdk.Size `json:"max_bytes" doc:"All of them; topics that have been silent longest go first." default:"8MiB" min:"4KiB" max:"1GiB"`
	MaxPayload   sdk.Size `json:"max_payload" doc:"Longer payloads are left out; other tools that read cut them." default:"4KiB" min:"16" max:"1MiB"`
}

// Custom is a tool of the operator's.
type Custom struct {
	Name        string         `json:"name" required:"true" doc:"Its name, for the model." min:"1" max:"64"`
	Description string         `json:"description" required:"true" doc:"What it does and when to use it, for the model." min:"1" max:"2000"`
	Parameters  Schema         `json:"parameters" doc:"JSON Schema of its arguments, as text. Absent: it has none."`
	Topic       template.Text  `json:"topic" required:"true" doc:"Topic to publish to, as the client. ${payload.NAME} is an argument, one level at most; ${client_id} and ${username} are the client's."`
	Payload     Payload        `json:"payload" doc:"Payload. One that begins with { or [ is JSON, and arguments in it are values of JSON. Absent: the arguments as JSON."`
	Response    *template.Text `json:"response_topic" doc:"Topic on which the answer comes. Absent: without response there is none, else the tool makes one up and says it in the message's Response Topic."`
	WantsAnswer bool           `json:"response" doc:"Wait for an answer."`
	Timeout     sdk.Duration   `json:"timeout" doc:"How long to wait for it. 0s: as timeout above." default:"0s" min:"0s" max:"30m"`
	QoS         int            `json:"qos" doc:"QoS of the message." default:"1" min:"0" max:"2"`
	Retain      bool           `json:"retain" doc:"Retain the message."`
}

// waits reports whether there is an answer to wait for.
func (c *Custom) waits() bool { return c.WantsAnswer || c.Response != nil }

// name is what a tool may be called.
var name = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Check says what is wrong with it, as problems with pointers below at.
func (c *Config) Check(at string) (problems []error) {
	add := func(where, format string, args ...any) {
		problems = append(problems, sdk.NewProblem(at+where, fmt.Sprintf(format, args...)))
	}
	for i, n := range c.Use {
		if needs[n] == nil {
			add("/use/"+strconv.Itoa(i), "there is no tool %q; there are %s", n, strings.Join(builtIn(), ", "))
		}
	}
	for i, f := range c.Topics {
		if err := bridge.CheckFilter(f); err != nil {
			add("/topics/"+strconv.Itoa(i), "%v", err)
		}
	}
	for i, f := range c.Recent.TopicFilters {
		if err := bridge.CheckFilter(f); err != nil {
			add("/recent/topic_filters/"+strconv.Itoa(i), "%v", err)
		} else if strings.HasPrefix(f, "$") {
			add("/recent/topic_filters/"+strconv.Itoa(i), "%q: what begins with $ is not remembered; read_retained reads it", f)
		}
	}
	if c.Approval.Topic != "" {
		if err := bridge.CheckTopic(c.Approval.Topic); err != nil {
			add("/approval/topic", "%v", err)
		}
	}
	seen := map[string]bool{}
	for i := range c.Custom {
		t := &c.Custom[i]
		where := "/custom/" + strconv.Itoa(i)
		switch {
		case !name.MatchString(t.Name):
			add(where+"/name", "%q: a name has letters, digits, \"_\" and \"-\"", t.Name)
		case seen[t.Name] || needs[t.Name] != nil:
			add(where+"/name", "there is another tool %q", t.Name)
		}
		seen[t.Name] = true
		if f := placeholder.ReplaceAllString(t.Topic.String(), "x"); bridge.CheckTopic(f) != nil || strings.HasPrefix(f, "$") {
			add(where+"/topic", "%q: a topic cannot come of this", t.Topic.String())
		}
		if t.Response == nil {
			continue
		}
		if f := placeholder.ReplaceAllString(t.Response.String(), "x"); bridge.CheckTopic(f) != nil || strings.HasPrefix(f, "$") {
			add(where+"/response_topic", "%q: a topic cannot come of this", t.Response.String())
		}
	}
	return problems
}

// builtIn lists the tools that are built in.
func builtIn() []string {
	var list []string
	for n := range needs {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// Missing says which grants lack for what is to be used, as problems with pointers below
// at.
func (c *Config) Missing(at string, granted func(name string) bool) (problems []error) {
	lacks := func(where string, grants ...string) {
		for _, g := range grants {
			if !granted(g) {
				problems = append(problems, sdk.NewProblem(at+where, fmt.Sprintf("it needs the grant %s: write grants: [kv, publish, %s]", g, strings.Join(grants, ", "))))
				return
			}
		}
	}
	for i, n := range c.Use {
		lacks("/use/"+strconv.Itoa(i), needs[n]...)
	}
	for i := range c.Custom {
		lacks("/custom/"+strconv.Itoa(i), needs[publish]...)
	}
	return problems
}

// uses reports whether a tool that is built in is to be used.
func (c *Config) uses(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(c.Use, n) })
}

var placeholder = regexp.MustCompile(`\$\{[^}]*\}`)

// filterOf is the Topic Filter of all topics that may come of a template.
func filterOf(template string) string {
	levels := strings.Split(placeholder.ReplaceAllString(template, "\x00"), "/")
	for i, l := range levels {
		if strings.Contains(l, "\x00") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}
