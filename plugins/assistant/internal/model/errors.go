package model

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

// verdict is what a failed attempt means.
type verdict struct {
	fault  *fault.Error
	again  bool // another attempt may end better
	health health
}

// judge says what an error of an attempt means.
func judge(ctx context.Context, err error) verdict {
	var status *statusError
	var refused *refusedError
	var part *partError
	var api *openai.APIError
	switch {
	case errors.As(err, &part):
		return verdict{fault: fault.Of(part.error)}
	case errors.As(err, &refused):
		return verdict{fault: fault.New(fault.Filtered, "%s", refused.text), health: healthy}
	case errors.As(err, &status):
		return ofStatus(status)
	case errors.Is(err, errStalled):
		return verdict{fault.New(fault.Timeout, "the model's endpoint has gone silent").Because(err), true, failing}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return verdict{fault: fault.New(fault.Timeout, "the model has not answered in time").Because(err), health: failing}
	case ctx.Err() != nil:
		return verdict{fault: fault.New(fault.Stopping, "the assistant is being stopped").Because(err)}
	case errors.Is(err, errCut), errors.Is(err, io.ErrUnexpectedEOF):
		return verdict{fault.New(fault.Interrupted, "the model's endpoint broke off").Because(err), true, failing}
	case errors.As(err, &api): // inside of a stream
		return verdict{fault.New(fault.Unavailable, "the model's endpoint reports an error").Because(err), true, failing}
	case malformed(err):
		return verdict{fault.New(fault.BadResponse, "the model's endpoint sends something that cannot be read").Because(err), true, failing}
	case known(err):
		return verdict{fault: fault.New(fault.UpstreamDeny, "the model does not take such a request").Because(err)}
	}
	return verdict{fault.New(fault.Unavailable, "the model's endpoint cannot be reached").Because(err), true, failing}
}

func malformed(err error) bool {
	return errors.As(err, new(*json.SyntaxError)) || errors.As(err, new(*json.UnmarshalTypeError)) || errors.Is(err, io.EOF) ||
		errors.Is(err, errTooLong) || errors.Is(err, errNoChoice) || errors.Is(err, openai.ErrTooManyEmptyStreamMessages)
}

// known reports whether go-openai itself has refused the request.
func known(err error) bool {
	for _, one := range []error{
		openai.ErrReasoningEffortUnsupported, openai.ErrReasoningToolsRequireResponses, openai.ErrReasoningSamplingUnsupported,
		openai.ErrReasoningModelMaxTokensDeprecated, openai.ErrReasoningModelLimitationsLogprobs, openai.ErrReasoningModelLimitationsOther,
		openai.ErrChatCompletionInvalidModel, openai.ErrModerationInvalidModel, openai.ErrContentFieldsMisused,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

func ofStatus(e *statusError) verdict {
	switch {
	case e.code == "context_length_exceeded":
		return verdict{fault: fault.New(fault.TooLarge, "the conversation is too long for the model").Because(e), health: healthy}
	case e.code == "content_filter" || e.code == "content_policy_violation":
		return verdict{fault: fault.New(fault.Filtered, "the model's endpoint refuses this content").Because(e), health: healthy}
	case e.code == "insufficient_quota": // 429 as well, but waiting does not help
		return verdict{fault: fault.New(fault.UpstreamRate, "the quota at the model's endpoint is used up").Because(e), health: healthy}
	case e.status == http.StatusTooManyRequests:
		return verdict{fault.New(fault.UpstreamRate, "the model's endpoint is busy").After(e.after).Because(e), true, healthy}
	case e.status >= 500 || e.status == http.StatusRequestTimeout || e.status == http.StatusConflict:
		return verdict{fault.New(fault.Unavailable, "the model's endpoint has failed (status %d)", e.status).After(e.after).Because(e), true, failing}
	case e.status == http.StatusRequestEntityTooLarge:
		return verdict{fault: fault.New(fault.TooLarge, "the request is too large for the model's endpoint").Because(e), health: healthy}
	}
	return verdict{fault: fault.New(fault.UpstreamDeny, "the model's endpoint refuses the request (status %d)", e.status).Because(e), health: healthy}
}
