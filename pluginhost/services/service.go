package services

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/sdk/password"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"

	"github.com/patchbay-mq/patchbay/core/hook"
)

// Service serves one instance of a plugin.
type Service struct {
	p        *Plugin
	instance Instance
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	mu     sync.Mutex
	timers map[string]*timer
}

var _ v1host.Service = (*Service)(nil)

// Close ends the timers, and calls that wait. Calls that come later are UNAVAILABLE.
func (s *Service) Close() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.timers {
		t.stop()
	}
	clear(s.timers)
}

// serve is one call: it checks the grant's name, and makes a HostError of what goes wrong.
func serve[Out any](s *Service, op pluginv1.HostOp, f func() (*Out, error)) (*Out, error) {
	return serveWith(s, op, op.Grant(), f)
}

func serveWith[Out any](s *Service, op pluginv1.HostOp, grant string, f func() (*Out, error)) (out *Out, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, s.panicked(op, r)
		}
	}()
	if s.ctx.Err() != nil {
		return nil, errEnded(op)
	}
	if grant != "" {
		if err := s.p.may(grant); err != nil {
			return nil, err
		}
	}
	if out, err = f(); err != nil {
		return nil, s.asHostError(op, err)
	}
	return out, nil
}

// waiting is the context of a call that waits: it also ends with the instance.
func (s *Service) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Complete implements v1host.Service.
func (s *Service) Complete(_ context.Context, in *pluginv1.CompleteRequest) (*pluginv1.CompleteResponse, error) {
	return serve(s, pluginv1.HostOpComplete, func() (*pluginv1.CompleteResponse, error) {
		if err := limit("completions", len(in.Completions), maxElements); err != nil {
			return nil, err
		}
		return &pluginv1.CompleteResponse{Late: s.instance.Complete(in)}, nil
	})
}

// maxElements is how many elements a list of a request may have, where the contract says no other.
const maxElements = 1024

// limit refuses lists that are longer than the contract allows: a builtin plugin's are
// not decoded, which would have told.
func limit(what string, n, most int) error {
	if n > most {
		return fail(pluginv1.HostErrorCodeTooLarge, "%d %s, and %d are allowed at once", n, what, most)
	}
	return nil
}

// Disconnect implements v1host.Service.
func (s *Service) Disconnect(_ context.Context, in *pluginv1.DisconnectRequest) (*pluginv1.DisconnectResponse, error) {
	return serve(s, pluginv1.HostOpDisconnect, func() (*pluginv1.DisconnectResponse, error) {
		r := hook.DisconnectRequest{
			Namespace: in.Namespace, ClientID: in.ClientID, Code: packet.AdministrativeAction, Reason: in.Reason,
			EndSession: in.EndSession, Connection: in.Connection,
		}
		if in.ReasonCode != 0 {
			r.Code = packet.ReasonCode(in.ReasonCode)
		}
		switch {
		case in.ClientID == "":
			return nil, invalid("client_id is required")
		case in.ReasonCode > 255 || !r.Code.IsError() || new(packet.Disconnect).Decode(packet.V5, []byte{byte(r.Code)}) != nil:
			return nil, invalid("reason_code 0x%02X: a DISCONNECT cannot carry that [MQTT-3.14.2-1]", in.ReasonCode)
		}
		if err := checkReason(in.Reason); err != nil {
			return nil, err
		}
		if err := s.p.mayIn("disconnect", in.Namespace); err != nil {
			return nil, err
		}
		return &pluginv1.DisconnectResponse{Found: s.p.s.o.Broker.Disconnect(r)}, nil
	})
}

// Secret implements v1host.Service.
func (s *Service) Secret(_ context.Context, in *pluginv1.SecretRequest) (*pluginv1.SecretResponse, error) {
	return serve(s, pluginv1.HostOpSecret, func() (*pluginv1.SecretResponse, error) {
		if err := s.p.maySecret(in.Name); err != nil {
			return nil, err
		}
		if f := s.p.s.o.Secrets; f != nil {
			if v, ok := f(in.Name); ok {
				return &pluginv1.SecretResponse{Value: append([]byte(nil), v...)}, nil
			}
		}
		return nil, fail(pluginv1.HostErrorCodeNotFound, "there is no secret %q in the broker's config", in.Name)
	})
}

// PasswordHash implements v1host.Service.
func (s *Service) PasswordHash(ctx context.Context, in *pluginv1.PasswordHashRequest) (*pluginv1.PasswordHashResponse, error) {
	return serve(s, pluginv1.HostOpPasswordHash, func() (*pluginv1.PasswordHashResponse, error) {
		algorithm := password.Argon2id
		switch in.Algorithm {
		case pluginv1.PasswordAlgorithmDefault, pluginv1.PasswordAlgorithmArgon2id:
		case pluginv1.PasswordAlgorithmBcrypt:
			algorithm = password.Bcrypt
		default:
			return nil, invalid("algorithm %d is not known", in.Algorithm)
		}
		ctx, cancel := s.waiting(ctx)
		defer cancel()
		hash, err := s.p.s.passwords.Hash(ctx, in.Password, algorithm)
		if errors.Is(err, password.ErrTooLong) {
			return nil, fail(pluginv1.HostErrorCodeTooLarge, "%v", err)
		}
		return &pluginv1.PasswordHashResponse{Hash: hash}, err
	})
}

// PasswordVerify implements v1host.Service.
func (s *Service) PasswordVerify(ctx context.Context, in *pluginv1.PasswordVerifyRequest) (*pluginv1.PasswordVerifyResponse, error) {
	return serve(s, pluginv1.HostOpPasswordVerify, func() (*pluginv1.PasswordVerifyResponse, error) {
		if len(in.Password) > password.MaxLen {
			return nil, fail(pluginv1.HostErrorCodeTooLarge, "the password has %d bytes, and %d are possible", len(in.Password), password.MaxLen)
		}
		ctx, cancel := s.waiting(ctx)
		defer cancel()
		ok, err := s.p.s.passwords.Verify(ctx, in.Password, in.Hash)
		if errors.Is(err, password.ErrForm) || errors.Is(err, password.ErrCost) {
			return nil, invalid("hash: %v", err)
		}
		return &pluginv1.PasswordVerifyResponse{Matches: ok, Outdated: password.Outdated(in.Hash)}, err
	})
}

// Now implements v1host.Service.
func (s *Service) Now(context.Context, *pluginv1.NowRequest) (*pluginv1.NowResponse, error) {
	return serve(s, pluginv1.HostOpNow, func() (*pluginv1.NowResponse, error) {
		now := time.Now()
		return &pluginv1.NowResponse{UnixMs: now.UnixMilli(), MonotonicNs: uint64(now.Sub(s.p.s.started))}, nil
	})
}

// InvalidateDecisions implements v1host.Service. The broker forgets the answers of all
// clients, which is more than may have been asked for, and costs a question each.
func (s *Service) InvalidateDecisions(
	_ context.Context, in *pluginv1.InvalidateDecisionsRequest,
) (*pluginv1.InvalidateDecisionsResponse, error) {
	return serve(s, pluginv1.HostOpInvalidateDecisions, func() (*pluginv1.InvalidateDecisionsResponse, error) {
		s.p.s.o.Broker.ForgetAnswers()
		if f := s.p.s.o.Invalidated; f != nil {
			f(s.p.name, in)
		}
		return &pluginv1.InvalidateDecisionsResponse{}, nil
	})
}
