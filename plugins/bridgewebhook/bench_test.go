package bridgewebhook

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// BenchmarkRequest makes requests to a server in the same process, each with one message
// that is rendered, signed and sent: what a message costs without the broker.
func BenchmarkRequest(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer s.Close()
	var made []*plugin // one of them is started
	of := Plugin()
	of.New = func() any { made = append(made, new(plugin)); return made[len(made)-1] }
	plugintest.Start(b, plugintest.Builtin(of), plugintest.NewHost(), local(s.URL+"/${topic[2]}", `,"body":"{\"t\":${payload.t},\"from\":${client_id}}","headers":{"X-Id":"${id}"},"sign":{"secrets":["0123456789abcdef"]}`))
	var r *route
	for _, p := range made {
		if p.routes != nil {
			r = p.routes["r"]
		}
	}
	var source template.Source
	m := &sdk.Message{Topic: "a/b", Payload: []byte(`{"t":21.5,"unit":"C","of":"hall 3"}`), ID: 1}
	b.ReportAllocs()
	for b.Loop() {
		source.Reset(&template.Scope{Route: "r"}, m, &sdk.Client{ClientID: "c"})
		x, _, err := r.piece(&source)
		if err != nil {
			b.Fatal(err)
		}
		if res := r.post(b.Context(), []piece{x}); res.action != done {
			b.Fatal(res.err)
		}
	}
}
