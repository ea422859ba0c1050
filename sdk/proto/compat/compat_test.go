package compat

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

type set = descriptorpb.FileDescriptorSet

// committed reads the descriptor set of version 1.
func committed(t *testing.T) *set {
	t.Helper()
	raw, err := os.ReadFile("../v1.binpb")
	if err != nil {
		t.Fatal(err)
	}
	s := new(set)
	if err := proto.Unmarshal(raw, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func message(t *testing.T, s *set, name string) *descriptorpb.DescriptorProto {
	t.Helper()
	for _, f := range s.File {
		for _, m := range f.MessageType {
			if m.GetName() == name {
				return m
			}
		}
	}
	t.Fatalf("no message %s", name)
	return nil
}

func field(t *testing.T, s *set, name, fieldName string) *descriptorpb.FieldDescriptorProto {
	t.Helper()
	for _, f := range message(t, s, name).Field {
		if f.GetName() == fieldName {
			return f
		}
	}
	t.Fatalf("no field %s.%s", name, fieldName)
	return nil
}

func enum(t *testing.T, s *set, name string) *descriptorpb.EnumDescriptorProto {
	t.Helper()
	for _, f := range s.File {
		for _, e := range f.EnumType {
			if e.GetName() == name {
				return e
			}
		}
	}
	t.Fatalf("no enum %s", name)
	return nil
}

func method(t *testing.T, s *set, name string) *descriptorpb.MethodDescriptorProto {
	t.Helper()
	for _, f := range s.File {
		for _, svc := range f.Service {
			for _, m := range svc.Method {
				if m.GetName() == name {
					return m
				}
			}
		}
	}
	t.Fatalf("no method %s", name)
	return nil
}

// dropLast takes the last field, Event.plugin_state or so, out of a message.
func dropLast(m *descriptorpb.DescriptorProto) *descriptorpb.FieldDescriptorProto {
	last := m.Field[len(m.Field)-1]
	m.Field = m.Field[:len(m.Field)-1]
	return last
}

func dropLastValue(e *descriptorpb.EnumDescriptorProto) *descriptorpb.EnumValueDescriptorProto {
	last := e.Value[len(e.Value)-1]
	e.Value = e.Value[:len(e.Value)-1]
	return last
}

func reserveRange(from, to int32) []*descriptorpb.DescriptorProto_ReservedRange {
	return []*descriptorpb.DescriptorProto_ReservedRange{{Start: proto.Int32(from), End: proto.Int32(to)}}
}

func reserveValue(n int32) []*descriptorpb.EnumDescriptorProto_EnumReservedRange {
	return []*descriptorpb.EnumDescriptorProto_EnumReservedRange{{Start: proto.Int32(n), End: proto.Int32(n)}}
}

// Every way to break version 1 is found, and every way to extend it is not.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, s *set)
		want   []string // parts of the problems, one each
	}{
		{"nothing", func(t *testing.T, s *set) {}, nil},
		{"a field renumbered", func(t *testing.T, s *set) {
			field(t, s, "Event", "topic").Number = proto.Int32(99)
		}, []string{"Event.topic was renumbered from 5 to 99"}},
		{"two fields swapped", func(t *testing.T, s *set) {
			field(t, s, "Pair", "name").Number, field(t, s, "Pair", "value").Number = proto.Int32(2), proto.Int32(1)
		}, []string{"Pair.name was renumbered from 1 to 2", "Pair.value was renumbered from 2 to 1"}},
		{"a field retyped", func(t *testing.T, s *set) {
			field(t, s, "Batch", "seq").Type = descriptorpb.FieldDescriptorProto_TYPE_UINT32.Enum()
		}, []string{"Batch.seq was retyped from TYPE_UINT64 to TYPE_UINT32"}},
		{"a field of another message", func(t *testing.T, s *set) {
			field(t, s, "Event", "message").TypeName = proto.String(".patchbay.plugin.v1.Client")
		}, []string{"Event.message was retyped from .patchbay.plugin.v1.Message to .patchbay.plugin.v1.Client"}},
		{"a field made a list", func(t *testing.T, s *set) {
			field(t, s, "Batch", "point").Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}, []string{"Batch.point was LABEL_OPTIONAL and is LABEL_REPEATED"}},
		{"a field made optional", func(t *testing.T, s *set) {
			f := field(t, s, "Batch", "lost")
			f.Proto3Optional, f.OneofIndex = proto.Bool(true), proto.Int32(0)
		}, []string{"Batch.lost: its presence is another"}},
		{"a list not packed any more", func(t *testing.T, s *set) {
			field(t, s, "Sample", "buckets").Options = &descriptorpb.FieldOptions{Packed: proto.Bool(false)}
		}, []string{"Sample.buckets: its options are others"}},
		{"a field renamed", func(t *testing.T, s *set) {
			f := field(t, s, "Batch", "lost")
			f.Name, f.JsonName = proto.String("dropped"), proto.String("dropped")
		}, []string{"Batch.lost was renamed to dropped"}},
		{"a field with another name in JSON", func(t *testing.T, s *set) {
			field(t, s, "Client", "client_id").JsonName = proto.String("id")
		}, []string{"Client.client_id is id in JSON and was clientId"}},
		{"a field removed", func(t *testing.T, s *set) {
			dropLast(message(t, s, "Event"))
		}, []string{"Event.plugin_state was removed; its number 15 and its name have to be reserved"}},
		{"a field removed, its number reserved", func(t *testing.T, s *set) {
			m := message(t, s, "Event")
			dropLast(m)
			m.ReservedRange = reserveRange(15, 16)
		}, []string{"Event.plugin_state was removed"}},
		{"a field removed, its name reserved", func(t *testing.T, s *set) {
			m := message(t, s, "Event")
			m.ReservedName = []string{dropLast(m).GetName()}
		}, []string{"Event.plugin_state was removed"}},
		{"a field removed, number and name reserved", func(t *testing.T, s *set) {
			m := message(t, s, "Event")
			m.ReservedName, m.ReservedRange = []string{dropLast(m).GetName()}, reserveRange(15, 16)
		}, nil},
		{"a removed field's number taken", func(t *testing.T, s *set) {
			m := message(t, s, "Event")
			f := dropLast(m)
			next := proto.Clone(f).(*descriptorpb.FieldDescriptorProto)
			next.Name, next.JsonName = proto.String("other"), proto.String("other")
			m.Field = append(m.Field, next)
		}, []string{"Event.plugin_state was renamed to other"}},
		{"a message removed", func(t *testing.T, s *set) {
			message(t, s, "StopResponse").Name = proto.String("Stopped")
		}, []string{"message patchbay.plugin.v1.StopResponse was removed"}},
		{"another package", func(t *testing.T, s *set) {
			for _, f := range s.File {
				if f.GetName() == "patchbay/plugin/v1/message.proto" {
					f.Package = proto.String("patchbay.plugin.v2")
				}
			}
		}, []string{"message patchbay.plugin.v1.Message was removed", "message patchbay.plugin.v1.Subscription was removed"}},
		{"a value renumbered", func(t *testing.T, s *set) {
			enum(t, s, "Action").Value[2].Number = proto.Int32(70)
		}, []string{"Action.ACTION_DENY was renumbered from 2 to 70"}},
		{"a value renamed", func(t *testing.T, s *set) {
			enum(t, s, "Action").Value[2].Name = proto.String("ACTION_REFUSE")
		}, []string{"Action.ACTION_DENY was renamed to ACTION_REFUSE"}},
		{"a value removed", func(t *testing.T, s *set) {
			dropLastValue(enum(t, s, "Action"))
		}, []string{"Action.ACTION_CHALLENGE was removed; its number 7"}},
		{"a value removed, number and name reserved", func(t *testing.T, s *set) {
			e := enum(t, s, "Action")
			e.ReservedName, e.ReservedRange = []string{dropLastValue(e).GetName()}, reserveValue(7)
		}, nil},
		{"a value removed, its number reserved", func(t *testing.T, s *set) {
			e := enum(t, s, "Action")
			dropLastValue(e)
			e.ReservedRange = reserveValue(7)
		}, []string{"Action.ACTION_CHALLENGE was removed"}},
		{"an enum removed", func(t *testing.T, s *set) {
			enum(t, s, "Access").Name = proto.String("Accesses")
		}, []string{"enum patchbay.plugin.v1.Access was removed"}},
		{"a method renamed", func(t *testing.T, s *set) {
			method(t, s, "KvGet").Name = proto.String("Get")
		}, []string{"method patchbay.plugin.v1.Host.KvGet was removed"}},
		{"a method with another answer", func(t *testing.T, s *set) {
			method(t, s, "Describe").OutputType = proto.String(".patchbay.plugin.v1.StopResponse")
		}, []string{"method patchbay.plugin.v1.Plugin.Describe was"}},
		{"a stream made unary", func(t *testing.T, s *set) {
			method(t, s, "Process").ClientStreaming = proto.Bool(false)
		}, []string{"method patchbay.plugin.v1.Plugin.Process streams otherwise"}},

		{"additions", func(t *testing.T, s *set) {
			m := message(t, s, "Event")
			m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
				Name: proto.String("added"), JsonName: proto.String("added"), Number: proto.Int32(16),
				Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			})
			e := enum(t, s, "Action")
			e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String("ACTION_ADDED"), Number: proto.Int32(8)})
			s.File[0].MessageType = append(s.File[0].MessageType, &descriptorpb.DescriptorProto{Name: proto.String("Added")})
		}, nil},
		{"a field moved to another place in its message", func(t *testing.T, s *set) {
			m := message(t, s, "Event")
			m.Field[0], m.Field[1] = m.Field[1], m.Field[0]
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			after := committed(t)
			c.change(t, after)
			problems := Check(committed(t), after)
			if len(problems) != len(c.want) {
				t.Fatalf("problems are %q, want %d", problems, len(c.want))
			}
			for i, want := range c.want {
				if !strings.Contains(problems[i], want) {
					t.Errorf("problem is %q, want %q", problems[i], want)
				}
			}
		})
	}
}

// What has been reserved stays so.
func TestReservedStays(t *testing.T) {
	before, after := committed(t), committed(t)
	m, e := message(t, before, "Event"), enum(t, before, "Action")
	m.ReservedName, m.ReservedRange = []string{"gone"}, reserveRange(30, 33)
	e.ReservedName, e.ReservedRange = []string{"ACTION_GONE"}, reserveValue(40)
	problems := Check(before, after)
	want := []string{
		"Action: numbers 40 to 40 are not reserved any more", "Action: the name ACTION_GONE is not reserved any more",
		"Event: numbers 30 to 32 are not reserved any more", "Event: the name gone is not reserved any more",
	}
	if len(problems) != len(want) {
		t.Fatalf("problems are %q", problems)
	}
	for i := range want {
		if !strings.Contains(problems[i], want[i]) {
			t.Errorf("problem is %q, want %q", problems[i], want[i])
		}
	}
	if problems := Check(before, before); len(problems) > 0 {
		t.Errorf("with itself it has problems %q", problems)
	}
}
