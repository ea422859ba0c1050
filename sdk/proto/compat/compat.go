// Package compat says whether a changed protobuf schema still understands, and is
// understood by, all that was built with the one before: plugins of contract 1 are
// loaded for ever.
//
// It owns the rules of compatibility: nothing is renumbered, retyped, renamed
// (names are in the JSON form) or removed, unless its number and name are reserved.
// It does not know what the contract looks like (that is ../gen) or where the
// schemas come from.
//
// Check is the entry point; the command in check is what the generator runs before it
// overwrites the committed descriptor set.
package compat

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Check returns what of before is broken in after, in words; nothing if it is a
// compatible successor. It keeps and changes nothing.
func Check(before, after *descriptorpb.FileDescriptorSet) []string {
	c := checker{}
	o, n := index(before), index(after)
	for name, m := range o.messages {
		if now, ok := n.messages[name]; ok {
			c.message(name, m, now)
		} else {
			c.wrong("message %s was removed", name)
		}
	}
	for name, e := range o.enums {
		if now, ok := n.enums[name]; ok {
			c.enum(name, e, now)
		} else {
			c.wrong("enum %s was removed", name)
		}
	}
	for name, m := range o.methods {
		if now, ok := n.methods[name]; ok {
			c.method(name, m, now)
		} else {
			c.wrong("method %s was removed", name)
		}
	}
	slices.Sort(c.problems)
	return c.problems
}

type checker struct{ problems []string }

func (c *checker) wrong(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// schema finds things by their full names.
type schema struct {
	messages map[string]*descriptorpb.DescriptorProto
	enums    map[string]*descriptorpb.EnumDescriptorProto
	methods  map[string]*descriptorpb.MethodDescriptorProto
}

func index(set *descriptorpb.FileDescriptorSet) schema {
	s := schema{
		map[string]*descriptorpb.DescriptorProto{}, map[string]*descriptorpb.EnumDescriptorProto{},
		map[string]*descriptorpb.MethodDescriptorProto{},
	}
	for _, f := range set.GetFile() {
		for _, m := range f.GetMessageType() {
			s.add(f.GetPackage(), m)
		}
		for _, e := range f.GetEnumType() {
			s.enums[f.GetPackage()+"."+e.GetName()] = e
		}
		for _, svc := range f.GetService() {
			for _, m := range svc.GetMethod() {
				s.methods[f.GetPackage()+"."+svc.GetName()+"."+m.GetName()] = m
			}
		}
	}
	return s
}

func (s *schema) add(parent string, m *descriptorpb.DescriptorProto) {
	name := parent + "." + m.GetName()
	s.messages[name] = m
	for _, nested := range m.GetNestedType() {
		s.add(name, nested)
	}
	for _, e := range m.GetEnumType() {
		s.enums[name+"."+e.GetName()] = e
	}
}

func (c *checker) message(name string, before, after *descriptorpb.DescriptorProto) {
	for _, f := range before.GetField() {
		where := name + "." + f.GetName()
		byNumber := slices.IndexFunc(after.GetField(), func(n *descriptorpb.FieldDescriptorProto) bool {
			return n.GetNumber() == f.GetNumber()
		})
		byName := slices.IndexFunc(after.GetField(), func(n *descriptorpb.FieldDescriptorProto) bool {
			return n.GetName() == f.GetName()
		})
		switch {
		case byName >= 0 && after.GetField()[byName].GetNumber() != f.GetNumber():
			c.wrong("%s was renumbered from %d to %d", where, f.GetNumber(), after.GetField()[byName].GetNumber())
		case byNumber >= 0:
			c.field(where, f, after.GetField()[byNumber])
		case !reserves(after, f.GetNumber()) || !slices.Contains(after.GetReservedName(), f.GetName()):
			c.wrong("%s was removed; its number %d and its name have to be reserved", where, f.GetNumber())
		}
	}
	for _, r := range before.GetReservedRange() {
		if !slices.ContainsFunc(after.GetReservedRange(), func(n *descriptorpb.DescriptorProto_ReservedRange) bool {
			return n.GetStart() <= r.GetStart() && n.GetEnd() >= r.GetEnd()
		}) {
			c.wrong("%s: numbers %d to %d are not reserved any more", name, r.GetStart(), r.GetEnd()-1)
		}
	}
	c.reservedNames(name, before.GetReservedName(), after.GetReservedName())
}

func (c *checker) reservedNames(where string, before, after []string) {
	for _, n := range before {
		if !slices.Contains(after, n) {
			c.wrong("%s: the name %s is not reserved any more", where, n)
		}
	}
}

func reserves(m *descriptorpb.DescriptorProto, number int32) bool {
	return slices.ContainsFunc(m.GetReservedRange(), func(r *descriptorpb.DescriptorProto_ReservedRange) bool {
		return r.GetStart() <= number && number < r.GetEnd()
	})
}

func (c *checker) field(where string, before, after *descriptorpb.FieldDescriptorProto) {
	switch {
	case before.GetName() != after.GetName():
		c.wrong("%s was renamed to %s", where, after.GetName())
	case before.GetJsonName() != after.GetJsonName():
		c.wrong("%s is %s in JSON and was %s", where, after.GetJsonName(), before.GetJsonName())
	}
	if before.GetType() != after.GetType() || before.GetTypeName() != after.GetTypeName() {
		c.wrong("%s was retyped from %s to %s", where, typeOf(before), typeOf(after))
	}
	if before.GetLabel() != after.GetLabel() {
		c.wrong("%s was %s and is %s", where, before.GetLabel(), after.GetLabel())
	}
	if before.GetProto3Optional() != after.GetProto3Optional() || (before.OneofIndex == nil) != (after.OneofIndex == nil) {
		c.wrong("%s: its presence is another", where)
	}
	if !proto.Equal(before.GetOptions(), after.GetOptions()) {
		c.wrong("%s: its options are others", where)
	}
}

func typeOf(f *descriptorpb.FieldDescriptorProto) string {
	if f.GetTypeName() != "" {
		return f.GetTypeName()
	}
	return f.GetType().String()
}

func (c *checker) enum(name string, before, after *descriptorpb.EnumDescriptorProto) {
	for _, v := range before.GetValue() {
		where := name + "." + v.GetName()
		byNumber := slices.IndexFunc(after.GetValue(), func(n *descriptorpb.EnumValueDescriptorProto) bool {
			return n.GetNumber() == v.GetNumber()
		})
		byName := slices.IndexFunc(after.GetValue(), func(n *descriptorpb.EnumValueDescriptorProto) bool {
			return n.GetName() == v.GetName()
		})
		reserved := slices.Contains(after.GetReservedName(), v.GetName()) && enumReserves(after, v.GetNumber(), v.GetNumber())
		switch {
		case byName >= 0 && after.GetValue()[byName].GetNumber() != v.GetNumber():
			c.wrong("%s was renumbered from %d to %d", where, v.GetNumber(), after.GetValue()[byName].GetNumber())
		case byNumber >= 0 && after.GetValue()[byNumber].GetName() != v.GetName():
			c.wrong("%s was renamed to %s", where, after.GetValue()[byNumber].GetName())
		case byNumber < 0 && !reserved:
			c.wrong("%s was removed; its number %d and its name have to be reserved", where, v.GetNumber())
		}
	}
	for _, r := range before.GetReservedRange() {
		if !enumReserves(after, r.GetStart(), r.GetEnd()) {
			c.wrong("%s: numbers %d to %d are not reserved any more", name, r.GetStart(), r.GetEnd())
		}
	}
	c.reservedNames(name, before.GetReservedName(), after.GetReservedName())
}

// enumReserves reports whether all numbers from first to last are reserved; unlike
// those of messages, the ranges of enums include their end.
func enumReserves(e *descriptorpb.EnumDescriptorProto, first, last int32) bool {
	return slices.ContainsFunc(e.GetReservedRange(), func(r *descriptorpb.EnumDescriptorProto_EnumReservedRange) bool {
		return r.GetStart() <= first && last <= r.GetEnd()
	})
}

func (c *checker) method(name string, before, after *descriptorpb.MethodDescriptorProto) {
	if before.GetInputType() != after.GetInputType() || before.GetOutputType() != after.GetOutputType() {
		c.wrong("method %s was %s to %s and is %s to %s", name, before.GetInputType(), before.GetOutputType(),
			after.GetInputType(), after.GetOutputType())
	}
	if before.GetClientStreaming() != after.GetClientStreaming() || before.GetServerStreaming() != after.GetServerStreaming() {
		c.wrong("method %s streams otherwise than before", name)
	}
}
