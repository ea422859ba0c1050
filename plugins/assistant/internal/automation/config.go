package automation

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of an automation.
type Config struct {
	Name       string   `json:"name" required:"true" doc:"Its name: 1 to 50 of a-z, 0-9 and \"-\". What waits belongs to it: another name begins anew." min:"1" max:"50"`
	Assistant  string   `json:"assistant" doc:"Name of the assistant that does it. Absent: the first one."`
	Filters    []string `json:"filters" required:"true" doc:"Topic Filters of the messages that it is about." example:"plant/+/alarm" min:"1" max:"100"`
	Namespaces []string `json:"namespaces" doc:"Namespaces whose messages it is about; \"\" is the default one. Absent: all that the plugin may see. Messages of several are never in one request."`
	MinQoS     uint32   `json:"min_qos" doc:"Messages of a lower QoS are left out." max:"2"`

	When       []Condition `json:"when" doc:"What must be true of a message, all of it. Absent: all messages." max:"20"`
	Sample     float64     `json:"sample" doc:"Which share of the messages is taken, by chance: 0.1 is one of ten." default:"1" min:"0" max:"1"`
	Duplicates *Duplicates `json:"duplicates" doc:"Messages that say the same are taken once. Absent: each time."`

	Prompt      template.Text `json:"prompt" required:"true" doc:"What the model is to do. Placeholders are values of the message, of the first one with a window; the model is shown them as data." example:"Summarise these alarms in two sentences."`
	Message     template.Text `json:"message" doc:"What the model is shown of each message. Absent: ${payload}; nothing, if prompt has placeholders and there is no window." example:"${payload.text} (severity ${payload.severity})"`
	MaxMessage  sdk.Size      `json:"max_message" doc:"How much of each message the model is shown." default:"4KiB" min:"1" max:"1MiB"`
	Window      sdk.Duration  `json:"window" doc:"Messages are collected for so long, from the first one, and shown to the model together. 0s: each by itself, at once." default:"0s" min:"0s" max:"1d"`
	Group       template.Text `json:"group" doc:"With a window: messages with the same text are shown together. Absent: all of a namespace." example:"${topic[2]}"`
	MaxMessages int           `json:"max_messages" doc:"With a window: the most messages of one request. If there are more, there are more requests." default:"100" min:"1" max:"1000"`

	Output          Output       `json:"output" required:"true" doc:"What becomes of the answer."`
	Temperature     *float64     `json:"temperature" doc:"In place of the assistant's." min:"0" max:"2"`
	MaxAnswerTokens int          `json:"max_answer_tokens" doc:"The most tokens of an answer. 0: as the assistant." min:"0" max:"1000000"`
	Concurrency     int          `json:"concurrency" doc:"How many requests may be under way at once. With more than 1, answers can overtake each other." default:"1" min:"1" max:"64"`
	Timeout         sdk.Duration `json:"timeout" doc:"How long a request may take, waiting for its turn included." default:"2m" min:"100ms" max:"4m"`
	MaxAge          sdk.Duration `json:"max_age" doc:"Messages that have waited for so long beside the window, as for an endpoint that is away or a ceiling that is reached, are left out." default:"1h" min:"1s" max:"30d"`
	MaxAttempts     int          `json:"max_attempts" doc:"How often a message is tried that the model has trouble with. Outages, limits and ceilings do not count." default:"5" min:"1" max:"100"`
	DeadLetterTopic string       `json:"dead_letter_topic" doc:"Topic to which messages are published that have no answer after all attempts. Absent: they are dropped, counted and logged."`
}

// Condition is something that must be true of a message.
type Condition struct {
	Value   template.Text `json:"value" required:"true" doc:"What is looked at, as text: a placeholder mostly. What is not there is \"\"; where the payload is not the JSON that it looks into, the condition is not met." example:"${payload.severity}"`
	Is      []string      `json:"is" doc:"It is one of these." max:"100"`
	IsNot   []string      `json:"is_not" doc:"It is none of these; \"\" for what must be there." max:"100"`
	Matches Pattern       `json:"matches" doc:"It has what this regular expression (RE2) describes."`
	Min     *float64      `json:"min" doc:"It is a number, and not lower."`
	Max     *float64      `json:"max" doc:"It is a number, and not higher."`
}

// Pattern is a regular expression. It is a type for a config.
type Pattern struct{ *regexp.Regexp }

// UnmarshalText compiles a regular expression.
func (p *Pattern) UnmarshalText(b []byte) (err error) {
	p.Regexp, err = regexp.Compile(string(b))
	return err
}

// Duplicates says which messages say the same.
type Duplicates struct {
	By  template.Text `json:"by" doc:"Messages with the same text say the same." default:"${topic} ${payload}"`
	For sdk.Duration  `json:"for" required:"true" doc:"For how long after the first of them the others are left out." min:"1s" max:"30d"`
}

// Output is what becomes of an answer.
type Output struct {
	Topic  template.Text `json:"topic" required:"true" doc:"Topic of the answer. Placeholders are values of the message, of the first one with a window." example:"plant/summary"`
	QoS    uint32        `json:"qos" doc:"QoS of the answer." default:"1" max:"2"`
	Retain bool          `json:"retain" doc:"Retain the answer."`
	Schema Schema        `json:"schema" doc:"JSON Schema (2020-12) of the answer, as text. The answer is then JSON that fits it, or there is none."`
}

// Check says what is wrong with an automation, whose place in the config is the JSON
// Pointer at. The errors are for sdk.Problems.
func (c *Config) Check(at string) (problems []error) {
	problem := func(key, format string, args ...any) {
		problems = append(problems, sdk.NewProblem(at+"/"+key, fmt.Sprintf(format, args...)))
	}
	if strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		problem("name", "%q has characters other than a-z, 0-9 and \"-\"", c.Name)
	}
	for i, f := range c.Filters {
		if err := bridge.CheckFilter(f); err != nil {
			problem("filters/"+strconv.Itoa(i), "%v", err)
		} else if strings.HasPrefix(f, "$") {
			problem("filters/"+strconv.Itoa(i), "%q: topics that begin with $ cannot be had", f)
		}
	}
	if c.Sample == 0 {
		problem("sample", "0 would take no message at all; leave it out to take all")
	}
	for i := range c.When {
		if err := c.When[i].check(); err != nil {
			problem("when/"+strconv.Itoa(i), "%v", err)
		}
	}
	if strings.TrimSpace(c.Prompt.String()) == "" {
		problem("prompt", "it is empty: say what the model is to do")
	}
	if c.Window == 0 && !c.Group.Empty() {
		problem("group", "without a window each message is by itself; there is nothing to group")
	}
	if topic, constant := c.Output.Topic.Constant(); constant {
		if err := checkTopic(topic); err != nil {
			problem("output/topic", "%v", err)
		}
	}
	if c.DeadLetterTopic != "" {
		if err := checkTopic(c.DeadLetterTopic); err != nil {
			problem("dead_letter_topic", "%v", err)
		}
	}
	return problems
}

// checkTopic says why nothing can be published to a topic. It may be one that the
// automation itself listens to: a plugin is not shown what it publishes.
func checkTopic(topic string) error {
	if strings.HasPrefix(topic, "$") {
		return fmt.Errorf("%q: topics that begin with $ are the broker's", topic)
	}
	return bridge.CheckTopic(topic)
}

func (c *Condition) check() error {
	switch {
	case len(c.Is) == 0 && len(c.IsNot) == 0 && c.Matches.Regexp == nil && c.Min == nil && c.Max == nil:
		return fmt.Errorf("it says nothing of the value: want is, is_not, matches, min or max")
	case c.Min != nil && c.Max != nil && *c.Min > *c.Max:
		return fmt.Errorf("min is higher than max: no number is between them")
	}
	return nil
}

// each reports whether every message is a request of its own.
func (c *Config) each() bool { return c.Window == 0 }

// shows reports whether the model is shown the messages beside what prompt says of them.
func (c *Config) shows() bool {
	_, constant := c.Prompt.Constant()
	return !c.Message.Empty() || constant || !c.each()
}

// fields are what a message must have.
func (c *Config) fields() sdk.Field {
	f := sdk.FieldPayload | c.Prompt.Fields() | c.Message.Fields() | c.Group.Fields() | c.Output.Topic.Fields()
	for i := range c.When {
		f |= c.When[i].Value.Fields()
	}
	if c.Duplicates != nil {
		f |= c.Duplicates.By.Fields()
	}
	return f
}

const (
	// prefix of the queues' names.
	prefix = "automation-"
	// deadline of a batch; the longest that the contract has. Requests that could end later
	// are not begun.
	deadline = 10 * time.Minute
	// most is how many messages a batch with a window may have: as many as the contract allows.
	most = 1024
	// eachBatch is how many messages a batch without a window has for each request that may
	// be under way: few, since it ends when the last one has ended.
	eachBatch = 4
)

// queue is what the host is to keep. Attempts are counted here, not by the host, for
// which a window is one too.
func (c *Config) queue() sdk.Queue {
	n := uint32(most)
	if c.each() {
		n = uint32(eachBatch * c.Concurrency)
	}
	return sdk.Queue{
		Name: prefix + c.Name, TopicFilters: c.Filters, MinQoS: c.MinQoS, Namespaces: c.Namespaces, Fields: c.fields(),
		MaxBatch: n, Deadline: deadline, DeadLetterTopic: c.DeadLetterTopic,
	}
}
