package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// maxHostMessage is the contract's limit for requests and responses of the host.
const maxHostMessage = 16 << 20

func (g *guest) importNow(stack []uint64) {
	g.charge(fuelOfClock)
	stack[0] = uint64(g.code.o.Now().UnixMilli())
}

func (g *guest) importLog(stack []uint64) {
	g.charge(fuelOfLine)
	b, ok := g.view(stack[1], stack[2])
	if !ok {
		panic(&trap{Trapped, "log was called with a text outside of its memory"})
	}
	level := pluginv1.LogLevel(stack[0])
	if level < pluginv1.LogLevelDebug || level > pluginv1.LogLevelError {
		level = pluginv1.LogLevelInfo
	}
	line := text(b, maxText)
	if level == pluginv1.LogLevelError {
		g.lastLine = line
	}
	g.plugin.log.line(g.ctx, level, line)
}

func (g *guest) importError(stack []uint64) {
	g.charge(fuelOfLine)
	b, ok := g.view(stack[0], stack[1])
	if !ok {
		panic(&trap{Trapped, "error was called with a text outside of its memory"})
	}
	g.refusal = text(b, maxText)
}

// importHostCall is host_call(op, ptr, len, out, cap).
func (g *guest) importHostCall(stack []uint64) {
	op := pluginv1.HostOp(stack[0])
	request, ok := g.view(stack[1], stack[2])
	out, okOut := g.view(stack[3], stack[4])
	g.charge(fuelOfHostCall + int64(len(request)>>fuelPerBytesLog))
	var response []byte
	switch err := g.callable(op, request, ok && okOut); {
	case err != nil:
		stack[0] = g.hostFailed(err)
		return
	case op == pluginv1.HostOpLastError:
		if g.lastError != nil {
			response = g.code.encode(g.lastError)
		}
	case op == pluginv1.HostOpLastResponse:
		if !g.hasResponse {
			stack[0] = g.hostFailed(hostError(pluginv1.HostErrorCodeNotFound,
				"there is no response left: the last call's has been written, or it had none"))
			return
		}
		response = g.lastResponse
	default:
		g.forget()
		var err *pluginv1.HostError
		if response, err = g.serve(op, bytes.Clone(request)); err != nil {
			stack[0] = g.hostFailed(err)
			return
		}
	}
	g.charge(int64(len(response) >> fuelPerBytesLog))
	stack[0] = uint64(uint32(len(response)))
	switch {
	case len(response) <= len(out):
		copy(out, response)
		if op != pluginv1.HostOpLastError {
			g.forget()
		}
	case op != pluginv1.HostOpLastError && op != pluginv1.HostOpLastResponse:
		g.lastResponse, g.hasResponse = append(g.lastResponse, response...), true
	}
}

// callable says why a call is refused before it is looked at.
func (g *guest) callable(op pluginv1.HostOp, request []byte, inMemory bool) *pluginv1.HostError {
	own := op == pluginv1.HostOpLastError || op == pluginv1.HostOpLastResponse
	switch {
	case !inMemory:
		return hostError(pluginv1.HostErrorCodeInvalid, "the request or the place for the response is outside of memory")
	case own:
		return nil
	case g.hostCalls <= 0:
		return hostError(pluginv1.HostErrorCodeLimit, "too many calls of the host from within one call of the plugin")
	case len(request) > maxHostMessage:
		return hostError(pluginv1.HostErrorCodeTooLarge, "the request is larger than 16 MiB")
	case op.Waits() && !g.mayWait:
		return hostError(pluginv1.HostErrorCodeWorkerOnly,
			op.String()+" may wait, and only the worker instance may make it")
	}
	g.hostCalls--
	return nil
}

// forget empties what LAST_RESPONSE returns, and gives memory back if it was much.
func (g *guest) forget() {
	g.hasResponse = false
	if g.lastResponse = g.lastResponse[:0]; cap(g.lastResponse) > 64<<10 {
		g.lastResponse = nil
	}
}

func (g *guest) hostFailed(err *pluginv1.HostError) uint64 {
	g.lastError = err
	code := err.Code
	if code >= 0 {
		code = pluginv1.HostErrorCodeInternal // not negative it would be a length
	}
	return uint64(uint32(int32(code)))
}

func hostError(code pluginv1.HostErrorCode, message string) *pluginv1.HostError {
	return &pluginv1.HostError{Code: code, Message: message}
}

// serve makes the call. The response is valid until the next one.
func (g *guest) serve(op pluginv1.HostOp, request []byte) (response []byte, failed *pluginv1.HostError) {
	defer func() {
		if r := recover(); r != nil { // of the host: it must not look as if the guest had trapped
			response, failed = nil, hostError(pluginv1.HostErrorCodeInternal, fmt.Sprintf("%s: the host panicked: %v", op, r))
		}
	}()
	call := v1host.Serve
	if g.code.json {
		call = serveJSON
	}
	response, err := call(g.ctx, g.plugin.host, op, request, g.scratch[:0])
	if cap(response) <= 64<<10 {
		g.scratch = response[:0]
	}
	var e *pluginv1.HostError
	switch {
	case errors.As(err, &e):
		return nil, e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, hostError(pluginv1.HostErrorCodeTimeout, op.String()+": "+err.Error())
	case err != nil:
		return nil, hostError(pluginv1.HostErrorCodeInternal, op.String()+": "+err.Error())
	case len(response) > maxHostMessage:
		return nil, hostError(pluginv1.HostErrorCodeTooLarge, op.String()+": the response is larger than 16 MiB")
	}
	return response, nil
}

// serveJSON is v1host.Serve in JSON.
func serveJSON(ctx context.Context, s v1host.Service, op pluginv1.HostOp, request, dst []byte) ([]byte, error) {
	name := messageName(op)
	in, out := pluginv1.New(name+"Request"), pluginv1.New(name+"Response")
	if in == nil || out == nil {
		return v1host.Serve(ctx, s, op, nil, dst) // which says that it does not know it
	}
	if len(request) > 0 {
		if err := v1json.UnmarshalJSON(request, in); err != nil {
			return dst, hostError(pluginv1.HostErrorCodeInvalid, err.Error())
		}
	}
	encoded, err := v1host.Serve(ctx, s, op, in.AppendTo(nil), nil)
	if err != nil {
		return dst, err
	}
	if err := out.Unmarshal(encoded); err != nil {
		return dst, fmt.Errorf("response of the host: %w", err)
	}
	return v1json.AppendJSON(dst, out), nil
}

// messageName makes "KvGet" of HOST_OP_KV_GET: the contract names messages after their calls.
func messageName(op pluginv1.HostOp) string {
	var b strings.Builder
	for word := range strings.SplitSeq(strings.TrimPrefix(op.String(), "HOST_OP_"), "_") {
		if word != "" {
			b.WriteString(word[:1] + strings.ToLower(word[1:]))
		}
	}
	return b.String()
}
