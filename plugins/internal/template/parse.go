package template

import (
	"strconv"
	"strings"
)

// parser reads one placeholder, behind its "${".
type parser struct {
	text string
	at   int
}

// expression is a variable with the functions that are applied to it, in order.
type expression struct {
	source   string // between the braces
	variable variable
	calls    []call
}

type call struct {
	f    *function
	args []string
}

func (p *parser) expression() (*expression, error) {
	begin := p.at
	x := &expression{}
	var err error
	if x.variable, err = p.variable(); err != nil {
		return nil, err
	}
	for {
		p.blanks()
		switch p.next() {
		case '}':
			x.source = p.text[begin:p.at]
			p.at++
			return x, nil
		case '|':
			p.at++
			c, err := p.call()
			if err != nil {
				return nil, err
			}
			x.calls = append(x.calls, c)
		case 0:
			return nil, &Error{begin - 2, `"${" without its "}"`}
		default:
			return nil, &Error{p.at, strconv.Quote(p.rune()) + ` is neither "|" nor "}"`}
		}
	}
}

// next is the byte that comes next, 0 at the end.
func (p *parser) next() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// rune is the character that comes next, for messages.
func (p *parser) rune() string {
	for i := range p.text[p.at:] {
		if i > 0 {
			return p.text[p.at : p.at+i]
		}
	}
	return p.text[p.at:]
}

func (p *parser) blanks() {
	for p.next() == ' ' {
		p.at++
	}
}

func nameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (p *parser) name() string {
	begin := p.at
	for nameByte(p.next()) {
		p.at++
	}
	return p.text[begin:p.at]
}

func (p *parser) variable() (v variable, err error) {
	p.blanks()
	begin := p.at
	name := p.name()
	def, ok := variables[name]
	switch {
	case name == "" && p.next() == 0:
		return v, &Error{begin - 2, `"${" without its "}"`}
	case name == "":
		return v, &Error{p.at, "a variable is missing before " + strconv.Quote(p.rune())}
	case !ok:
		return v, &Error{begin, "there is no variable " + strconv.Quote(name) + "; there are " + variableNames()}
	}
	v.kind = def
	switch def {
	case varTopic:
		return v, p.levels(&v)
	case varPayload:
		v.path, err = p.path(-1)
	case varUserProperty:
		if v.path, err = p.path(1); err == nil && (len(v.path) == 0 || v.path[0].name == "") {
			err = &Error{p.at, "user_property needs a name, as user_property.site"}
		}
	}
	return v, err
}

// levels reads what may follow topic: [N], [N:].
func (p *parser) levels(v *variable) error {
	if p.next() != '[' {
		return nil
	}
	begin := p.at
	p.at++
	end := strings.IndexByte(p.text[p.at:], ']')
	if end < 0 {
		return &Error{begin, `"[" without its "]"`}
	}
	inner, rest := p.text[p.at:p.at+end], false
	inner, rest = strings.CutSuffix(inner, ":")
	n, err := strconv.Atoi(inner)
	if err != nil || n == 0 || n < -65535 || n > 65535 {
		return &Error{p.at, "levels of a topic count from 1, or from the end with -1: " + strconv.Quote(inner) + " is none"}
	}
	p.at += end + 1
	v.kind, v.level = varLevel, n
	if rest {
		v.kind = varRest
	}
	return nil
}

// path reads .name, ["name"] and [index], at most most of them (-1: any number).
func (p *parser) path(most int) (path []step, err error) {
	for len(path) != most {
		switch p.next() {
		case '.':
			p.at++
			begin := p.at
			for c := p.next(); nameByte(c) || c == '-' || c >= 0x80; c = p.next() {
				p.at++
			}
			if p.at == begin {
				return nil, &Error{p.at, `a name is missing behind "."; names with other characters are written as ["a.b"]`}
			}
			path = append(path, step{name: p.text[begin:p.at]})
		case '[':
			p.at++
			s, err := p.index()
			if err != nil {
				return nil, err
			}
			path = append(path, s)
		default:
			return path, nil
		}
	}
	return path, nil
}

// index reads what is behind "[".
func (p *parser) index() (s step, err error) {
	begin := p.at
	if p.next() == '"' {
		if s.name, err = p.quoted(); err != nil {
			return s, err
		}
		if s.name == "" {
			return s, &Error{begin, "a name is not empty"}
		}
	} else {
		if p.next() == '-' {
			p.at++
		}
		for c := p.next(); c >= '0' && c <= '9'; c = p.next() {
			p.at++
		}
		if s.index, err = strconv.Atoi(p.text[begin:p.at]); err != nil {
			return s, &Error{begin, `an index is a number from 0, or from the end with -1; a name stands in quotes`}
		}
	}
	if p.next() != ']' {
		return s, &Error{p.at, `"]" is missing`}
	}
	p.at++
	return s, nil
}

// quoted reads a text in quotes, with \" and \\ and what else Go has.
func (p *parser) quoted() (string, error) {
	q, err := strconv.QuotedPrefix(p.text[p.at:])
	if err != nil {
		return "", &Error{p.at, "a text in quotes has no end, or a \\ in it means nothing"}
	}
	p.at += len(q)
	return strconv.Unquote(q)
}

func (p *parser) call() (c call, err error) {
	p.blanks()
	begin := p.at
	name := p.name()
	f, ok := functions[name]
	if !ok {
		return c, &Error{begin, "there is no function " + strconv.Quote(name) + "; there are " + functionNames()}
	}
	c.f = f
	for p.next() == ':' {
		p.at++
		p.blanks()
		var arg string
		if p.next() == '"' {
			if arg, err = p.quoted(); err != nil {
				return c, err
			}
		} else {
			from := p.at
			for n := p.next(); n != 0 && n != ':' && n != '|' && n != '}'; n = p.next() {
				p.at++
			}
			arg = strings.TrimRight(p.text[from:p.at], " ")
		}
		c.args = append(c.args, arg)
	}
	if len(c.args) != f.args {
		return c, &Error{begin, name + " needs " + strconv.Itoa(f.args) + " arguments, as in " + f.example}
	}
	if f.check != nil {
		if why := f.check(c.args); why != "" {
			return c, &Error{begin, why}
		}
	}
	return c, nil
}
