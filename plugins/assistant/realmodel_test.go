package assistant

import (
	"encoding/json"
	"flag"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var python = flag.String("model.python", "", "Python with the packages that testdata/llama.py names, for TestRealModel")

// A real model streams, counts, keeps to a schema, and answers sense: what is wrong with a
// request a test server does not mind.
//
//	go test ./plugins/assistant -run RealModel -v -args -model.python /path/to/venv/bin/python
func TestRealModel(t *testing.T) {
	if *python == "" {
		t.Skip("without -model.python")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // for a free port
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := strings.Cut(address, ":")
	said := new(logs)
	cmd := exec.Command(*python, "testdata/llama.py", port)
	cmd.Stdout, cmd.Stderr = said, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}()
	eventually(t, "the model", func() bool { return strings.Contains(said.String(), "LISTENING") })

	s := start(t, options{config: `"assistants":[{"name":"real","base_url":"http://` + address + `/v1","model":"smollm2","max_answer_tokens":100,"temperature":0}],
		"answers":{"stream_interval":"0s"},"automations":[{"name":"x","assistant":"real","filters":["tickets/new"],"prompt":"Classify the ticket.","output":{"topic":"kind",
		"schema":"{\"type\":\"object\",\"required\":[\"kind\"],\"additionalProperties\":false,\"properties\":{\"kind\":{\"enum\":[\"fault\",\"praise\"]}}}"}}]`})
	c := connect(t, s.addr, "ann").subscribe("kind")
	talk := c.conversation("c")
	for _, question := range []string{
		`{"message":"What is the capital of France?","stream":true}`, `{"message":"And of Italy?"}`,
		`{"message":"Name a port.","response_format":{"type":"object","required":["port"],"additionalProperties":false,"properties":{"port":{"type":"string","maxLength":30}}}}`,
	} {
		b := body(t, talk.askOf("real", question))
		if b.Error != nil || *b.Text == "" || b.Usage.In < 20 || b.Usage.Out < 1 || b.Usage.Out > 100 {
			t.Fatalf("%s: %+v %+v", question, b.Error, b.Usage)
		}
		t.Logf("%s\n%s (%d tokens read, %d written)", question, *b.Text, b.Usage.In, b.Usage.Out)
		if strings.Contains(question, "France") && !strings.Contains(*b.Text, "Paris") {
			t.Error("even a small model knows that, unless it is asked wrongly")
		}
		if strings.Contains(question, "port") {
			var port struct{ Port *string }
			if err := json.Unmarshal([]byte(*b.Text), &port); err != nil || port.Port == nil {
				t.Errorf("%s: %v", *b.Text, err)
			}
		}
	}
	if n := len(c.received("assistant/real/c/answer/stream")); n < 3 {
		t.Errorf("%d pieces", n)
	}
	c.say("tickets/new", "The pump is leaking.")
	if got := string(c.expect("kind", 1).Payload); got != `{"kind":"fault"}` && got != `{"kind":"praise"}` {
		t.Error(got)
	}
}
