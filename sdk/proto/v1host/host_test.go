package v1host

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// kv is a host that has one value.
type kv struct {
	Service
	version uint64
}

func (h *kv) KVGet(_ context.Context, in *pluginv1.KVGetRequest) (*pluginv1.KVGetResponse, error) {
	if in.Key != "answer" {
		return &pluginv1.KVGetResponse{}, nil
	}
	return &pluginv1.KVGetResponse{Value: []byte("42"), Version: h.version}, nil
}

func (h *kv) KVSet(context.Context, *pluginv1.KVSetRequest) (*pluginv1.KVSetResponse, error) {
	return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeDenied, Message: "not allowed", Grant: "kv"}
}

// bytesOnly connects a Caller with Serve.
func bytesOnly(s Service) Caller {
	return func(ctx context.Context, op pluginv1.HostOp, request []byte) ([]byte, error) {
		return Serve(ctx, s, op, bytes.Clone(request), nil)
	}
}

func TestCallerAndServe(t *testing.T) {
	c := bytesOnly(&kv{version: 7})
	got, err := c.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "answer"})
	if err != nil || string(got.Value) != "42" || got.Version != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := c.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "none"}); err != nil || got.Version != 0 {
		t.Errorf("of no value: got %+v, %v", got, err)
	}
	if got, err := c.KVSet(t.Context(), &pluginv1.KVSetRequest{Key: "answer"}); !errors.Is(err, &pluginv1.HostError{Code: pluginv1.HostErrorCodeDenied}) || got != nil {
		t.Errorf("refused: got %+v, %v", got, err)
	}
}

func TestServeAppends(t *testing.T) {
	request := (&pluginv1.KVGetRequest{Key: "answer"}).AppendTo(nil)
	want := append([]byte("head"), (&pluginv1.KVGetResponse{Value: []byte("42"), Version: 1}).AppendTo(nil)...)
	if got, err := Serve(t.Context(), &kv{version: 1}, pluginv1.HostOpKVGet, request, []byte("head")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestServeRefuses(t *testing.T) {
	for _, c := range []struct {
		op      pluginv1.HostOp
		request string
		want    pluginv1.HostErrorCode
	}{
		{pluginv1.HostOpKVGet, "\x0A\x05x", pluginv1.HostErrorCodeInvalid},
		{pluginv1.HostOpUnspecified, "", pluginv1.HostErrorCodeUnsupported},
		{pluginv1.HostOpLastError, "", pluginv1.HostErrorCodeUnsupported}, // is the runtime's affair
		{9999, "", pluginv1.HostErrorCodeUnsupported},
	} {
		if out, err := Serve(t.Context(), &kv{}, c.op, []byte(c.request), nil); !errors.Is(err, &pluginv1.HostError{Code: c.want}) || out != nil {
			t.Errorf("%s: got %q, %v", c.op, out, err)
		}
	}
}

func TestCallerRefusesNonsense(t *testing.T) {
	c := Caller(func(context.Context, pluginv1.HostOp, []byte) ([]byte, error) { return []byte{0xFF}, nil })
	var e *pluginv1.DecodeError
	if got, err := c.Now(t.Context(), &pluginv1.NowRequest{}); !errors.As(err, &e) || got != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Every method goes by its own op and back to itself.
func TestEveryMethodHasItsOp(t *testing.T) {
	service := reflect.TypeFor[Service]()
	ops := map[pluginv1.HostOp]string{}
	for i := range service.NumMethod() {
		m := service.Method(i)
		var seen pluginv1.HostOp
		c := Caller(func(_ context.Context, op pluginv1.HostOp, _ []byte) ([]byte, error) {
			seen = op
			return nil, nil
		})
		out := reflect.ValueOf(c).MethodByName(m.Name).Call([]reflect.Value{
			reflect.ValueOf(t.Context()), reflect.New(m.Type.In(1).Elem()),
		})
		if err, _ := out[1].Interface().(error); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if other, ok := ops[seen]; ok {
			t.Errorf("%s and %s have the same op", m.Name, other)
		}
		ops[seen] = m.Name
		if want := strings.ReplaceAll(strings.TrimPrefix(seen.String(), "HOST_OP_"), "_", ""); !strings.EqualFold(want, m.Name) {
			t.Errorf("%s goes by %s", m.Name, seen)
		}
		// Served by a Caller the op comes out again.
		op := seen
		if _, err := Serve(t.Context(), c, op, nil, nil); err != nil || seen != op {
			t.Errorf("%s is served as %s (%v)", op, seen, err)
		}
	}
}
