package admin

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// tableBlock is how many rows are aligned, and sorted, together: a list of any
// length is shown with the memory of so many.
const tableBlock = 1000

// table writes rows in aligned columns, sorted as far as they fit in one block.
type table struct {
	w      io.Writer
	block  bytes.Buffer
	header []string
	rows   [][]string
	begun  bool
	// inOrder leaves the rows as they come.
	inOrder bool
}

func newTable(w io.Writer, header ...string) *table {
	return &table{w: w, header: header}
}

func (t *table) add(row ...string) error {
	t.rows = append(t.rows, row)
	if len(t.rows) < tableBlock {
		return nil
	}
	return t.flush()
}

// end writes what is left; a table without rows has its header.
func (t *table) end() error {
	if len(t.rows) == 0 && t.begun {
		return nil
	}
	return t.flush()
}

func (t *table) flush() error {
	if !t.inOrder {
		slices.SortFunc(t.rows, func(a, b []string) int { return slices.Compare(a, b) })
	}
	if !t.begun {
		t.rows = slices.Insert(t.rows, 0, t.header)
		t.begun = true
	}
	t.block.Reset()
	aligned := tabwriter.NewWriter(&t.block, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		fmt.Fprintln(aligned, strings.Join(row, "\t"))
	}
	t.rows = t.rows[:0]
	aligned.Flush() // into memory: cannot fail
	var out []byte
	for line := range bytes.Lines(t.block.Bytes()) {
		// No padding after the last column that has something.
		out = append(append(out, bytes.TrimRight(line, " \n")...), '\n')
	}
	_, err := t.w.Write(out)
	return err
}

// clean makes text that clients chose fit for a terminal and a table: what is not
// printable, or would be taken for something else, is quoted.
func clean(s string) string {
	if s == "" {
		return `""`
	}
	if strings.TrimSpace(s) != s || !printable(s) {
		return strconv.Quote(s)
	}
	return s
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// optional is clean for what may be missing.
func optional(s string) string {
	if s == "" {
		return "-"
	}
	return clean(s)
}

// size writes bytes for people: "512 B", "1.5 KiB".
func size[N int | int64](bytes N) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, u := float64(bytes), 0
	// 1023.95 would be rounded to 1024.0.
	for f >= 1023.95 && u < len(units)-1 {
		f /= 1024
		u++
	}
	if u == 0 {
		return strconv.FormatInt(int64(bytes), 10) + " B"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[u]
}

// Size writes bytes for people.
func Size(bytes int64) string { return size(bytes) }

// number writes an integer with thousands set apart: "1,234,567".
func number[N int | int64 | uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// duration writes a length of time in its two largest units: "3m12s", "2d4h".
func duration(d time.Duration) string {
	seconds := int64(max(d, 0) / time.Second)
	units := []struct {
		name    string
		seconds int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	for i, u := range units {
		if seconds < u.seconds || i == len(units)-1 {
			continue
		}
		s := strconv.FormatInt(seconds/u.seconds, 10) + u.name
		if next := units[i+1]; seconds%u.seconds/next.seconds > 0 {
			s += strconv.FormatInt(seconds%u.seconds/next.seconds, 10) + next.name
		}
		return s
	}
	return strconv.FormatInt(seconds, 10) + "s"
}

// since writes how long ago a time is, "-" for the zero time.
func since(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration(now.Sub(t))
}

// plural chooses between one and more: "1 message", "2 messages".
func plural[N int | int64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
