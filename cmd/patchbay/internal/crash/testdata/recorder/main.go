// The recorder is a plugin that writes down what it gets, and says that it has it when
// that is synced: messages below gate/ before they are acknowledged, and those below
// consume/ as a consumer. The tests kill it.
//
// It says who it is to the address in CRASH_DOOR, and goes on when that has answered.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// What the recorder's consumer is. The tests know.
const (
	maxAttempts = 6
	maxBatch    = 16
)

// Config of the recorder.
type Config struct {
	// Dir has gate.log, queue.log and attempts.log; while there is a file "hold" the
	// consumer does nothing.
	Dir string `json:"dir"`
	// Fault is what the recorder does wrong: "early" is to answer before it writes.
	Fault string `json:"fault"`
}

type recorder struct {
	cfg                   Config
	gate, queue, attempts book
}

// book is a file of lines.
type book struct {
	mu   sync.Mutex
	f    *os.File
	late chan []string // to be written later, by a recorder that does it wrong
}

func main() {
	if len(os.Args) == 1 {
		if err := knock(os.Getenv("CRASH_DOOR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	sdk.Register(sdk.Plugin{
		Name: "recorder", Version: "1.0.0", Config: sdk.ConfigOf[Config](), New: func() any { return new(recorder) },
		Hooks: []sdk.Hook{
			{Point: sdk.PointGatePublish, TopicFilters: []string{"gate/#"}, MaxBatch: maxBatch},
			{Point: sdk.PointInterceptPublish, TopicFilters: []string{"+/+/seen"}, Deadline: time.Second},
		},
		Queues: []sdk.Queue{{
			Name: "queue", TopicFilters: []string{"consume/#"}, MaxBatch: maxBatch, MaxAttempts: maxAttempts, DeadLetterTopic: "dead",
			RetryAfter: time.Millisecond,
		}},
	})
	sdk.Main()
}

// door is the connection by which the tests see that this process lives.
var door net.Conn

func knock(address string) (err error) {
	if door, err = net.Dial("tcp", address); err != nil {
		return err
	}
	if _, err = fmt.Fprintln(door, os.Getpid()); err != nil {
		return err
	}
	_, err = door.Read(make([]byte, 1))
	return err
}

func (r *recorder) Start(_ context.Context, _ *sdk.Host, c Config) (err error) {
	r.cfg = c
	for name, b := range map[string]*book{"gate": &r.gate, "queue": &r.queue, "attempts": &r.attempts} {
		if b.f, err = os.OpenFile(filepath.Join(c.Dir, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		b.late = make(chan []string, 1000)
		go b.writeLate()
	}
	return nil
}

// Publish lets everything pass: it is there so that messages wait for a plugin before
// they are routed.
func (r *recorder) Publish(context.Context, *sdk.PublishRequest) (sdk.Decision, error) {
	return sdk.Continue(), nil
}

// Gate answers for messages that are in the file.
func (r *recorder) Gate(_ context.Context, b *sdk.GateBatch) error {
	var lines []string
	for i := range b.Len() {
		name, _ := read(b.Message(i).Payload)
		lines = append(lines, name)
	}
	return r.write(&r.gate, lines)
}

// Consume acknowledges what is in the file, and has trouble with what is spoilt.
func (r *recorder) Consume(_ context.Context, b *sdk.ConsumeBatch) error {
	for held(filepath.Join(r.cfg.Dir, "hold")) {
		time.Sleep(2 * time.Millisecond)
	}
	var lines, attempts []string
	var failed error
	n := b.Len()
	for i := 0; i < n; i++ {
		d := b.At(i)
		name, spoilt := read(d.Message.Payload)
		if spoilt == 0 {
			lines = append(lines, name)
			continue
		}
		attempts = append(attempts, fmt.Sprintf("%s%d|", name, d.Attempt))
		switch spoilt {
		case 'r':
			b.Retry(i, 0, "poison")
		case 's':
			b.StopAt(i, 0, "poison")
			n = i
		default:
			// It cannot say which message it was.
			lines, failed, n = nil, errors.New("poison"), i
		}
	}
	if err := r.attempts.write(attempts); err != nil {
		return err
	}
	if err := r.write(&r.queue, lines); err != nil {
		return err
	}
	return failed
}

func held(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// read finds out what a message is called, and what is the matter with it.
func read(payload []byte) (name string, spoilt byte) {
	name, rest, _ := strings.Cut(string(payload), "|")
	if len(rest) > 1 && rest[0] == '!' {
		spoilt = rest[1]
	}
	return name + "|", spoilt
}

// write is what the recorder lives for, unless it is to do it wrong.
func (r *recorder) write(b *book, lines []string) error {
	if r.cfg.Fault == "early" {
		b.late <- lines
		return nil
	}
	return b.write(lines)
}

func (b *book) writeLate() {
	for lines := range b.late {
		time.Sleep(5 * time.Millisecond)
		_ = b.write(lines) // nobody could be told any more
	}
}

// write appends lines and syncs. A line that a process was writing when it was killed
// must not become one with the next.
func (b *book) write(lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.f.WriteString("\n" + strings.Join(lines, "\n") + "\n"); err != nil {
		return err
	}
	return b.f.Sync()
}
