// Package ask owns the command `patchbay ask`: a client in the terminal for the plugin
// assistant, over MQTT.
//
//	question ──► PREFIX/ASSISTANT/CONVERSATION/ask ──► …/answer/stream, …/answer ──► screen
//
// It knows the assistant's topics and payloads as its README has them, and nothing of the
// plugin's code: what it does, any MQTT client can do. Connections are package client's.
//
// Entry point: [Command]. Then exchange.go: one question and its answer.
package ask
