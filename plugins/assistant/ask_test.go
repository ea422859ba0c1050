package assistant

import (
	"slices"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Whatever a payload is, it becomes a question that says something, or an error of the
// client's.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		"hello", "", "{", "{}", `{"message":"a","stream":true,"temperature":0.1,"max_tokens":5}`, `{"reset":true}`,
		`{"message":"a","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}}}`,
		`{"image":["data:image/png;base64,aaaa",{"topic":"a"}]}`, `{"message":"a","response_format":null,"image":null}`, "\xff\xfe",
		`{"image":[]}`, `{"message":"a","response_format":"json"}`, `{"image":"data:image/png;base64,"}`,
	} {
		f.Add([]byte(s), "")
	}
	f.Add([]byte(`{"t":1}`), "text/plain")
	c, err := sdk.ParseConfig[Config](`{"model":"m","images":true,"allow":{"system":true}}`)
	if err != nil {
		f.Fatal(err)
	}
	p := &plugin{config: c}
	client := []fault.Code{fault.BadRequest, fault.NotAllowed}
	f.Fuzz(func(t *testing.T, payload []byte, contentType string) {
		q := &question{ask: &tool.Ask{Assistant: "main"}}
		err := p.read(q, &sdk.Message{Payload: payload, ContentType: contentType})
		switch {
		case err != nil && !slices.Contains(client, fault.Of(err).Code):
			t.Errorf("%q: %v", payload, err)
		case err == nil && q.text == "" && len(q.images) == 0 && !q.reset:
			t.Errorf("%q: a question without anything: %+v", payload, q)
		}
	})
}
