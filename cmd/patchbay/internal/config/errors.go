package config

import (
	"strconv"
	"strings"
)

// Source is where a value came from. The zero Source is the default.
type Source struct {
	File string // the configuration file, with
	Line int    // its line, from 1; 0 if that is not known
	Env  string // or the environment variable
	Flag bool   // or the command line
}

// String returns "patchbay.yaml:12", "environment PATCHBAY_LOG_LEVEL",
// "command line" or "default".
func (s Source) String() string {
	switch {
	case s.File != "" && s.Line > 0:
		return s.File + ":" + strconv.Itoa(s.Line)
	case s.File != "":
		return s.File
	case s.Env != "":
		return "environment " + s.Env
	case s.Flag:
		return "command line"
	}
	return "default"
}

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Source Source
	Key    string // "listeners[0].cert"; empty if it is about no key
	Text   string // what is wrong, and what is allowed; no secrets
}

// String returns the line that is shown:
// "patchbay.yaml:12: mqtt.max_qos: 3 is out of range: a whole number, 0 to 2".
func (p Problem) String() string {
	s := p.Text
	if p.Key != "" {
		s = p.Key + ": " + s
	}
	if p.Source != (Source{}) {
		s = p.Source.String() + ": " + s
	}
	return s
}

// Error is a configuration that cannot be used, with everything that was found
// wrong, in the order file, environment, flags, combinations. The program ends
// with exit code 2.
type Error struct {
	Problems []Problem // at least one
}

// Error returns one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// ExitCode is 2: usage and configuration.
func (e *Error) ExitCode() int { return 2 }

func problem(s Source, key, text string) *Error {
	return &Error{Problems: []Problem{{Source: s, Key: key, Text: text}}}
}
