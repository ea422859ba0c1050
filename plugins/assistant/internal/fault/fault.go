// Package fault has the errors that clients of the assistant get: each with a code that
// stays the same from version to version, and a message that may not. README.md lists
// them; a test holds the list and this file together.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Code is what a program decides by.
type Code string

// The codes.
const (
	BadRequest   Code = "bad_request"           // the payload is not what it has to be
	NotAllowed   Code = "not_allowed"           // the operator does not let clients set this
	TooLarge     Code = "too_large"             // the ask, or what the model would have to read
	NoAssistant  Code = "unknown_assistant"     // no assistant of that name
	NoResponse   Code = "response_not_allowed"  // the Response Topic is not one to which answers may go
	Expired      Code = "expired"               // the ask was too old when it came
	Busy         Code = "busy"                  // too many asks wait
	RateLimited  Code = "rate_limited"          // a limit of requests or tokens, of this broker
	Exhausted    Code = "budget_exhausted"      // a cost ceiling, of this broker
	Timeout      Code = "timeout"               // no whole answer in time
	Unavailable  Code = "unavailable"           // the model's endpoint fails, or cannot be reached
	UpstreamRate Code = "upstream_rate_limited" // the endpoint says 429
	UpstreamDeny Code = "upstream_refused"      // the endpoint refuses the request: a wrong key, model or parameter
	Interrupted  Code = "interrupted"           // the endpoint broke off in the middle of the answer
	BadResponse  Code = "bad_response"          // the endpoint answers something that cannot be read
	Filtered     Code = "filtered"              // the endpoint, or the model, refuses this content
	Moderated    Code = "moderated"             // the moderation hook refuses this content
	ToolLimit    Code = "tool_limit"            // the model went on calling tools past the limit
	Stopping     Code = "stopping"              // the plugin or the broker is being stopped
	Internal     Code = "internal"              // a fault of the plugin
)

// Codes lists all codes.
func Codes() []Code {
	return []Code{
		BadRequest, NotAllowed, TooLarge, NoAssistant, NoResponse, Expired, Busy, RateLimited, Exhausted, Timeout, Unavailable,
		UpstreamRate, UpstreamDeny, Interrupted, BadResponse, Filtered, Moderated, ToolLimit, Stopping, Internal,
	}
}

// Error is what went wrong, for the client: its message holds no secrets, and nothing of
// other clients.
type Error struct {
	Code    Code
	Message string
	// RetryAfter is when it is worth trying again; 0: not known.
	RetryAfter time.Duration
	// Cause is for the log; it may be nil.
	Cause error
}

// New makes an Error.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// After adds when it is worth trying again.
func (e *Error) After(d time.Duration) *Error { e.RetryAfter = d; return e }

// Because adds what the log is to know.
func (e *Error) Because(err error) *Error { e.Cause = err; return e }

func (e *Error) Error() string {
	if e.Cause != nil {
		return string(e.Code) + ": " + e.Message + ": " + e.Cause.Error()
	}
	return string(e.Code) + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// Of makes an Error of any error; what is none becomes Internal.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return New(Internal, "the assistant has failed; the broker's log knows more").Because(err)
}

// Is reports whether err is an Error of that code.
func Is(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
