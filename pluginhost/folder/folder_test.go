package folder

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// list is what Changed was told.
type list struct {
	names    string
	problems int
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("old.wasm", time.Hour)
	told := make(chan list, 16)
	block := make(chan struct{})
	w := Start(Options{Dir: dir, Interval: 2 * time.Millisecond, Changed: func(ctx context.Context, plugins []pluginhost.Spec, problems map[string]error) {
		l := list{problems: len(problems)}
		for _, p := range plugins {
			l.names += p.Name + " "
		}
		told <- l
		if len(plugins) == 3 {
			<-ctx.Done()
			close(block)
		}
	}})
	select {
	case l := <-told:
		if l != (list{"old ", 0}) {
			t.Errorf("at the start: %+v", l)
		}
	default:
		t.Error("Start does not wait for what is there")
	}
	expect := func(want list) {
		t.Helper()
		for end := time.After(10 * time.Second); ; {
			select {
			case l := <-told:
				if l == want {
					return
				}
			case <-end:
				t.Fatalf("never told %+v", want)
			}
		}
	}
	put("new.wasm", 0)
	put("Wrong.wasm", 0)
	expect(list{"new old ", 1})
	put("third.wasm", 0)
	expect(list{"new old third ", 1})
	// Close ends the call that waits, and waits for it.
	w.Close()
	select {
	case <-block:
	default:
		t.Error("Close has not waited")
	}
	put("fourth.wasm", 0)
	select {
	case l := <-told:
		t.Errorf("after Close: %+v", l)
	case <-time.After(20 * time.Millisecond):
	}
}
