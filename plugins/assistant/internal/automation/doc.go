// Package automation runs the operator's rules: messages that match become a request to a
// model, and its answer a message.
//
//	queue of the rule ──► window ──► choose ──► group ──► engine ──► check ──► output topic
//	                     (StopAt)  (condition,  (one request)       (schema)
//	                                sample, duplicates)
//
// Messages wait in the queue that the host keeps, and not here: a window is a batch that
// is asked to come again when its first message is old enough, and a message is
// acknowledged when what came of it was published. So a crash loses nothing, and
// repeats at most what was under way.
//
// Failures that are of the moment (an endpoint that is away, a limit, a ceiling) have the
// queue wait; messages that grow older than max_age meanwhile are left out. What the model
// or a filter will not take is divided until what is to blame is alone, and that is
// given up as a dead letter.
//
// Payloads are data: they are shown to the model between marks, in messages of the user. An
// automation has no tools, and so can do nothing but answer on its output topic.
//
// It knows rules and messages; whose turn it is and what may be spent is package engine's.
//
// Start at config.go and automation.go; then choose.go (which messages), batch.go (a batch
// of the queue), run.go (a request and its answer), schema.go.
package automation
