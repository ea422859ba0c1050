// A plugin without the SDK, as a program and as WebAssembly, which answers garbage: to
// what is published to garbage/NAME/KIND, where NAME is its own in the config, it does
// not answer as the contract says. To everything else there it continues.
package main

import (
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func manifest() *pluginv1.Manifest {
	return &pluginv1.Manifest{Name: "garbage", Version: "1", Hooks: hooks("garbage/#")}
}

func hooks(filter string) []pluginv1.Hook {
	return []pluginv1.Hook{{Point: pluginv1.PointInterceptPublish, TopicFilters: []string{filter}, DeadlineMs: 500}}
}

func started(in *pluginv1.StartRequest) *pluginv1.StartResponse {
	return &pluginv1.StartResponse{Narrowed: &pluginv1.Narrowed{Hooks: hooks("garbage/" + in.Name + "/#")}}
}

// kind is what a batch asks for.
func kind(b *pluginv1.Batch) string {
	t := b.Events[0].Message.Topic
	return t[strings.LastIndexByte(t, '/')+1:]
}

// answerTo is an answer in form to what may not be in it.
func answerTo(b *pluginv1.Batch) *pluginv1.Answer {
	a := &pluginv1.Answer{Seq: b.Seq}
	switch kind(b) {
	case "event":
		a.Verdicts = []pluginv1.Verdict{{Event: 7}}
	case "action":
		a.Verdicts = []pluginv1.Verdict{{Action: 99}}
	case "topic":
		a.Verdicts = []pluginv1.Verdict{{Action: pluginv1.ActionReplace, Changed: uint32(pluginv1.ChangeTopic),
			Replacement: &pluginv1.Message{Topic: "a/\x00/#"}}}
	case "works":
		a.Verdicts = []pluginv1.Verdict{{Action: pluginv1.ActionDrop}}
	}
	return a
}

// nonsense is no message of the contract.
var nonsense = []byte("\xff\xff\xff\xffnonsense")
