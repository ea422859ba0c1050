package assistant

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/chat"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
)

// The last levels of topics on which the assistant listens.
const (
	askVerb   = "ask"
	resetVerb = "reset"
)

// question is what a client asks.
type question struct {
	ask   *tool.Ask
	reply reply
	chat  chat.ID
	size  int64

	text        string
	system      string
	images      []image
	reset       bool
	stream      bool
	format      *openai.ChatCompletionResponseFormat
	temperature *float64
	maxOutput   int
}

// image is a picture: by its data, or by the topic that has it retained.
type image struct{ url, topic string }

// lane is what runs in order: the questions of a conversation.
func (q *question) lane() string {
	return q.chat.Assistant + "\x00" + q.chat.Client + "\x00" + q.chat.Name
}

// question says who asks in which conversation and where the answer goes; nil if the
// topic is not that of a question. With an error there is a question to be refused.
func (p *plugin) question(c *sdk.Client, m *sdk.Message) (*question, error) {
	rest, ok := strings.CutPrefix(m.Topic, p.config.Prefix+"/")
	levels := strings.Split(rest, "/")
	if !ok || len(levels) != 3 {
		return nil, nil
	}
	a := &tool.Ask{
		ID: strings.ToLower(rand.Text()[:10]), Namespace: m.Namespace, ClientID: c.ClientID, Username: c.Username,
		Assistant: levels[0], Conversation: levels[1], Hops: m.Hops,
	}
	if a.ClientID == "" {
		a.ClientID = m.Publisher // its session has ended since
	}
	if a.Namespace == "" {
		a.Namespace = c.Namespace
	}
	keep(&a.Namespace, &a.ClientID, &a.Username, &a.Assistant, &a.Conversation)
	q := &question{ask: a, reset: levels[2] == resetVerb, chat: chat.ID{Assistant: a.Assistant, Namespace: a.Namespace, Name: a.Conversation}}
	if p.config.Conversations.Scope == "client" {
		q.chat.Client = a.ClientID
	}
	err := p.address(q, m)
	if p.engine.Assistant(a.Assistant) == nil {
		return q, fault.New(fault.NoAssistant, "there is no assistant %q", cut(a.Assistant, 64))
	}
	return q, err
}

// keep makes strings the question's own: those of a message are the broker's.
func keep(list ...*string) {
	for _, s := range list {
		*s = strings.Clone(*s)
	}
}

// cut shortens a text to n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// payload is a question in JSON.
type payload struct {
	Message        *string         `json:"message"`
	System         string          `json:"system"`
	Stream         bool            `json:"stream"`
	ResponseFormat json.RawMessage `json:"response_format"`
	Temperature    *float64        `json:"temperature"`
	MaxTokens      int             `json:"max_tokens"`
	Image          json.RawMessage `json:"image"`
	Reset          bool            `json:"reset"`
	Answer         string          `json:"answer"`
}

// read takes a payload to pieces.
func (p *plugin) read(q *question, m *sdk.Message) error {
	if q.reset {
		return nil
	}
	if !utf8.Valid(m.Payload) {
		return fault.New(fault.BadRequest, "the payload is not UTF-8 text")
	}
	text := strings.TrimSpace(string(m.Payload))
	if !strings.HasPrefix(text, "{") || strings.HasPrefix(m.ContentType, "text/") {
		if text == "" {
			return fault.New(fault.BadRequest, "the payload is empty: want a text, or JSON with message")
		}
		q.text = text
		return nil
	}
	var in payload
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return fault.New(fault.BadRequest, "the payload is not a question in JSON: %s", cut(strings.TrimPrefix(err.Error(), "json: "), 200))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fault.New(fault.BadRequest, "the payload has something behind its JSON")
	}
	return p.accept(q, &in)
}

// accept holds a payload against what the operator allows.
func (p *plugin) accept(q *question, in *payload) error {
	q.reply.json = in.Answer != "text"
	q.reset, q.stream, q.maxOutput, q.temperature = in.Reset, in.Stream, in.MaxTokens, in.Temperature
	if in.Message != nil {
		q.text = strings.TrimSpace(*in.Message)
	}
	allow := &p.config.Allow
	switch {
	case in.Answer != "" && in.Answer != "json" && in.Answer != "text":
		return fault.New(fault.BadRequest, `answer is "json" or "text"`)
	case q.text == "" && len(in.Image) == 0 && !q.reset:
		return fault.New(fault.BadRequest, "message is missing (to send JSON as a question as it is, say text/plain as Content Type)")
	case in.System != "" && !allow.System:
		return fault.New(fault.NotAllowed, "system may not be set here")
	case in.Stream && !allow.Stream:
		return fault.New(fault.NotAllowed, "stream may not be set here")
	case in.MaxTokens < 0:
		return fault.New(fault.BadRequest, "max_tokens is less than 0")
	case in.Temperature != nil && (*in.Temperature < allow.TemperatureMin || *in.Temperature > allow.TemperatureMax):
		return fault.New(fault.NotAllowed, "temperature is from %g to %g here", allow.TemperatureMin, allow.TemperatureMax)
	case len(in.ResponseFormat) > 0 && !allow.ResponseFormat:
		return fault.New(fault.NotAllowed, "response_format may not be set here")
	}
	q.system = strings.TrimSpace(in.System)
	var err error
	if q.format, err = responseFormat(in.ResponseFormat); err != nil {
		return err
	}
	if len(in.Image) == 0 || q.reset {
		return nil
	}
	if !p.images(q.ask.Assistant) {
		return fault.New(fault.NotAllowed, "this assistant does not look at images")
	}
	q.images, err = readImages(in.Image)
	return err
}

// images reports whether an assistant looks at images.
func (p *plugin) images(assistant string) bool {
	list, _ := p.config.all()
	for i := range list {
		if list[i].Name == assistant {
			return *list[i].Images
		}
	}
	return false
}

// formatName is what a JSON Schema may be called.
var formatName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// responseFormat reads "text", "json" or "json_object", a response_format as OpenAI has it,
// or a JSON Schema by itself.
func responseFormat(raw json.RawMessage) (*openai.ChatCompletionResponseFormat, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		switch word {
		case "text":
			return nil, nil
		case "json", "json_object":
			return &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONObject}, nil
		}
		return nil, fault.New(fault.BadRequest, `response_format is "text", "json", or a JSON Schema`)
	}
	var whole struct {
		Type       string          `json:"type"`
		JSONSchema json.RawMessage `json:"json_schema"`
	}
	if err := json.Unmarshal(raw, &whole); err != nil || bytes.TrimSpace(raw)[0] != '{' {
		return nil, fault.New(fault.BadRequest, `response_format is "text", "json", or a JSON Schema`)
	}
	switch whole.Type {
	case "text":
		return nil, nil
	case "json_object":
		return &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONObject}, nil
	case "json_schema":
		s := &openai.ChatCompletionResponseFormatJSONSchema{}
		if err := json.Unmarshal(whole.JSONSchema, s); err != nil || s.Schema == nil || !formatName.MatchString(s.Name) {
			return nil, fault.New(fault.BadRequest, "response_format.json_schema has a name and a schema")
		}
		return &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONSchema, JSONSchema: s}, nil
	}
	return &openai.ChatCompletionResponseFormat{
		Type:       openai.ChatCompletionResponseFormatTypeJSONSchema,
		JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{Name: "answer", Schema: raw},
	}, nil
}

// maxImages is the most images of a question.
const maxImages = 4

// readImages reads one image or a list: each a data URL, or {"topic": "…"}.
func readImages(raw json.RawMessage) ([]image, error) {
	list := []json.RawMessage{raw}
	if raw[0] == '[' {
		list = nil
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fault.New(fault.BadRequest, "image is a list that cannot be read")
		}
	}
	if len(list) == 0 || len(list) > maxImages {
		return nil, fault.New(fault.BadRequest, "image is one image or a list of up to %d", maxImages)
	}
	var out []image
	for _, one := range list {
		var i image
		var ref struct {
			Topic string `json:"topic"`
		}
		switch {
		case json.Unmarshal(one, &i.url) == nil:
			if err := checkDataURL(i.url); err != nil {
				return nil, fault.New(fault.BadRequest, "image: %v", err)
			}
		case json.Unmarshal(one, &ref) == nil && ref.Topic != "":
			i.topic = ref.Topic
		default:
			return nil, fault.New(fault.BadRequest, `image is a data URL, or {"topic": "…"}`)
		}
		out = append(out, i)
	}
	return out, nil
}

// dataURL is what images look like. Other URLs would have the endpoint fetch what a client
// names.
var dataURL = regexp.MustCompile(`^data:image/(png|jpeg|gif|webp);base64,`)

func checkDataURL(s string) error {
	prefix := dataURL.FindString(s)
	if prefix == "" {
		return errors.New("want a data URL of a PNG, JPEG, GIF or WebP image: data:image/png;base64,…")
	}
	if _, err := base64.StdEncoding.DecodeString(s[len(prefix):]); err != nil {
		return fmt.Errorf("its base64: %w", err)
	}
	return nil
}
