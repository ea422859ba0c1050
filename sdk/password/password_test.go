package password

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// cheap are hashes by argon2's reference implementation, crypt_blowfish and
// mosquitto_passwd, with their passwords.
var cheap = map[string]string{
	"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc":                           "password",
	"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                                                     "U*U",
	"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                                                     "U*U",
	"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                                                     "U*U",
	"$6$Brf/XjPIgCYDkclb$6lqYx80iiZ5yD84gXHNgqyadj4bIb4tw0QfFfgleZwtxjj0IzdjheqGk8VynwCD+kglZvyt13FGRQUWWVt1N6Q==":     "secret",
	"$7$101$zb5rQwJo1xn1MbfC$aNvsPCsF6usCAzVcuhYAhremYoHbt4ZE2rnSSWrC5qrYvJWDGK51IM3Rwdjqgwjghidg9GqTU2wBHKc7mcw7sw==": "secret",
}

func TestVerifiesHashesOfOthers(t *testing.T) {
	h := New(Options{})
	for hash, password := range cheap {
		if ok, err := h.Verify(t.Context(), []byte(password), hash); !ok || err != nil {
			t.Errorf("%s: %v, %v", hash, ok, err)
		}
		for _, wrong := range []string{"", password + "x", strings.ToUpper(password) + " ", strings.Repeat("x", 80), strings.Repeat("x", MaxLen+1)} {
			if ok, err := h.Verify(t.Context(), []byte(wrong), hash); ok || err != nil {
				t.Errorf("%s with a wrong password of %d bytes: %v, %v", hash, len(wrong), ok, err)
			}
		}
	}
}

func TestRefusedHashes(t *testing.T) {
	h := New(Options{})
	for hash, want := range map[string]error{
		"":             ErrForm,
		"plain":        ErrForm,
		"$1$abc$def":   ErrForm,
		"$2b$05$short": ErrForm,
		"$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": ErrForm,
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe:": ErrForm,
		"$2b$05$CCCCCCCCCCC:CCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": ErrForm,
		"$2b$99$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": ErrForm,
		"$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": ErrCost,
		"$argon2i$v=19$m=64,t=2,p=1$c29tc2FsdA$CTFhFdXP":               ErrForm,
		"$argon2id$v=18$m=64,t=2,p=1$c29tc2FsdA$CTFhFdXP":              ErrForm,
		"$argon2id$v=19$m=64,t=2,p=1x$c29tc2FsdA$CTFhFdXP":             ErrForm,
		"$argon2id$v=19$m=064,t=2,p=1$c29tc2FsdA$CTFhFdXP":             ErrForm,
		"$argon2id$v=19$m=64,t=2,p=1$c29t==$CTFhFdXP":                  ErrForm,
		"$argon2id$v=19$m=64,t=2,p=1$c29tc2FsdA$CTFhFdXP\n":            ErrForm,
		"$argon2id$v=19$m=64,t=0,p=1$c29tc2FsdA$CTFhFdXP":              ErrForm,
		"$argon2id$v=19$m=64,t=1,p=0$c29tc2FsdA$CTFhFdXP":              ErrForm,
		"$argon2id$v=19$m=64,t=1,p=1$c29tc2FsdA$":                      ErrForm,
		"$argon2id$v=19$m=4294967295,t=2,p=1$c29tc2FsdA$CTFhFdXP":      ErrCost,
		"$argon2id$v=19$m=262144,t=17,p=1$c29tc2FsdA$CTFhFdXP":         ErrCost,
		"$argon2id$v=19$m=8,t=4294967295,p=1$c29tc2FsdA$CTFhFdXP":      ErrCost,
		"$argon2id$v=19$m=1024,t=1,p=65$c29tc2FsdA$CTFhFdXP":           ErrCost,
		// crypt(3), which begins like Mosquitto's
		"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1": ErrForm,
		"$6$c2FsdA==$c2hvcnQ=":             ErrForm,
		"$7$x$c2FsdA==$c2hvcnQ=":           ErrForm,
		"$7$0$c2FsdA==$c2hvcnQ=":           ErrForm,
		"$7$+5$c2FsdA==$c2hvcnQ=":          ErrForm,
		"$7$9999999$c2FsdA==$c2hvcnQ=":     ErrCost,
		"$6$" + strings.Repeat("A", 1<<17): ErrForm,
	} {
		if err := Check(hash); !errors.Is(err, want) {
			t.Errorf("Check(%.80q) = %v, want %v", hash, err, want)
		}
		if ok, err := h.Verify(t.Context(), []byte("x"), hash); ok || !errors.Is(err, want) {
			t.Errorf("Verify(%.80q) = %v, %v, want %v", hash, ok, err, want)
		}
		if _, err := Decoy(hash); !errors.Is(err, want) {
			t.Errorf("Decoy(%.80q) = %v, want %v", hash, err, want)
		}
		if !Outdated(hash) {
			t.Errorf("%.80q is not outdated", hash)
		}
	}
	const large = "$argon2id$v=19$m=262144,t=1,p=1$c29tc2FsdA$CTFhFdXP"
	if _, err := New(Options{MaxMemory: 1 << 20}).Verify(t.Context(), nil, large); Check(large) != nil || !errors.Is(err, ErrCost) {
		t.Errorf("more memory than there is for all: %v", err)
	}
}

func TestNewHashes(t *testing.T) {
	h := New(Options{})
	for a, prefix := range map[Algorithm]string{Argon2id: "$argon2id$v=19$m=19456,t=2,p=1$", Bcrypt: "$2b$10$"} {
		one, err := h.Hash(t.Context(), []byte("same"), a)
		if err != nil || !strings.HasPrefix(one, prefix) {
			t.Fatalf("got %q, %v, want %s…", one, err, prefix)
		}
		two, _ := h.Hash(t.Context(), []byte("same"), a)
		ok, err := h.Verify(t.Context(), []byte("same"), two)
		if one == two || !ok || err != nil || Outdated(one) {
			t.Errorf("%q and %q: %v, %v, outdated %v", one, two, ok, err, Outdated(one))
		}
	}
	if _, err := h.Hash(t.Context(), make([]byte, 73), Bcrypt); !errors.Is(err, ErrTooLong) {
		t.Errorf("73 bytes for bcrypt: %v", err)
	}
	if _, err := h.Hash(t.Context(), make([]byte, MaxLen+1), Argon2id); !errors.Is(err, ErrTooLong) {
		t.Errorf("65,536 bytes: %v", err)
	}
}

func TestOutdated(t *testing.T) {
	for hash, want := range map[string]bool{
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc":            true, // the salt
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc": false,
		"$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc":  true,
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                                      true,
		"$2b$11$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                                      false,
	} {
		if Outdated(hash) != want {
			t.Errorf("Outdated(%q) = %v", hash, !want)
		}
	}
}

func TestDecoyCostsTheSameAndFitsNothing(t *testing.T) {
	h := New(Options{})
	for hash, password := range cheap {
		d, err := Decoy(hash)
		if err != nil || d == hash || len(d) != len(hash) {
			t.Fatalf("of %q: %q, %v", hash, d, err)
		}
		a, _ := parse(hash)
		b, err := parse(d)
		if err != nil || a.load() != b.load() || d[:3] != hash[:3] {
			t.Errorf("of %q: %q, %v", hash, d, err)
		}
		if ok, err := h.Verify(t.Context(), []byte(password), d); ok || err != nil {
			t.Errorf("%q: %v, %v", d, ok, err)
		}
	}
}

// Real files of the installed Mosquitto.
func TestAgainstMosquitto(t *testing.T) {
	tool, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("no mosquitto_passwd here")
	}
	h := New(Options{})
	for _, form := range []string{"sha512", "sha512-pbkdf2"} {
		for _, password := range []string{"x", "longer: with blanks and ü", strings.Repeat("y", 300)} {
			file := filepath.Join(t.TempDir(), "file")
			if out, err := exec.CommandContext(t.Context(), tool, "-H", form, "-b", "-c", file, "u", password).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			hash := strings.TrimSpace(strings.TrimPrefix(string(content), "u:"))
			if ok, err := h.Verify(t.Context(), []byte(password), hash); !ok || err != nil {
				t.Errorf("%s, %q: %v, %v", form, password, ok, err)
			}
			if !Outdated(hash) {
				t.Errorf("%s is not outdated", hash)
			}
		}
	}
}

func TestManyAtOnceStayWithinTheMemory(t *testing.T) {
	h := New(Options{MaxMemory: 8 << 20, Parallel: 4})
	const hash = "$argon2id$v=19$m=2048,t=1,p=1$c29tc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	stop := make(chan struct{})
	var peak uint64
	var watch sync.WaitGroup
	watch.Go(func() {
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	var all sync.WaitGroup
	for range 400 {
		all.Go(func() {
			if _, err := h.Verify(t.Context(), []byte("x"), hash); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(stop)
	watch.Wait()
	// 400 at once would be 800 MiB. Garbage that is not collected yet counts too.
	if peak > 200<<20 {
		t.Errorf("%d MiB of heap at its peak", peak>>20)
	}
	if h.gate.free != h.gate.all || len(h.gate.queue) != 0 {
		t.Errorf("the gate is left as %+v", &h.gate)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	h := New(Options{MaxMemory: 1 << 20, Parallel: 1})
	if err := h.gate.enter(t.Context(), load{1, 1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := h.Hash(ctx, []byte("x"), Argon2id)
		failed <- err
	}()
	waiting := func(n int) {
		for {
			h.gate.mu.Lock()
			got := len(h.gate.queue)
			h.gate.mu.Unlock()
			if got == n {
				return
			}
			runtime.Gosched()
		}
	}
	waiting(1)
	done := make(chan error)
	go func() {
		_, err := h.Verify(t.Context(), []byte("x"), "$6$c2FsdA==$"+strings.Repeat("A", 86)+"==")
		done <- err
	}()
	waiting(2)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	h.gate.leave(load{1, 1})
	if err := <-done; err != nil {
		t.Error(err)
	}
	if h.gate.free != h.gate.all {
		t.Errorf("the gate is left as %+v", h.gate.free)
	}
}

func FuzzParse(f *testing.F) {
	for hash := range cheap {
		f.Add(hash)
	}
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$AAAA")
	f.Fuzz(func(t *testing.T, hash string) {
		s, err := parse(hash)
		if err != nil {
			if !errors.Is(err, ErrForm) && !errors.Is(err, ErrCost) {
				t.Fatalf("%q: %v", hash, err)
			}
			return
		}
		if l := s.load(); l.bytes > defaultMaxMemory || l.cores < 1 {
			t.Fatalf("%q takes %+v", hash, l)
		}
		if Check(s.decoy()) != nil {
			t.Fatalf("%q has the decoy %q", hash, s.decoy())
		}
		switch s := s.(type) {
		case *argonHash:
			if s.String() != hash {
				t.Fatalf("%q is written as %q", hash, s)
			}
			if s.memory*s.time < 1<<12 {
				s.matches([]byte("x")) // must not panic
			}
		case *mosquittoHash:
			if s.String() != hash {
				t.Fatalf("%q is written as %q", hash, s)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := New(Options{})
	for name, hash := range map[string]string{
		"argon2id": newArgon([]byte("x")),
		"bcrypt":   "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"sha512":   "$6$c2FsdA==$" + strings.Repeat("A", 86) + "==",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := h.Verify(b.Context(), []byte("password"), hash); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
