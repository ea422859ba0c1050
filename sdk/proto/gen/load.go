package main

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	protoFolder    = "patchbay/plugin/v1"
	descriptorPath = "v1.binpb"
)

// load compiles the contract below dir and checks it against the rules.
func load(dir string) (*Schema, error) {
	found, err := filepath.Glob(filepath.Join(dir, protoFolder, "*.proto"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range found {
		names = append(names, path.Join(protoFolder, filepath.Base(f)))
	}
	slices.Sort(names)
	return compile(names, &protocompile.SourceResolver{ImportPaths: []string{dir}})
}

func compile(names []string, resolver protocompile.Resolver) (*Schema, error) {
	compiler := protocompile.Compiler{Resolver: resolver, SourceInfoMode: protocompile.SourceInfoStandard}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no .proto files in %s", protoFolder)
	}
	l := loader{messages: map[protoreflect.FullName]*Message{}, enums: map[protoreflect.FullName]*Enum{}}
	s := &Schema{Package: string(files[0].Package())}
	for _, f := range files {
		s.Files = append(s.Files, l.declare(f))
	}
	for i, f := range files {
		l.define(f, s.Files[i])
	}
	check(files, s, &l.wrong)
	if len(l.wrong) > 0 {
		return nil, fmt.Errorf("against the rules of the contract:\n\t%s", strings.Join(l.wrong, "\n\t"))
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range files {
		p := proto.Clone(protoutil.ProtoFromFileDescriptor(f)).(*descriptorpb.FileDescriptorProto)
		p.SourceCodeInfo = nil
		set.File = append(set.File, p)
	}
	s.Descriptors, err = proto.MarshalOptions{Deterministic: true}.Marshal(set)
	return s, err
}

type loader struct {
	messages map[protoreflect.FullName]*Message
	enums    map[protoreflect.FullName]*Enum
	wrong    []string
}

func (l *loader) fail(d protoreflect.Descriptor, format string, args ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf("%s: %s", d.FullName(), fmt.Sprintf(format, args...)))
}

// declare makes the types of f without their fields.
func (l *loader) declare(f protoreflect.FileDescriptor) *File {
	file := &File{Name: strings.TrimSuffix(path.Base(f.Path()), ".proto")}
	// The comment of a file stands before its syntax line, which is path 12.
	file.Doc = clean(f.SourceLocations().ByPath(protoreflect.SourcePath{12}).LeadingComments)
	for i := range f.Enums().Len() {
		d := f.Enums().Get(i)
		e := &Enum{Name: string(d.Name()), Doc: comment(d)}
		for j := range d.Values().Len() {
			v := d.Values().Get(j)
			e.Values = append(e.Values, &Value{Name: string(v.Name()), Number: int(v.Number()), Doc: comment(v)})
		}
		l.enums[d.FullName()] = e
		file.Enums = append(file.Enums, e)
	}
	for i := range f.Messages().Len() {
		d := f.Messages().Get(i)
		m := &Message{Name: string(d.Name()), Doc: comment(d)}
		l.messages[d.FullName()] = m
		file.Messages = append(file.Messages, m)
	}
	return file
}

// define fills in what declare has left out.
func (l *loader) define(f protoreflect.FileDescriptor, file *File) {
	for i := range f.Messages().Len() {
		d := f.Messages().Get(i)
		m := l.messages[d.FullName()]
		for j := range d.Fields().Len() {
			m.Fields = append(m.Fields, l.field(d.Fields().Get(j)))
		}
		slices.SortFunc(m.Fields, func(a, b *Field) int { return a.Number - b.Number })
	}
	for i := range f.Services().Len() {
		d := f.Services().Get(i)
		s := &Service{Name: string(d.Name()), Doc: comment(d)}
		for j := range d.Methods().Len() {
			s.Methods = append(s.Methods, l.method(d.Methods().Get(j)))
		}
		file.Services = append(file.Services, s)
	}
}

var kinds = map[protoreflect.Kind]Kind{
	protoreflect.BoolKind: Bool, protoreflect.Uint32Kind: Uint32, protoreflect.Uint64Kind: Uint64,
	protoreflect.Int64Kind: Int64, protoreflect.DoubleKind: Double, protoreflect.StringKind: String,
	protoreflect.BytesKind: Bytes, protoreflect.EnumKind: EnumKind, protoreflect.MessageKind: MessageKind,
}

func (l *loader) field(d protoreflect.FieldDescriptor) *Field {
	f := &Field{
		Name: string(d.Name()), JSON: d.JSONName(), Number: int(d.Number()), Repeated: d.IsList(),
	}
	kind, ok := kinds[d.Kind()]
	if !ok {
		l.fail(d, "type %v is not used in the contract", d.Kind())
	}
	f.Kind = kind
	if d.Message() != nil {
		f.Message = l.messages[d.Message().FullName()]
	}
	if d.Enum() != nil {
		f.Enum = l.enums[d.Enum().FullName()]
	}
	marks, doc := marked(comment(d), "Limit")
	f.Doc = doc
	if limit, ok := marks["Limit"]; ok {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 {
			l.fail(d, "Limit: %s is not a number", limit)
		}
		f.Limit = n
	}
	return f
}

func (l *loader) method(d protoreflect.MethodDescriptor) *Method {
	m := &Method{
		Name: string(d.Name()), Request: l.messages[d.Input().FullName()], Answer: l.messages[d.Output().FullName()],
		Stream: d.IsStreamingClient(),
	}
	if d.IsStreamingClient() != d.IsStreamingServer() {
		l.fail(d, "a stream has to go both ways")
	}
	marks, doc := marked(comment(d), "Grant", "Waits")
	m.Doc = doc
	if grant := marks["Grant"]; grant != "none" {
		m.Grant, m.GrantNote, _ = strings.Cut(grant, " ")
	}
	switch marks["Waits"] {
	case "":
	case "yes":
		m.Waits = true
	default:
		l.fail(d, "Waits: %s is not yes", marks["Waits"])
	}
	if _, ok := marks["Grant"]; !ok && d.Parent().Name() == "Host" {
		l.fail(d, "its comment has no line Grant")
	}
	return m
}

func comment(d protoreflect.Descriptor) string {
	return clean(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments)
}

// clean takes the space after "//" from each line.
func clean(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(strings.TrimPrefix(l, " "), " ")
	}
	return strings.Join(lines, "\n")
}

// marked takes lines of the form "Name: value" out of a comment.
func marked(doc string, names ...string) (map[string]string, string) {
	marks := map[string]string{}
	var rest []string
	for line := range strings.Lines(doc) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok && slices.Contains(names, name) {
			marks[name] = value
			continue
		}
		rest = append(rest, line)
	}
	return marks, strings.TrimRight(strings.Join(rest, ""), "\n")
}
