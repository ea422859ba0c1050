package authfile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// work stands in for the hash function: "right" matches. It waits for a token where there
// is a channel.
type work struct {
	calls   atomic.Int64
	started chan string
	tokens  chan error
}

func (w *work) compute(ctx context.Context, secret []byte, hash string) (bool, error) {
	w.calls.Add(1)
	if w.tokens != nil {
		w.started <- hash
		select {
		case err := <-w.tokens:
			if err != nil {
				return false, err
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return string(secret) == "right", nil
}

func verifierFor(w *work, queue int, remember time.Duration) *verifier {
	v := newVerifier()
	v.configure(&Config{MaxQueue: queue, Remember: sdk.Duration(remember)}, w.compute)
	return v
}

func slow() *work { return &work{started: make(chan string, 64), tokens: make(chan error)} }

// inQueue waits until so many logins wait.
func inQueue(t *testing.T, v *verifier, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		v.mu.Lock()
		queued := v.queued
		v.mu.Unlock()
		if queued == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d in the queue, want %d", queued, n)
		}
	}
}

func verify(t *testing.T, v *verifier, name, hash, secret string) bool {
	t.Helper()
	ok, err := v.verify(t.Context(), name, hash, []byte(secret), false)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// What was right is known for a while: for this user, with this hash.
func TestRemember(t *testing.T) {
	w := &work{}
	v := verifierFor(w, 10, time.Minute)
	now := time.Unix(0, 0)
	v.now = func() time.Time { return now }
	step := func(what string, ok, want bool, calls int64) {
		t.Helper()
		if ok != want || w.calls.Load() != calls {
			t.Errorf("%s: %v after %d verifications, want %v after %d", what, ok, w.calls.Load(), want, calls)
		}
	}
	step("first", verify(t, v, "ann", "h", "right"), true, 1)
	step("again", verify(t, v, "ann", "h", "right"), true, 1)
	step("wrong", verify(t, v, "ann", "h", "wrong"), false, 2)
	step("wrong again", verify(t, v, "ann", "h", "wrong"), false, 3)
	step("another user with that hash", verify(t, v, "bob", "h", "right"), true, 4)
	step("another hash", verify(t, v, "ann", "new", "right"), true, 5)
	now = now.Add(time.Minute)
	step("a minute later", verify(t, v, "ann", "h", "right"), true, 6)
	v.configure(&Config{MaxQueue: 10}, w.compute)
	step("nothing is remembered", verify(t, v, "ann", "h", "right"), true, 7)
	step("nothing is remembered", verify(t, v, "ann", "h", "right"), true, 8)
}

// A decoy that a password happens to match lets nobody in.
func TestUnknownIsNeverRight(t *testing.T) {
	w := &work{}
	v := verifierFor(w, 10, time.Minute)
	for range 2 {
		if ok, err := v.verify(t.Context(), "eve", "decoy", []byte("right"), true); ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
	}
}

// Memory is bounded.
func TestRememberIsBounded(t *testing.T) {
	v := verifierFor(&work{}, 10, time.Minute)
	now := time.Unix(0, 0)
	v.now = func() time.Time { return now }
	for i := range maxRemembered + 10 {
		v.note(v.proof(fmt.Sprint(i), "", nil))
	}
	if n := len(v.right); n != maxRemembered {
		t.Errorf("%d are remembered", n)
	}
	now = now.Add(time.Hour)
	v.note(proof{})
	if n := len(v.right); n != 1 {
		t.Errorf("%d are remembered after an hour", n)
	}
}

// Equal logins at the same time cost one verification, whether the user exists or not:
// else the time of two logins would tell.
func TestEqualLoginsShare(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		w := slow()
		v := verifierFor(w, 100, 0)
		var wg sync.WaitGroup
		var right atomic.Int64
		for i := range 20 {
			wg.Go(func() {
				hash := "h"
				if unknown {
					hash = fmt.Sprint("decoy", i)
				}
				ok, err := v.verify(t.Context(), "ann", hash, []byte("right"), unknown)
				if err != nil {
					t.Error(err)
				}
				if ok {
					right.Add(1)
				}
			})
		}
		inQueue(t, v, 20)
		w.tokens <- nil
		wg.Wait()
		want := int64(20)
		if unknown {
			want = 0
		}
		if w.calls.Load() != 1 || right.Load() != want {
			t.Errorf("unknown %v: %d verifications, %d right", unknown, w.calls.Load(), right.Load())
		}
		inQueue(t, v, 0)
	}
}

// Where the one that does the work gives up, the next one does it.
func TestNextTakesOver(t *testing.T) {
	w := slow()
	v := verifierFor(w, 100, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := v.verify(ctx, "ann", "h", []byte("right"), false)
		first <- err
	}()
	<-w.started
	go func() {
		ok, err := v.verify(context.Background(), "ann", "h", []byte("right"), false)
		if err == nil && !ok {
			err = errors.New("wrong")
		}
		second <- err
	}()
	inQueue(t, v, 2)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first one: %v", err)
	}
	<-w.started
	w.tokens <- nil
	if err := <-second; err != nil {
		t.Errorf("the second one: %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	w := slow()
	v := verifierFor(w, 2, time.Minute)
	done := make(chan error, 2)
	for _, name := range []string{"a", "b"} {
		go func() {
			_, err := v.verify(context.Background(), name, "h", []byte("right"), false)
			done <- err
		}()
	}
	<-w.started
	<-w.started
	for _, unknown := range []bool{true, false} {
		if _, err := v.verify(t.Context(), "c", "h", []byte("right"), unknown); !errors.Is(err, errBusy) {
			t.Errorf("error %v", err)
		}
	}
	w.tokens <- nil
	w.tokens <- nil
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// What is remembered needs no place.
	v.configure(&Config{MaxQueue: 0, Remember: sdk.Duration(time.Minute)}, w.compute)
	if ok, err := v.verify(t.Context(), "a", "h", []byte("right"), false); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// A panic of the work leaves nobody waiting.
func TestPanic(t *testing.T) {
	v := newVerifier()
	v.configure(&Config{MaxQueue: 2}, func(context.Context, []byte, string) (bool, error) { panic("asked for it") })
	for range 4 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			v.verify(t.Context(), "a", "h", nil, false)
		}()
	}
	inQueue(t, v, 0)
}

func BenchmarkVerify(b *testing.B) {
	const hash = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$vQwKl9VhMoO46ddxi42q26EEKD8C6Q+ZfDGzNi2eqhc"
	b.Run("argon2id", func(b *testing.B) {
		c := &Config{MaxQueue: 1, MaxMemory: 64 << 20}
		v := newVerifier()
		v.configure(c, hasher(c))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.verify(b.Context(), "ann", hash, []byte("x"), false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered", func(b *testing.B) {
		v := verifierFor(&work{}, 1, time.Hour)
		b.ReportAllocs()
		for b.Loop() {
			if ok, err := v.verify(b.Context(), "ann", hash, []byte("right"), false); !ok || err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A failed login is one verification of the same kind, whether there is such a user, or a
// password, or not.
func TestFailedLoginsCostTheSame(t *testing.T) {
	d, err := newDirectory(&policy{}, "users.txt", []byte("ann:"+argonHash+"\nbob:"+argonHash+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	var hashes []string
	p := newPlugin()
	p.directory.Store(d)
	p.verifier.configure(&Config{MaxQueue: 1}, func(_ context.Context, _ []byte, hash string) (bool, error) {
		hashes = append(hashes, hash)
		return hash == argonHash, nil // also of an empty password
	})
	for _, c := range []struct {
		user, secret string
		right        bool
	}{{"ann", "hush", true}, {"ann", "", false}, {"eve", "hush", false}, {"eve", "", false}, {"", "hush", false}} {
		hashes = nil
		res, err := p.Authenticate(t.Context(), &sdk.AuthRequest{
			Client:         &sdk.Client{Username: c.user},
			Authentication: &sdk.Authentication{HasUsername: true, HasPassword: c.secret != "", Password: []byte(c.secret)},
		})
		if err != nil || len(hashes) != 1 || scheme(hashes[0]) != scheme(argonHash) || (res.Identity != nil) != c.right {
			t.Errorf("%+v: %+v, %v, verified %v", c, res, err, hashes)
		}
	}
}

// A user that was removed while the login waited is not let in.
func TestRemovedMeanwhile(t *testing.T) {
	d, err := newDirectory(&policy{}, "users.txt", []byte("ann:"+argonHash+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"": false, "ann:" + sha512Hash: false, "ann:" + argonHash + "\nbob:" + sha512Hash: true} {
		p := newPlugin()
		p.directory.Store(d)
		p.verifier.configure(&Config{MaxQueue: 1}, func(context.Context, []byte, string) (bool, error) {
			next, err := newDirectory(&policy{}, "users.txt", []byte(text))
			p.directory.Store(next)
			return true, err
		})
		res, err := p.Authenticate(t.Context(), &sdk.AuthRequest{
			Client:         &sdk.Client{Username: "ann"},
			Authentication: &sdk.Authentication{HasUsername: true, HasPassword: true, Password: []byte("hush")},
		})
		if err != nil || (res.Identity != nil) != want {
			t.Errorf("%q: %+v, %v", text, res, err)
		}
	}
}
