package main

// goJSON makes package v1json: how each message is written and read. What the generated
// code calls is in v1json/encode.go, decode.go and values.go.
type goJSON struct{}

func (goJSON) Emit(s *Schema) ([]Output, error) {
	var all []Output
	dispatch := &text{}
	jsonDispatch(dispatch, s)
	o, err := goFile("v1json/json"+goSuffix, goPackage("v1json", []string{modulePath + "/v1"}, dispatch))
	if err != nil {
		return nil, err
	}
	all = append(all, o)
	for _, file := range s.Files {
		if len(file.Messages)+len(file.Enums) == 0 {
			continue
		}
		t := &text{}
		for _, m := range file.Messages {
			jsonAppend(t, m)
			jsonRead(t, m)
		}
		for _, e := range file.Enums {
			jsonEnum(t, s, e)
		}
		if t.Len() == 0 {
			continue
		}
		o, err := goFile("v1json/"+file.Name+goSuffix, goPackage("v1json", []string{modulePath + "/v1"}, t))
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// jsonDispatch finds the functions of a message's type.
func jsonDispatch(t *text, s *Schema) {
	t.f("// appendAny appends any message; there are no others that implement Proto.")
	t.f("func appendAny(b []byte, m pluginv1.Proto) []byte {\nswitch x := m.(type) {")
	each(s, func(m *Message) { t.f("case *%s:\nreturn append%s(b, x)", v1(m), goName(m.Name)) })
	t.f("}\nreturn b\n}\n")
	t.f("// readAny reads any message.\nfunc readAny(d *decoder, m pluginv1.Proto) {\nswitch x := m.(type) {")
	each(s, func(m *Message) { t.f("case *%s:\nread%s(d, x)", v1(m), goName(m.Name)) })
	t.f("}\n}\n")
}

func jsonAppend(t *text, m *Message) {
	x := "x"
	if len(m.Fields) == 0 {
		x = "_"
	}
	t.f("func append%s(b []byte, %s *%s) []byte {\nb = append(b, '{')", goName(m.Name), x, v1(m))
	for _, f := range m.Fields {
		x := "x." + goName(f.Name)
		switch {
		case f.Repeated:
			t.f("if len(%s) > 0 {\nb = append(b, %s...)\nfor i := range %s {", x, quoted(`"`+f.JSON+`":[`), x)
			jsonValue(t, f, x+"[i]")
			t.f("b = append(b, ',')\n}\nb = append(shut(b, ']'), ',')\n}")
		default:
			cond := present(f, x)
			if f.Kind == Double {
				cond = "nonZero(" + x + ")"
			}
			t.f("if %s {\nb = append(b, %s...)", cond, quoted(`"`+f.JSON+`":`))
			jsonValue(t, f, x)
			t.f("b = append(b, ',')\n}")
		}
	}
	t.f("return shut(b, '}')\n}\n")
}

func jsonValue(t *text, f *Field, x string) {
	switch f.Kind {
	case Bool:
		t.f("b = append(b, \"true\"...)") // false is left out, and there are no lists of bool
	case EnumKind:
		t.f("b = appendEnum(b, %s.String())", x)
	case MessageKind:
		if f.Repeated {
			x = "&" + x
		}
		t.f("b = append%s(b, %s)", goName(f.Message.Name), x)
	default:
		t.f("b = %s(b, %s)", map[Kind]string{
			Uint32: "appendUint32", Uint64: "appendUint64", Int64: "appendInt64", Double: "appendDouble",
			String: "appendString", Bytes: "appendBytes",
		}[f.Kind], x)
	}
}

func jsonRead(t *text, m *Message) {
	name := goName(m.Name)
	if len(m.Fields) == 0 {
		t.f("func read%s(d *decoder, _ *%s) {\nfor o := d.object(); d.next(&o); {\nd.skip(0)\n}\n}\n", name, v1(m))
		return
	}
	t.f("func read%s(d *decoder, x *%s) {\nfor o := d.object(); d.next(&o); {\nswitch o.key {", name, v1(m))
	for i, f := range m.Fields {
		if f.JSON == f.Name {
			t.f("case %q:", f.Name)
		} else {
			t.f("case %q, %q:", f.JSON, f.Name)
		}
		t.f("if d.field(&o, %d) {", i)
		x := "x." + goName(f.Name)
		if f.Repeated {
			t.f("for a := d.array(); d.element(&a, len(%s), %d); {", x, f.Limit)
			jsonElement(t, f, x)
			t.f("}")
		} else {
			jsonField(t, f, x)
		}
		t.f("}")
	}
	t.f("default:\nd.skip(0)\n}\n}\n}\n")
}

func jsonField(t *text, f *Field, x string) {
	switch f.Kind {
	case MessageKind:
		t.f("%s = new(%s)\nread%s(d, %s)", x, v1(f.Message), goName(f.Message.Name), x)
	case EnumKind:
		t.f("enum(d, &%s, find%s)", x, goName(f.Enum.Name))
	default:
		t.f("%s = %s", x, jsonReader[f.Kind])
	}
}

func jsonElement(t *text, f *Field, x string) {
	switch f.Kind {
	case MessageKind:
		t.f("%s = append(%s, %s{})\nread%s(d, &%s[len(%s)-1])", x, x, v1(f.Message), goName(f.Message.Name), x, x)
	case EnumKind:
		t.f("var v pluginv1.%s\nenum(d, &v, find%s)\n%s = append(%s, v)", goName(f.Enum.Name), goName(f.Enum.Name), x, x)
	default:
		t.f("%s = append(%s, %s)", x, x, jsonReader[f.Kind])
	}
}

var jsonReader = map[Kind]string{
	Bool: "d.bool()", Uint32: "d.uint32()", Uint64: "d.uint64()", Int64: "d.int64()", Double: "d.double()",
	String: "d.text()", Bytes: "d.bytes()",
}

// jsonEnum writes how the value of a name is found, for enums that fields have.
func jsonEnum(t *text, s *Schema, e *Enum) {
	used := false
	each(s, func(m *Message) {
		for _, f := range m.Fields {
			used = used || f.Enum == e
		}
	})
	if !used {
		return
	}
	name := "pluginv1." + goName(e.Name)
	t.f("func find%s(name string) (%s, bool) {\nswitch name {", goName(e.Name), name)
	for _, v := range e.Values {
		t.f("case %q:\nreturn pluginv1.%s, true", v.Name, goValue(e, v))
	}
	t.f("}\nreturn 0, false\n}\n")
}
