// Package engine answers questions with a model: it joins the queue (fair), the accounts
// (budget), the endpoint (model), the tools (tool) and the moderation, and measures them.
// It does not know where questions come from or where answers go, and keeps nothing of
// them: the conversations are package chat's, topics and payloads package assistant's.
//
//	Submit ──► fair.Queue ──► Job.Run ──► Complete ──► moderation ──► ┌► budget ──► model ─┐ ──► Answer
//	                                                                  └── tools ◄── calls ─┘
//
// Entry points: New, Engine.Submit, Engine.Complete, Engine.Close. Then loop.go (rounds of
// requests and tool calls), meters.go.
package engine
