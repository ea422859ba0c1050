// Package assistant is the plugin "assistant": clients ask a language model by MQTT, at
// any endpoint that speaks OpenAI's chat completions.
//
//	…/ask ──► queue ──► parse ──► engine (waits its turn) ──► history + question ──► model ⇄ tools
//	                                                                     │
//	Response Topic, or …/answer, …/answer/stream ◄── reply ◄─────────────┘
//
//	any topic ──► queue of an automation ──► engine ──► its output topic
//
// It owns topics and payloads: who asks what in which conversation, where the answer goes,
// and that a client gets no more than it could get by itself. What a payload says is data
// to it. The work is done by the packages below internal: engine first, which joins
// fair (whose turn it is), budget (who may spend what), model (the endpoint) and tool (what
// models can do); then chat (what was said before), prompt (how text that is not trusted
// is shown to a model), fault (the errors that clients get), automation (the operator's
// rules, which ask without a client), tools (what a model may call, with the rights of the
// client that asks) and mcp (tools of others).
//
// Start at plugin.go; config.go and check.go, ask.go (a payload), question.go (from its
// turn to its answer), history.go, reply.go, automations.go, tools.go, audit.go,
// redact.go.
package assistant
