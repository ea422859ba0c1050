package assistant

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/engine"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// reply is where an answer goes and how.
type reply struct {
	// own is the conversation's answer topic, topic where the answer goes.
	own, topic string
	// client is who publishes it; "": the plugin.
	client      string
	correlation []byte
	qos         uint32
	// json says that the answer is JSON, and not the bare text. Errors always are.
	json bool
}

const (
	// streamLevel is added to the answer's topic for its pieces.
	streamLevel = "/stream"
	// publishTimeout bounds how long an answer may take to be published, after the time of its
	// question has run out.
	publishTimeout = 10 * time.Second
	// resultProperty is a User Property of answers: "ok", or the code of an error.
	resultProperty = "patchbay-result"
)

// address says where the answer to a message goes. The error is a *fault.Error; it can be
// told on the conversation's own topic.
func (p *plugin) address(q *question, m *sdk.Message) error {
	r := &q.reply
	r.own = strings.Join([]string{p.config.Prefix, q.ask.Assistant, q.ask.Conversation, "answer"}, "/")
	r.topic, r.correlation, r.qos = r.own, bytes.Clone(m.CorrelationData), m.QoS
	if m.ResponseTopic == "" || m.ResponseTopic == r.own {
		return nil
	}
	to := strings.Clone(m.ResponseTopic)
	if err := bridge.CheckTopic(to); err != nil {
		return fault.New(fault.NoResponse, "the Response Topic is no Topic Name")
	}
	switch {
	case p.answersTo(q, to):
		r.topic = to
	case p.host.Granted("publish_as_client") != nil && q.ask.ClientID != "":
		r.topic, r.client = to, q.ask.ClientID
	default:
		return fault.New(fault.NoResponse, "answers do not go to this Response Topic; leave it out, or see answers.response_topics")
	}
	return nil
}

// answersTo reports whether the operator lets the assistant itself answer on a topic.
func (p *plugin) answersTo(q *question, topic string) bool {
	for _, f := range p.config.Answers.ResponseTopics {
		// A name with a wildcard or a slash in it would open what is not the client's.
		if strings.Contains(f, "${client_id}") && !plain(q.ask.ClientID) || strings.Contains(f, "${username}") && !plain(q.ask.Username) {
			continue
		}
		if bridge.Match(placeholders(q.ask.ClientID, q.ask.Username).Replace(f), topic) {
			return true
		}
	}
	return false
}

func plain(s string) bool { return s != "" && !strings.ContainsAny(s, "+#/$") }

// send publishes what goes to the client, at the topic of the answer or below it.
func (p *plugin) send(ctx context.Context, q *question, suffix, result, contentType string, body []byte, retain bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	r := &q.reply
	m := sdk.Message{
		Topic: r.topic + suffix, Payload: body, QoS: r.qos, Retain: retain, Namespace: q.ask.Namespace, Hops: q.ask.Hops,
		CorrelationData: r.correlation, ContentType: contentType, PayloadFormat: 1,
		UserProperties: []sdk.Pair{{Name: resultProperty, Value: result}},
	}
	res, err := p.host.PublishAs(ctx, r.client, m)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", m.Topic, err)
	}
	if code := res[0].ReasonCode; code >= 0x80 {
		return fmt.Errorf("publish to %s: refused with 0x%02X %s", m.Topic, code, res[0].Reason)
	}
	return nil
}

// errorBody is an error as clients get it.
type errorBody struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
	// RetryAfter in seconds.
	RetryAfter int `json:"retry_after,omitempty"`
}

// answerBody is an answer in JSON, or an error.
type answerBody struct {
	ID           string     `json:"id"`
	Conversation string     `json:"conversation"`
	Text         *string    `json:"text,omitempty"`
	Finish       string     `json:"finish,omitempty"`
	Usage        *usageBody `json:"usage,omitempty"`
	Reset        bool       `json:"reset,omitempty"`
	Error        *errorBody `json:"error,omitempty"`
}

type usageBody struct {
	In        int     `json:"input_tokens"`
	Out       int     `json:"output_tokens"`
	Cost      float64 `json:"cost,omitempty"`
	ToolCalls int     `json:"tool_calls,omitempty"`
}

// partBody is a piece of an answer, or with End the mark of its end.
type partBody struct {
	ID     string     `json:"id"`
	Seq    int        `json:"seq"`
	Text   string     `json:"text,omitempty"`
	End    bool       `json:"end,omitempty"`
	Finish string     `json:"finish,omitempty"`
	Error  *errorBody `json:"error,omitempty"`
}

func toBody(f *fault.Error) *errorBody {
	return &errorBody{Code: f.Code, Message: f.Message, RetryAfter: int(math.Ceil(f.RetryAfter.Seconds()))}
}

const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
)

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts, numbers and bools
	}
	return b
}

// tell sends the answer.
func (p *plugin) tell(ctx context.Context, q *question, a *engine.Answer) {
	contentType, body := typeText, []byte(a.Text)
	if q.reply.json {
		contentType, body = typeJSON, encode(&answerBody{
			ID: q.ask.ID, Conversation: q.ask.Conversation, Text: &a.Text, Finish: a.Finish,
			Usage: &usageBody{In: a.In, Out: a.Out, Cost: a.Cost, ToolCalls: a.ToolCalls},
		})
	} else if q.format != nil {
		contentType = typeJSON
	}
	retain := p.config.Answers.Retain && q.reply.topic == q.reply.own
	if err := p.send(ctx, q, "", "ok", contentType, body, retain); err != nil {
		p.undelivered(ctx, q, err)
	}
}

// refuse counts and sends the error of a question that the engine has not seen.
func (p *plugin) refuse(ctx context.Context, q *question, err error) {
	p.engine.Refused(q.ask.Assistant, err)
	p.fail(ctx, q, err)
}

// fail sends an error, and logs what the operator is to know of it.
func (p *plugin) fail(ctx context.Context, q *question, err error) {
	p.told(q, err)
	f := fault.Of(err)
	body := encode(&answerBody{ID: q.ask.ID, Conversation: q.ask.Conversation, Error: toBody(f)})
	if err := p.send(ctx, q, "", string(f.Code), typeJSON, body, false); err != nil {
		p.undelivered(ctx, q, err)
	}
}

// undelivered says on the conversation's own topic that an answer could not be published
// elsewhere.
func (p *plugin) undelivered(ctx context.Context, q *question, err error) {
	p.log.Warn("an answer could not be published", "ask", q.ask.ID, "assistant", q.ask.Assistant, "client", q.ask.ClientID, "error", err)
	if q.reply.topic == q.reply.own {
		return
	}
	q.reply.topic, q.reply.client = q.reply.own, ""
	p.fail(ctx, q, fault.New(fault.NoResponse, "the answer could not be published to the Response Topic; may the client publish there?"))
}

// streamer sends an answer piece by piece. It is for one goroutine.
type streamer struct {
	p     *plugin
	q     *question
	every time.Duration

	text strings.Builder
	seq  int
	last time.Time
}

// maxPart is from where on a piece is sent at once, in bytes.
const maxPart = 4096

// part takes a piece.
func (s *streamer) part(ctx context.Context, text string) error {
	s.text.WriteString(text)
	if s.seq > 0 && time.Since(s.last) < s.every && s.text.Len() < maxPart {
		return nil
	}
	return s.flush(ctx)
}

func (s *streamer) flush(ctx context.Context) error {
	if s.text.Len() == 0 {
		return nil
	}
	body := partBody{ID: s.q.ask.ID, Seq: s.seq, Text: s.text.String()}
	s.text.Reset()
	s.seq++
	s.last = time.Now()
	return s.p.send(ctx, s.q, streamLevel, "part", typeJSON, encode(&body), false)
}

// end sends the rest and the mark of the end; err is nil, or why the answer has ended
// before it was whole.
func (s *streamer) end(ctx context.Context, finish string, err error) {
	result := "ok"
	failed := s.flush(ctx)
	body := partBody{ID: s.q.ask.ID, Seq: s.seq, End: true, Finish: finish}
	if err != nil {
		f := fault.Of(err)
		body.Error, result = toBody(f), string(f.Code)
	}
	if failed == nil {
		failed = s.p.send(ctx, s.q, streamLevel, result, typeJSON, encode(&body), false)
	}
	if failed != nil {
		s.p.log.Debug("a piece of an answer could not be published", "ask", s.q.ask.ID, "error", failed)
	}
}
