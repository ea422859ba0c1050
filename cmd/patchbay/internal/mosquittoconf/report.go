package mosquittoconf

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// outcome is what has become of a line that was not just carried over.
type outcome int

const (
	lost     outcome = iota // it is not carried over
	changed                 // it is, and is not quite the same
	needless                // there is nothing to carry over: Patchbay does that, or does not need it
)

var headings = [...]string{
	lost:     "Not carried over",
	changed:  "Carried over, and not quite the same",
	needless: "Not needed",
}

// note is about one line.
type note struct {
	*entry
	outcome outcome
	text    string
}

// report collects notes.
type report struct{ notes []note }

func (r *report) add(e *entry, o outcome, format string, args ...any) {
	e.taken = true
	r.notes = append(r.notes, note{e, o, fmt.Sprintf(format, args...)})
}

// count is how many notes there are of a kind.
func (r *report) count(o outcome) (n int) {
	for i := range r.notes {
		if r.notes[i].outcome == o {
			n++
		}
	}
	return n
}

// write writes the notes by kind and line. Values are not shown: some are secrets.
func (r *report) write(w io.Writer, order func(*entry) int) error {
	notes := slices.Clone(r.notes)
	slices.SortStableFunc(notes, func(a, b note) int {
		if a.outcome != b.outcome {
			return int(a.outcome) - int(b.outcome)
		}
		return order(a.entry) - order(b.entry)
	})
	var b strings.Builder
	for i, n := range notes {
		if i == 0 || notes[i-1].outcome != n.outcome {
			if i > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s:\n", headings[n.outcome])
		}
		fmt.Fprintf(&b, "  %s: %s: %s\n", n.place(), n.key, n.text)
	}
	if len(notes) == 0 {
		b.WriteString("Everything is carried over.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
