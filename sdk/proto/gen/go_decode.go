package main

import (
	"fmt"
	"slices"
	"strings"
)

// goDecode writes the methods that decode. Unmarshal and read reset first; merge adds
// what is in b, as a singular message that is there twice wants it. left counts down
// the elements that may still come.
//
// merge reads tag and value in one place, before it looks at which field it is: v is a
// varint or the 64 bits of a double, s what is length-delimited. An error is a position
// below 0 and leaves the loop. Written out in each case instead, this would be as quick
// and five times the code, which a guest has to carry.
func goDecode(t *text, file *File) {
	for _, m := range file.Messages {
		name := goName(m.Name)
		t.f("// Unmarshal reads an encoding. Strings and bytes of x point into b; see Proto.")
		t.f("func (x *%s) Unmarshal(b []byte) error {\nleft := MaxElements\nreturn x.read(b, &left)\n}\n", name)
		goReset(t, m)
		t.f("func (x *%s) read(b []byte, left *int) error {\nx.Reset()\nreturn x.merge(b, left)\n}\n", name)
		goMerge(t, m)
	}
}

func goMerge(t *text, m *Message) {
	spans := slices.ContainsFunc(m.Fields, func(f *Field) bool { return f.WireType() == wireBytes })
	t.f("func (x *%s) merge(b []byte, left *int) error {\nvar tag, v uint64", goName(m.Name))
	if spans {
		t.f("var s []byte")
	}
	t.f("i := 0\nloop:\nfor i < len(b) {")
	t.f("if tag = uint64(b[i]); tag < 0x80 {\ni++\n} else if tag, i = longVarint(b, i); i < 0 {\ntag = 0\nbreak\n}")
	t.f("if tag&5 == 0 {") // wire types 0 and 2
	t.f("if i < len(b) && b[i] < 0x80 {\nv = uint64(b[i])\ni++")
	t.f("} else if v, i = longVarint(b, i); i < 0 {\nbreak loop\n}")
	t.f("if tag&2 != 0 {\nif v > uint64(len(b)-i) {\ni = truncated\nbreak loop\n}")
	if spans {
		t.f("s = b[i : i+int(v) : i+int(v)]")
	}
	t.f("i += int(v)\n}")
	v := "_"
	if slices.ContainsFunc(m.Fields, func(f *Field) bool { return f.Kind == Double }) {
		v = "v"
	}
	t.f("} else if %s, i = skip(b, i, tag); i < 0 {\nbreak loop\n}", v)
	t.f("switch tag {")
	for _, f := range m.Fields {
		goCase(t, f)
	}
	t.f("default:\nif tag>>3-1 >= maxField {\ni = badTag\nbreak loop\n}\n}\n}")
	t.f("if i < 0 {\nreturn fail(%q, %q, tag, i)\n}\nreturn nil\n}\n", m.Name, fieldNames(m))
}

// fieldNames are the names of the fields in the order of their numbers, one word for
// each number.
func fieldNames(m *Message) string {
	names, next := []string{}, 1
	for _, f := range m.Fields {
		for ; next < f.Number; next++ {
			names = append(names, "")
		}
		names = append(names, f.Name)
		next++
	}
	return strings.Join(names, " ")
}

func goReset(t *text, m *Message) {
	t.f("// Reset makes all fields empty and keeps their memory.\nfunc (x *%s) Reset() {", goName(m.Name))
	for _, f := range m.Fields {
		x := "x." + goName(f.Name)
		switch {
		case f.Repeated:
			t.f("%s = %s[:0]", x, x)
		case f.Kind == Bool:
			t.f("%s = false", x)
		case f.Kind == String:
			t.f("%s = \"\"", x)
		case f.Kind == Bytes || f.Kind == MessageKind:
			t.f("%s = nil", x)
		default:
			t.f("%s = 0", x)
		}
	}
	t.f("}\n")
}

func goCase(t *text, f *Field) {
	x := "x." + goName(f.Name)
	t.f("case %d: // %s", f.Tag(), f.Name)
	switch {
	case f.Packed():
		goPacked(t, f, x)
	case f.Kind == MessageKind && f.Repeated:
		t.f("if *left--; *left < 0 || len(%s) >= %d {\ni = tooMany\nbreak loop\n}", x, f.Limit)
		t.f("if n := len(%s); n < cap(%s) {\n%s = %s[:n+1]\n} else {", x, x, x, x)
		t.f("%s = append(%s, %s{})\n}", x, x, goName(f.Message.Name))
		t.f("if err := %s[len(%s)-1].read(s, left); err != nil {\nreturn err\n}", x, x)
	case f.Kind == MessageKind:
		kept := "x." + spare(f)
		t.f("if %s == nil {\nif %s == nil {\n%s = new(%s)\n}", x, kept, kept, goName(f.Message.Name))
		t.f("%s.Reset()\n%s = %s\n}", kept, x, kept)
		t.f("if err := %s.merge(s, left); err != nil {\nreturn err\n}", x)
	case f.Repeated:
		add := "addBytes"
		if f.Kind == String {
			add = "addText"
		}
		t.f("if %s, i = %s(%s, s, %d, left, i); i < 0 {\nbreak loop\n}", x, add, x, f.Limit)
	case f.Kind == String:
		t.f("if !isText(s) {\ni = badUTF8\nbreak loop\n}\n%s = text(s)", x)
	default:
		t.f("%s = %s", x, goValueOf(f))
	}
}

// goPacked reads both forms of a repeated scalar.
func goPacked(t *text, f *Field, x string) {
	read := "varint"
	if f.Kind == Double {
		read = "fixed64"
	}
	count := fmt.Sprintf("if *left--; *left < 0 || len(%s) >= %d {\ni = tooMany\nbreak loop\n}", x, f.Limit)
	t.f("for j := 0; j < len(s); {\nif v, j = %s(s, j); j < 0 {\ni = j\nbreak loop\n}", read)
	t.f("%s\n%s = append(%s, %s)\n}", count, x, x, goValueOf(f))
	t.f("case %d: // %s, one element", f.ElementTag(), f.Name)
	t.f("%s\n%s = append(%s, %s)", count, x, x, goValueOf(f))
}

// goValueOf converts what was read to the type of the field.
func goValueOf(f *Field) string {
	switch f.Kind {
	case Bool:
		return "v != 0"
	case Uint64:
		return "v"
	case Double:
		return "toDouble(v)"
	case Bytes:
		return "s"
	}
	return goElement(f) + "(v)"
}
