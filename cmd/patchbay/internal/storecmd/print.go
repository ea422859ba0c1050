package storecmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/admin"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/report"
)

func printStats(w io.Writer, st *report.Stats, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(st)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: schema %d, %d starts, %s", st.Folder, st.Schema, st.Opened, admin.Size(st.DiskBytes))
	if r := st.Running; r != nil {
		fmt.Fprintf(&b, ", %s free", admin.Size(st.FreeBytes))
		if st.Full {
			b.WriteString(", FULL: nothing new is stored")
		}
		fmt.Fprintf(&b, "\nsince the start: %d commits, %s; messages: %d written, %d not (acknowledged in time), %d shared; %d records put aside",
			r.Commits, admin.Size(r.BytesWritten), r.Written, r.Skipped, r.Shared, r.Quarantined)
	}
	b.WriteString("\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "RECORDS\tON DISK\t\x20")
	for _, k := range st.Kinds {
		fmt.Fprintf(t, "%d\t%s\t %s\n", k.Records, admin.Size(k.Bytes), meaning[k.Name])
	}
	t.Flush() // into memory: cannot fail
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// meaning says what the kinds of records are.
var meaning = map[string]string{
	"sessions":      "sessions; on disk with the next two",
	"subscriptions": "subscriptions",
	"received":      "Packet Identifiers of QoS 2 messages from clients",
	"contents":      "messages of sessions, queued or in flight",
	"index":         "of these in flight, or waiting for PUBCOMP",
	"shared":        "messages stored once for several sessions",
	"retained":      "retained messages",
	"values":        "values of plugins",
	"ended":         "ended sessions whose messages are being removed",
	"quarantine":    "records that could not be read and were put aside",
}

// printFindings writes the findings of a check. The error is an exitError if the
// check came to its end and found something.
func printFindings(w io.Writer, findings io.Reader, asJSON bool) error {
	d := json.NewDecoder(findings)
	for {
		var line json.RawMessage
		var f report.Finding
		err := d.Decode(&line)
		if err == nil {
			err = json.Unmarshal(line, &f)
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the check was cut short")
		case err != nil:
			return fmt.Errorf("check: %w", err)
		case asJSON:
			_, err = fmt.Fprintf(w, "%s\n", line)
		case f.Problem != nil:
			_, err = fmt.Fprintf(w, "%s: %s\n", oneLine(f.Problem.Record), oneLine(f.Problem.What))
		case f.Summary != nil:
			s := f.Summary
			_, err = fmt.Fprintf(w, "%d sessions, %d subscriptions, %d messages in flight, %d queued, %d shared, %d retained, %d values: ",
				s.Sessions, s.Subscriptions, s.Inflight, s.Queued, s.Shared, s.Retained, s.Values)
			if err == nil {
				_, err = fmt.Fprintln(w, outcome(s.Problems))
			}
		}
		if err != nil {
			return err
		}
		if f.Summary == nil {
			continue
		}
		if n := f.Summary.Problems; n > 0 {
			return &exitError{exitProblems, errors.New(outcome(n))}
		}
		return nil
	}
}

func outcome(problems int64) string {
	switch problems {
	case 0:
		return "all is well"
	case 1:
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", problems)
}

// oneLine keeps what clients chose from breaking lines or moving the cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
