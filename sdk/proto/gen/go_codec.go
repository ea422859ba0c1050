package main

import "strconv"

// goCodec makes package v1: structs, enums and codec of each .proto file. What the
// generated code calls is in v1/wire.go.
type goCodec struct{}

func (goCodec) Emit(s *Schema) ([]Output, error) {
	var all []Output
	for _, file := range s.Files {
		for _, part := range []struct {
			suffix string
			write  func(*text, *File)
		}{{"", goTypes}, {"_encode", goEncode}, {"_decode", goDecode}} {
			t := &text{}
			if part.write(t, file); t.Len() == 0 {
				continue
			}
			o, err := goFile("v1/"+file.Name+part.suffix+goSuffix, goPackage("pluginv1", nil, t))
			if err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	o, err := goFile("v1/new"+goSuffix, goPackage("pluginv1", nil, goNew(s)))
	return append(all, o), err
}

// goNew finds messages by name.
func goNew(s *Schema) *text {
	t := &text{}
	t.f("// Names returns the names of all messages.\nfunc Names() []string {\nreturn []string{")
	each(s, func(m *Message) { t.f("%q,", m.Name) })
	t.f("}\n}\n")
	t.f("// New returns an empty message, nil if there is none with this name.\nfunc New(name string) Proto {\nswitch name {")
	each(s, func(m *Message) { t.f("case %q:\nreturn new(%s)", m.Name, goName(m.Name)) })
	t.f("}\nreturn nil\n}\n")
	return t
}

// goPackage puts header and imports before the code.
func goPackage(name string, imports []string, code *text) *text {
	t := &text{}
	t.f("%s\n\npackage %s\n", goHeader, name)
	if len(imports) > 0 {
		t.f("import (")
		for _, i := range imports {
			switch {
			case i == "":
				t.f("")
			case i == modulePath+"/v1":
				t.f("pluginv1 %q", i)
			default:
				t.f("%q", i)
			}
		}
		t.f(")\n")
	}
	t.Write(code.Bytes())
	return t
}

// goTypes writes enums and structs.
func goTypes(t *text, file *File) {
	for _, e := range file.Enums {
		goEnum(t, e)
	}
	for _, m := range file.Messages {
		goStruct(t, m)
	}
	for _, svc := range file.Services {
		if svc.Name == hostService {
			goOps(t, svc)
		}
	}
}

func goEnum(t *text, e *Enum) {
	name := goName(e.Name)
	t.doc("//", goDoc(e.Doc, e.Name, name))
	t.f("type %s int32\n", name)
	t.f("// The values of %s.\nconst (", name)
	for _, v := range e.Values {
		t.doc("\t//", v.Doc)
		t.f("\t%s %s = %d", goValue(e, v), name, v.Number)
	}
	t.f(")\n")
	t.f("// String returns the name in the .proto file, %q, or the number of a value that is\n// not known.", e.Values[len(e.Values)-1].Name)
	t.f("func (x %s) String() string {\nswitch x {", name)
	for _, v := range e.Values {
		t.f("case %s:\nreturn %q", goValue(e, v), v.Name)
	}
	t.f("}\nreturn number(int32(x))\n}\n")
}

func goStruct(t *text, m *Message) {
	name := goName(m.Name)
	t.doc("//", goDoc(m.Doc, m.Name, name))
	t.f("type %s struct {", name)
	for i, f := range m.Fields {
		if i > 0 {
			t.f("")
		}
		t.doc("\t//", goDoc(f.Doc, f.Name, goName(f.Name)))
		if f.Limit > 0 {
			t.f("\t// At most %d.", f.Limit)
		}
		t.f("\t%s %s", goName(f.Name), goType(f))
	}
	spares := false
	for _, f := range m.Fields {
		if f.Kind == MessageKind && !f.Repeated {
			if !spares {
				t.f("\n// What Unmarshal has made, to be used again.")
				spares = true
			}
			t.f("%s *%s", spare(f), goName(f.Message.Name))
		}
	}
	t.f("}\n")
}

// spare is the field that keeps the memory of a singular message.
func spare(f *Field) string { return "spare" + goName(f.Name) }

// goType is the type of a struct's field.
func goType(f *Field) string {
	element := goElement(f)
	switch {
	case f.Repeated:
		return "[]" + element
	case f.Kind == MessageKind:
		return "*" + element
	}
	return element
}

func goElement(f *Field) string {
	switch f.Kind {
	case Bool:
		return "bool"
	case Uint32:
		return "uint32"
	case Uint64:
		return "uint64"
	case Int64:
		return "int64"
	case Double:
		return "float64"
	case String:
		return "string"
	case Bytes:
		return "[]byte"
	case EnumKind:
		return goName(f.Enum.Name)
	default:
		return goName(f.Message.Name)
	}
}

// varintOf converts a value to what is written as a varint.
func varintOf(f *Field, v string) string {
	if f.Kind == Uint64 {
		return v
	}
	return "uint64(" + v + ")" // sign-extends an enum, as the wire form wants it
}

// tagBytes is the tag as a varint; sizeTag is its length.
func tagBytes(tag uint64) []byte {
	var b []byte
	for ; tag >= 0x80; tag >>= 7 {
		b = append(b, byte(tag)|0x80)
	}
	return append(b, byte(tag))
}

func sizeTag(f *Field) int { return len(tagBytes(f.Tag())) }

func quoted(s string) string { return strconv.Quote(s) }
