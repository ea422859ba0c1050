package statement

import (
	"errors"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Statement is what is done for each message of a route. It is immutable.
type Statement struct {
	SQL    string          // with the parameters of the dialect
	Params []template.Text // their values
	Fields sdk.Field       // that these need of a message
	// Head, Row and Tail are the statement in three parts if Row may stand there more than
	// once, with commas between: INSERT INTO t VALUES | (?, ?) | ON DUPLICATE KEY UPDATE ….
	Head, Row, Tail string
}

// Compile makes a Statement of what the config has. The error says where it is wrong.
func Compile(d *Dialect, text string) (*Statement, error) {
	c := compiler{d: d, text: text, s: new(Statement)}
	if err := c.run(); err != nil {
		return nil, err
	}
	c.s.SQL = strings.TrimSpace(c.out.String())
	if c.s.SQL == "" {
		return nil, errors.New("there is no statement")
	}
	c.split()
	return c.s, nil
}

// compiler replaces placeholders, and looks for the row of VALUES.
type compiler struct {
	d    *Dialect
	text string
	s    *Statement
	out  strings.Builder

	depth  int
	first  string // word
	values values
}

// values is where the row of an INSERT is in the result.
type values struct {
	state      valuesState
	begin, end int // of the row, with its parentheses
	inside     int // parameters in it
}

type valuesState uint8

const (
	valuesNotYet valuesState = iota
	valuesNext               // the word was there
	valuesOpen               // in the row
	valuesClosed             // behind it
	valuesNever              // the row may not be repeated
)

func (c *compiler) run() error {
	for i := 0; i < len(c.text); {
		if strings.HasPrefix(c.text[i:], "$${") {
			c.out.WriteString("${")
			i += 3
			continue
		}
		t := c.d.next(c.text, i)
		if err := c.token(t); err != nil {
			return err
		}
		i = t.end
	}
	return nil
}

// token takes one token over.
func (c *compiler) token(t token) error {
	text := c.text[t.begin:t.end]
	switch t.kind {
	case tokenPlaceholder:
		p, _, err := placeholder(text)
		if err != nil {
			var at *template.Error
			if errors.As(err, &at) {
				err = &template.Error{Offset: at.Offset + t.begin, Message: at.Message}
			}
			return err
		}
		c.s.Params = append(c.s.Params, p)
		c.s.Fields |= p.Fields()
		if c.values.state == valuesOpen {
			c.values.inside++
		}
		text = c.d.Parameter(len(c.s.Params))
	case tokenParameter:
		return &template.Error{Offset: t.begin, Message: text + " is a parameter without a value: write a placeholder, as ${topic}"}
	case tokenQuoted:
		const escaped = "$${"
		if n := strings.Index(strings.ReplaceAll(text, escaped, "   "), "${"); n >= 0 {
			return &template.Error{Offset: t.begin + n, Message: "a placeholder is a parameter, and not a part of a text: take the quotes away"}
		}
		text = strings.ReplaceAll(text, escaped, "${")
	case tokenOther:
		if text == ";" {
			if !c.onlySpace(t.end) {
				return &template.Error{Offset: t.begin, Message: "only one statement can be given"}
			}
			return nil
		}
	}
	c.look(t, text)
	c.out.WriteString(text)
	return nil
}

// onlySpace reports whether nothing but blanks and comments follows.
func (c *compiler) onlySpace(i int) bool {
	for i < len(c.text) {
		t := c.d.next(c.text, i)
		if t.kind != tokenSpace {
			return false
		}
		i = t.end
	}
	return true
}

// look follows parentheses and the word VALUES. It is called before the token is written.
func (c *compiler) look(t token, text string) {
	v := &c.values
	word := ""
	if t.kind == tokenWord {
		word = strings.ToUpper(text)
		if c.first == "" {
			c.first = word
		}
	}
	switch {
	case t.kind == tokenSpace:
		return
	case text == "(" && t.kind == tokenOther:
		c.depth++
		if v.state == valuesNext && c.depth == 1 {
			v.state, v.begin = valuesOpen, c.out.Len()
			return
		}
	case text == ")" && t.kind == tokenOther:
		c.depth--
		if v.state == valuesOpen && c.depth == 0 {
			v.state, v.end = valuesClosed, c.out.Len()+1
		}
		return
	case c.depth == 0 && v.state == valuesNotYet && (word == "VALUES" || word == "VALUE"):
		v.state = valuesNext
		return
	case word == "SELECT": // it may look at rows that are not there yet
		v.state = valuesNever
	case c.depth == 0 && v.state == valuesClosed && text == ",":
		v.state = valuesNever
	}
	if v.state == valuesNext {
		v.state = valuesNever
	}
}

// split finds out whether a row may be repeated, and does so.
func (c *compiler) split() {
	v := &c.values
	if !c.d.Rows || c.first != "INSERT" && c.first != "REPLACE" || v.state != valuesClosed || v.inside == 0 || v.inside != len(c.s.Params) {
		return
	}
	all := c.out.String()
	c.s.Head, c.s.Row, c.s.Tail = all[:v.begin], all[v.begin:v.end], all[v.end:]
}

// Many is the statement for a number of rows.
func (s *Statement) Many(n int) string {
	var b strings.Builder
	b.Grow(len(s.Head) + n*(len(s.Row)+1) + len(s.Tail))
	b.WriteString(s.Head)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(s.Row)
	}
	b.WriteString(s.Tail)
	return b.String()
}

// Values computes the parameters of a message.
func (s *Statement) Values(src *template.Source) ([]any, error) {
	row := make([]any, len(s.Params))
	for i := range s.Params {
		v, err := s.Params[i].Value(src)
		if err != nil {
			return nil, err
		}
		row[i] = v
	}
	return row, nil
}
