// Package model speaks to one OpenAI-compatible endpoint, by go-openai: chat completions,
// streamed or whole, with tools, and moderations. It owns what becomes of an endpoint
// that is slow, busy or wrong: attempts with growing pauses, Retry-After, a breaker, a
// watch on streams that stall, bounds on what is read. It knows nothing of MQTT, budgets
// or conversations, and keeps no text after a call.
//
//	Chat ──► breaker ──► attempt ──► go-openai ──► transport (status, Retry-After, bounds)
//	           ▲            │ 429, 5xx, cut, stalled, malformed and nothing was passed on yet
//	           └── failure ─┴── pause, again
//
// Errors are *fault.Error: their messages are for clients and say nothing of keys or
// accounts; their causes are for the log.
//
// Entry points: New, Client.Chat, Client.Moderate, Client.Health. Then attempt.go (one
// request), transport.go, errors.go (which failure is what), breaker.go, tokens.go.
package model
