package transform

import "slices"

// object is a JSON object that keeps the order of its members, and their values as they
// were written: a number with 20 digits stays one.
type object []member

// member has its name as text, and as it is written.
type member struct {
	name          string
	quoted, value []byte
}

// maxMembers bounds the work on a message, together with Config.MaxBytes: a client must not
// be able to make the plugin run out of fuel.
const maxMembers = 256

// parseObject takes a payload apart, one level deep. The object has slices of it.
func parseObject(payload []byte) (o object, ok bool) {
	s := &scanner{text: payload}
	ok = s.skip('{') && s.members('}', func() bool {
		name, ok := s.string()
		quoted := s.at
		if !ok || len(o) == maxMembers || !s.skip(':') {
			return false
		}
		s.space()
		begin := s.at
		ok = s.value(1)
		o = append(o, member{unquote(name), payload[quoted-len(name)-2 : quoted], payload[begin:s.at]})
		return ok
	})
	s.space()
	return o, ok && s.at == len(payload)
}

// set sets a member to a text, in its place if it is there, else at the end.
func (o *object) set(name, text string) {
	value := quote(nil, text)
	if i := slices.IndexFunc(*o, func(m member) bool { return m.name == name }); i >= 0 {
		(*o)[i].value = value
		*o = append((*o)[:i+1], without((*o)[i+1:], name)...)
		return
	}
	*o = append(*o, member{name, quote(nil, name), value})
}

// remove takes a member out.
func (o *object) remove(name string) { *o = without(*o, name) }

// without takes all members of a name out: JSON has nothing against several.
func without(o object, name string) object {
	return slices.DeleteFunc(o, func(m member) bool { return m.name == name })
}

// encode writes the object.
func (o object) encode() []byte {
	size := 2
	for i := range o {
		size += len(o[i].quoted) + len(o[i].value) + 2
	}
	b := append(make([]byte, 0, size), '{')
	for i := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, o[i].quoted...), ':'), o[i].value...)
	}
	return append(b, '}')
}

// quote appends a text as a JSON string.
func quote(b []byte, text string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	begin := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[begin:i]...)
		begin = i + 1
		if c < ' ' {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			b = append(b, '\\', c)
		}
	}
	return append(append(b, text[begin:]...), '"')
}
