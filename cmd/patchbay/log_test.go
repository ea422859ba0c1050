package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// record is one line of a JSON log; a line that is none has only its text.
type record struct {
	line   string
	fields map[string]any
}

func (r record) text(key string) string {
	if v, ok := r.fields[key]; ok {
		return fmt.Sprint(v)
	}
	return ""
}

// list returns the elements of a field that is a list of strings.
func (r record) list(key string) []string {
	var all []string
	values, _ := r.fields[key].([]any)
	for _, v := range values {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

// log collects what a process says.
type log struct {
	mu      sync.Mutex
	records []record
	changed chan struct{} // closed with the next record or the end
	over    bool
}

func newLog() *log { return &log{changed: make(chan struct{})} }

// read collects until r ends.
func (l *log) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		l.mu.Lock()
		if line != "" {
			rec := record{line: strings.TrimSuffix(line, "\n")}
			// Not JSON: a banner, a crash.
			_ = json.Unmarshal([]byte(line), &rec.fields)
			l.records = append(l.records, rec)
		}
		l.over = err != nil
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await returns the first record with this message that matches; false if none
// comes in time or the log ends.
func (l *log) await(message string, matches func(record) bool) (record, bool) {
	return l.first(func(r record) bool { return r.text("msg") == message && (matches == nil || matches(r)) })
}

// awaitLine waits for a line that contains text.
func (l *log) awaitLine(text string) (string, bool) {
	r, ok := l.first(func(r record) bool { return strings.Contains(r.line, text) })
	return r.line, ok
}

func (l *log) first(matches func(record) bool) (record, bool) {
	limit := time.After(patience)
	for seen := 0; ; {
		l.mu.Lock()
		fresh, over, changed := l.records[seen:], l.over, l.changed
		l.mu.Unlock()
		for _, r := range fresh {
			if matches(r) {
				return r, true
			}
		}
		seen += len(fresh)
		if over {
			return record{}, false
		}
		select {
		case <-changed:
		case <-limit:
			return record{}, false
		}
	}
}

// find returns the records with this message so far.
func (l *log) find(message string) (found []record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if r.text("msg") == message {
			found = append(found, r)
		}
	}
	return found
}

// tail returns the last n lines.
func (l *log) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s strings.Builder
	for _, r := range l.records[max(0, len(l.records)-n):] {
		s.WriteString(r.line + "\n")
	}
	return s.String()
}
