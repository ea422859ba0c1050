package bridge

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Ack says when a publisher gets its PUBACK or PUBREC. It is a type for a config.
type Ack bool

// The values of Ack.
const (
	// AtOnce is when the message is safe in the queue of the route.
	AtOnce Ack = false
	// AfterRemote is when the other side has it.
	AfterRemote Ack = true
)

// String returns the name.
func (a Ack) String() string {
	if a == AfterRemote {
		return "after_remote"
	}
	return "at_once"
}

// MarshalText returns the name.
func (a Ack) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the name.
func (a *Ack) UnmarshalText(b []byte) error {
	switch string(b) {
	case "at_once":
		*a = AtOnce
	case "after_remote":
		*a = AfterRemote
	default:
		return fmt.Errorf("%q is neither at_once nor after_remote", b)
	}
	return nil
}

// Route is what the config of every route to the other side has. Bridges embed it in a
// struct with what is their own.
type Route struct {
	Name            string         `json:"name" required:"true" doc:"Name of the route, unique in the bridge: 1 to 64 of a-z, 0-9 and \"-\". What waits belongs to it: another name begins anew." min:"1" max:"64"`
	Filters         []string       `json:"filters" doc:"Topic Filters of the messages that go to the other side."`
	Namespaces      []string       `json:"namespaces" doc:"Namespaces whose messages go to the other side; \"\" is the default one. Absent: all that the plugin may see."`
	MinQoS          uint32         `json:"min_qos" doc:"Messages of a lower QoS stay here." max:"2"`
	Codec           template.Codec `json:"codec" doc:"What a payload is on the other side: raw (the same), json (the same, and must be JSON), base64." default:"raw"`
	Ack             Ack            `json:"ack" doc:"When publishers get their acknowledgement: at_once (the message is safe in the queue of the route), or after_remote (the other side has it)." default:"at_once"`
	AckTimeout      sdk.Duration   `json:"ack_timeout" doc:"With after_remote: how long that may take before the publisher is refused. The message goes over all the same." default:"30s" min:"1s" max:"50s"`
	BatchMessages   uint32         `json:"batch_messages" doc:"How many messages are handed over at once." default:"256" min:"1" max:"1024"`
	BatchBytes      sdk.Size       `json:"batch_bytes" doc:"How large their payloads may be together." default:"1MiB" max:"16MiB"`
	MaxAttempts     uint32         `json:"max_attempts" doc:"How often a message is tried that the other side has trouble with, before it becomes a dead letter. 0 is without end. Outages do not count." default:"0"`
	DeadLetterTopic string         `json:"dead_letter_topic" doc:"Topic to which dead letters are published. Absent: they are dropped, counted and logged."`
	RetryMin        sdk.Duration   `json:"retry_min" doc:"Pause after the first failure; it doubles each time." default:"500ms" min:"10ms"`
	RetryMax        sdk.Duration   `json:"retry_max" doc:"The longest pause." default:"30s" min:"10ms" max:"1h"`
}

// Check says what is wrong with a route to the other side, whose place in the config is
// the JSON Pointer at. The errors are for sdk.Problems.
func (r *Route) Check(at string) (problems []error) {
	problem := func(key, format string, args ...any) {
		problems = append(problems, sdk.NewProblem(at+"/"+key, fmt.Sprintf(format, args...)))
	}
	if strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		problem("name", "%q has characters other than a-z, 0-9 and \"-\"", r.Name)
	}
	if len(r.Filters) == 0 {
		problem("filters", "a route needs at least one Topic Filter, as \"plant/#\"")
	}
	for i, f := range r.Filters {
		if err := CheckFilter(f); err != nil {
			problem("filters/"+strconv.Itoa(i), "%v", err)
		} else if strings.HasPrefix(f, "$") && !strings.HasPrefix(f, "$SYS/") {
			problem("filters/"+strconv.Itoa(i), "%q: of topics that begin with \"$\" only those below $SYS/ can be had", f)
		}
	}
	if r.DeadLetterTopic != "" {
		if err := CheckTopic(r.DeadLetterTopic); err != nil {
			problem("dead_letter_topic", "%v", err)
		}
		for _, f := range r.Filters {
			if Match(f, r.DeadLetterTopic) {
				problem("dead_letter_topic", "it is matched by the route's own filter %q: dead letters would go round", f)
			}
		}
	}
	if r.RetryMax < r.RetryMin {
		problem("retry_max", "it is shorter than retry_min, %s", r.RetryMin.Std())
	}
	return problems
}

// CheckNames says which routes have the name of another. at is the JSON Pointer of the list.
func CheckNames(at string, names []string) (problems []error) {
	seen := map[string]int{}
	for i, name := range names {
		if j, ok := seen[name]; ok {
			problems = append(problems, sdk.NewProblem(at+"/"+strconv.Itoa(i)+"/name", fmt.Sprintf("the route %d has the name %q already", j, name)))
			continue
		}
		seen[name] = i
	}
	return problems
}

// wants reports whether the route is about a message of a namespace.
func (r *Route) wants(m *sdk.Message, namespace string) bool {
	if m.QoS < r.MinQoS || !r.in(namespace) {
		return false
	}
	for _, f := range r.Filters {
		if Match(f, m.Topic) {
			return true
		}
	}
	return false
}

func (r *Route) in(namespace string) bool {
	if len(r.Namespaces) == 0 {
		return true
	}
	for _, n := range r.Namespaces {
		if n == namespace {
			return true
		}
	}
	return false
}

// deadline is how long the host waits for a batch.
const deadline = time.Minute

// queue is what the host is to keep for the route. Attempts are counted here, not by the
// host, for which an outage is one too.
func (r *Route) queue(fields sdk.Field) sdk.Queue {
	return sdk.Queue{
		Name: r.Name, TopicFilters: r.Filters, MinQoS: r.MinQoS, Namespaces: r.Namespaces, Fields: fields | sdk.FieldPayload,
		MaxBatch: r.BatchMessages, MaxBatchBytes: r.BatchBytes, Deadline: deadline, DeadLetterTopic: r.DeadLetterTopic,
		RetryAfter: r.RetryMin.Std(),
	}
}
