package main

// goEncode writes the methods that encode: Size goes through the fields from first
// to last, put from last to first, since it writes backwards.
func goEncode(t *text, file *File) {
	for _, m := range file.Messages {
		name := goName(m.Name)
		t.f("// MessageName returns %q.\nfunc (*%s) MessageName() string { return %q }\n", m.Name, name, m.Name)
		t.f("// Size is the length of the encoding in bytes.\nfunc (x *%s) Size() (n int) {", name)
		for _, f := range m.Fields {
			goSize(t, f)
		}
		t.f("return n\n}\n")
		t.f("// AppendTo appends the encoding to b.\nfunc (x *%s) AppendTo(b []byte) []byte {", name)
		t.f("b = grow(b, x.Size())\nx.put(b, len(b))\nreturn b\n}\n")
		t.f("// MarshalTo writes the encoding to the beginning of b; see Proto.\nfunc (x *%s) MarshalTo(b []byte) (int, error) {", name)
		t.f("n := x.Size()\nif n > len(b) {\nreturn n, ErrShortBuffer\n}\nx.put(b, n)\nreturn n, nil\n}\n")
		t.f("func (x *%s) put(b []byte, end int) int {", name)
		for i := len(m.Fields) - 1; i >= 0; i-- {
			goPut(t, m.Fields[i])
		}
		t.f("return end\n}\n")
	}
}

func goSize(t *text, f *Field) {
	x, tag := "x."+goName(f.Name), sizeTag(f)
	if f.Packed() {
		t.f("if len(%s) > 0 {", x)
		if f.Kind == Double {
			t.f("n += %d + sizeBytes(8*len(%s))\n}", tag, x)
			return
		}
		t.f("s := 0\nfor _, v := range %s {\ns += sizeVarint(%s)\n}", x, varintOf(f, "v"))
		t.f("n += %d + sizeBytes(s)\n}", tag)
		return
	}
	if f.Repeated {
		t.f("for i := range %s {", x)
		x += "[i]"
	} else {
		t.f("if %s {", present(f, x))
	}
	switch f.Kind {
	case Bool:
		t.f("n += %d", tag+1)
	case Double:
		t.f("n += %d", tag+8)
	case String, Bytes:
		t.f("n += %d + sizeBytes(len(%s))", tag, x)
	case MessageKind:
		t.f("n += %d + sizeBytes(%s.Size())", tag, x)
	default:
		t.f("n += %d + sizeVarint(%s)", tag, varintOf(f, x))
	}
	t.f("}")
}

// present is the condition under which a singular field is written.
func present(f *Field, x string) string {
	switch f.Kind {
	case Bool:
		return x
	case String, Bytes:
		return "len(" + x + ") > 0"
	case MessageKind:
		return x + " != nil"
	case Double:
		return "floatBits(" + x + ") != 0" // minus zero is not absent
	}
	return x + " != 0"
}

func goPut(t *text, f *Field) {
	x := "x." + goName(f.Name)
	switch {
	case f.Packed():
		t.f("if len(%s) > 0 {\nlast := end\nfor i := len(%s) - 1; i >= 0; i-- {", x, x)
		if f.Kind == Double {
			t.f("end = putDouble(b, end, %s[i])\n}", x)
		} else {
			t.f("end = putVarint(b, end, %s)\n}", varintOf(f, x+"[i]"))
		}
		t.f("end = putUint(b, end, %d, uint64(last-end))\n}", f.Tag())
		return
	case f.Repeated:
		t.f("for i := len(%s) - 1; i >= 0; i-- {", x)
		x += "[i]"
	default:
		t.f("if %s {", present(f, x))
	}
	switch f.Kind {
	case Bool:
		t.f("end = putUint(b, end, %d, 1)", f.Tag())
	case Double:
		t.f("end = putVarint(b, putDouble(b, end, %s), %d)", x, f.Tag())
	case String:
		t.f("end = putString(b, end, %d, %s)", f.Tag(), x)
	case Bytes:
		t.f("end = putBytes(b, end, %d, %s)", f.Tag(), x)
	case MessageKind:
		t.f("last := end\nend = %s.put(b, end)\nend = putUint(b, end, %d, uint64(last-end))", x, f.Tag())
	default:
		t.f("end = putUint(b, end, %d, %s)", f.Tag(), varintOf(f, x))
	}
	t.f("}")
}
