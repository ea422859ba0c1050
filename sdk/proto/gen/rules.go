package main

import (
	"fmt"
	"strings"

	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxDepth is how deep messages may nest in each other; readers in other languages
// rely on it.
const maxDepth = 8

// check reports what the contract does not allow. Emitters need not deal with it.
func check(files linker.Files, s *Schema, wrong *[]string) {
	c := checker{wrong: wrong}
	for _, f := range files {
		c.file(f, s)
	}
	for i, f := range files {
		c.comments(s.Files[i])
		for _, svc := range s.Files[i].Services {
			c.ops(s, svc)
		}
		for j := range f.Messages().Len() {
			c.depth(f.Messages().Get(j), nil)
		}
	}
}

type checker struct{ wrong *[]string }

func (c *checker) fail(where any, format string, args ...any) {
	*c.wrong = append(*c.wrong, fmt.Sprintf("%v: %s", where, fmt.Sprintf(format, args...)))
}

func (c *checker) file(f protoreflect.FileDescriptor, s *Schema) {
	switch {
	case f.Syntax() != protoreflect.Proto3:
		c.fail(f.Path(), "syntax is not proto3")
	case string(f.Package()) != s.Package:
		c.fail(f.Path(), "package is not %s", s.Package)
	case f.Extensions().Len() > 0:
		c.fail(f.Path(), "extensions are not used")
	}
	for i := range f.Imports().Len() {
		if p := f.Imports().Get(i).Path(); !strings.HasPrefix(p, protoFolder+"/") {
			c.fail(f.Path(), "imports %s from outside of the contract", p)
		}
	}
	for i := range f.Messages().Len() {
		m := f.Messages().Get(i)
		if m.Messages().Len() > 0 || m.Enums().Len() > 0 {
			c.fail(m.FullName(), "types inside of messages are not used")
		}
		if m.Oneofs().Len() > 0 {
			c.fail(m.FullName(), "oneof and optional are not used")
		}
		for j := range m.Fields().Len() {
			if fd := m.Fields().Get(j); fd.IsMap() {
				c.fail(fd.FullName(), "maps are not used")
			} else if fd.IsList() && fd.Kind() == protoreflect.BoolKind {
				c.fail(fd.FullName(), "lists of bool are not used")
			} else if fd.IsList() && !fd.IsPacked() && packable(fd.Kind()) {
				c.fail(fd.FullName(), "is not packed")
			}
		}
	}
	for i := range f.Enums().Len() {
		c.enum(f.Enums().Get(i))
	}
}

func packable(k protoreflect.Kind) bool {
	return k != protoreflect.StringKind && k != protoreflect.BytesKind && k != protoreflect.MessageKind
}

func (c *checker) enum(e protoreflect.EnumDescriptor) {
	seen := map[protoreflect.EnumNumber]bool{}
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if seen[v.Number()] {
			c.fail(v.FullName(), "number %d is there twice", v.Number())
		}
		seen[v.Number()] = true
		if !strings.HasPrefix(string(v.Name()), enumPrefix(string(e.Name()))) {
			c.fail(v.FullName(), "does not begin with %s", enumPrefix(string(e.Name())))
		}
	}
}

func (c *checker) comments(f *File) {
	need := func(where, doc string) {
		if doc == "" {
			c.fail(where, "has no comment")
		}
	}
	need(f.Name+".proto", f.Doc)
	for _, m := range f.Messages {
		need(m.Name, m.Doc)
		for _, fd := range m.Fields {
			where := m.Name + "." + fd.Name
			need(where, fd.Doc)
			if fd.Repeated != (fd.Limit > 0) {
				c.fail(where, "repeated fields, and no others, have a line Limit")
			}
		}
	}
	for _, e := range f.Enums {
		need(e.Name, e.Doc)
		for _, v := range e.Values {
			need(v.Name, v.Doc)
		}
	}
	for _, s := range f.Services {
		need(s.Name, s.Doc)
		for _, m := range s.Methods {
			need(s.Name+"."+m.Name, m.Doc)
		}
	}
}

// ops pairs the methods of a service with the values of the enum of its ops.
func (c *checker) ops(s *Schema, svc *Service) {
	for _, f := range s.Files {
		for _, e := range f.Enums {
			if e.Name == svc.Name+"Op" {
				svc.Ops = e
			}
		}
	}
	if svc.Ops == nil {
		c.fail(svc.Name, "there is no enum %sOp", svc.Name)
		return
	}
	for _, m := range svc.Methods {
		name := enumPrefix(svc.Ops.Name) + strings.ToUpper(snake(m.Name))
		for _, v := range svc.Ops.Values {
			if v.Name == name {
				m.Op = v
			}
		}
		if m.Op == nil {
			c.fail(svc.Name+"."+m.Name, "there is no %s", name)
		}
	}
}

func (c *checker) depth(m protoreflect.MessageDescriptor, above []protoreflect.FullName) {
	for _, name := range above {
		if name == m.FullName() {
			c.fail(m.FullName(), "contains itself")
			return
		}
	}
	if above = append(above, m.FullName()); len(above) > maxDepth {
		c.fail(above[0], "nests deeper than %d", maxDepth)
		return
	}
	for i := range m.Fields().Len() {
		if sub := m.Fields().Get(i).Message(); sub != nil {
			c.depth(sub, above)
		}
	}
}
