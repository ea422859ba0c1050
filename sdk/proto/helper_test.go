package proto

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const protoPackage = "patchbay.plugin.v1"

// contract is the contract as protobuf's own library sees it.
type contract struct{ files *protoregistry.Files }

func loadContract(t testing.TB) contract {
	t.Helper()
	raw, err := os.ReadFile("v1.binpb")
	if err != nil {
		t.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := pb.Unmarshal(raw, set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	return contract{files}
}

func (c contract) message(t testing.TB, name string) protoreflect.MessageDescriptor {
	t.Helper()
	d, err := c.files.FindDescriptorByName(protoreflect.FullName(protoPackage + "." + name))
	if err != nil {
		t.Fatal(err)
	}
	return d.(protoreflect.MessageDescriptor)
}

func (c contract) enum(t testing.TB, name string) protoreflect.EnumDescriptor {
	t.Helper()
	d, err := c.files.FindDescriptorByName(protoreflect.FullName(protoPackage + "." + name))
	if err != nil {
		t.Fatal(err)
	}
	return d.(protoreflect.EnumDescriptor)
}

// dynamic returns an empty message of protobuf's own library.
func (c contract) dynamic(t testing.TB, name string) *dynamicpb.Message {
	t.Helper()
	return dynamicpb.NewMessage(c.message(t, name))
}

// canonical encodes as our codec does: fields in the order of their numbers.
func canonical(t testing.TB, m pb.Message) []byte {
	t.Helper()
	b, err := pb.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ours returns an empty message of our codec.
func ours(t testing.TB, name string) pluginv1.Proto {
	t.Helper()
	m := pluginv1.New(name)
	if m == nil {
		t.Fatalf("there is no message %s", name)
	}
	return m
}

// comments returns the comment of each value of an enum, as it stands in a .proto file.
func comments(t *testing.T, file, prefix string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("patchbay", "plugin", "v1", file))
	if err != nil {
		t.Fatal(err)
	}
	found, comment := map[string]string{}, ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "//"); ok {
			comment += rest
			continue
		}
		if name, _, ok := strings.Cut(line, " ="); ok && strings.HasPrefix(name, prefix) {
			found[name] = strings.Join(strings.Fields(comment), " ")
		}
		comment = ""
	}
	return found
}

// fieldComment returns the comment of a message's field.
func fieldComment(t *testing.T, file, message, field string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("patchbay", "plugin", "v1", file))
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(raw), "\nmessage "+message+" {\n")
	if !ok {
		t.Fatalf("%s has no message %s", file, message)
	}
	comment := ""
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "//"); ok {
			comment += rest
		} else if strings.Contains(line, " "+field+" =") {
			break
		} else {
			comment = ""
		}
	}
	return strings.Join(strings.Fields(comment), " ")
}
