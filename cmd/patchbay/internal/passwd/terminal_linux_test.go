package passwd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal: what is typed goes in, what a person sees comes out.
type terminal struct {
	keyboard *os.File
	tty      *os.File
	mu       sync.Mutex
	screen   strings.Builder
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { tty.Close() })
	term := &terminal{keyboard: master, tty: tty}
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			term.mu.Lock()
			term.screen.Write(buf[:n])
			term.mu.Unlock()
		}
	}()
	return term
}

// Write is the prompt's way to the screen.
func (s *terminal) Write(p []byte) (int, error) { return s.tty.Write(p) }

func (s *terminal) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.String()
}

// answer types a line once the prompt shows and echo is off.
func (s *terminal) answer(t *testing.T, prompt, line string) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		flags, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
		if err == nil && flags.Lflag&unix.ECHO == 0 && strings.HasSuffix(s.text(), prompt) {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("no prompt %q with echo off; the screen shows %q", prompt, s.text())
			break // type all the same, so that the command ends
		}
		time.Sleep(2 * time.Millisecond)
	}
	if _, err := s.keyboard.WriteString(line + "\n"); err != nil {
		t.Error(err)
	}
}

func TestTerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.txt")
	for _, c := range []struct {
		name   string
		args   []string
		second string
		code   int
	}{
		{"differs", []string{"-c", file, "alice"}, "secrex", 1},
		{"same", []string{"-c", file, "alice"}, "secret", 0},
		{"verify asks once", []string{"--verify", file, "alice"}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			term := openTerminal(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				term.answer(t, "Password: ", "secret")
				if c.second != "" {
					term.answer(t, "Again: ", c.second)
				}
			}()
			if code, message := runWith(t, term.tty, term, c.args...); code != c.code {
				t.Errorf("exit code %d (%s), want %d", code, message, c.code)
			}
			<-done
			if strings.Contains(term.text(), "secre") {
				t.Errorf("the password shows: %q", term.text())
			}
		})
	}
}
