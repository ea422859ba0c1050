package main

import "fmt"

const hostService = "Host"

// goHost makes package v1host: the services of the host as Go sees them. It is not
// part of package v1, since context costs a guest 250 KB.
type goHost struct{}

func (goHost) Emit(s *Schema) ([]Output, error) {
	for _, file := range s.Files {
		for _, svc := range file.Services {
			if svc.Name == hostService {
				o, err := goFile("v1host/"+file.Name+goSuffix, goHostService(svc))
				return []Output{o}, err
			}
		}
	}
	return nil, fmt.Errorf("there is no service %s", hostService)
}

func goHostService(svc *Service) *text {
	t := &text{}
	t.f("// Service is %s: what a plugin may ask of the broker. An error of a method is a", svc.Name)
	t.f("// *pluginv1.HostError, or one of ctx. Neither side keeps or changes what the other")
	t.f("// has passed after the call.")
	t.f("type Service interface {")
	for _, m := range svc.Methods {
		t.doc("\t//", goDoc(m.Doc, m.Name, goName(m.Name)))
		t.f("\t%s(ctx context.Context, in *%s) (*%s, error)", goName(m.Name), v1(m.Request), v1(m.Answer))
	}
	t.f("}\n")
	t.f("// Serve calls the method of s that op stands for with an encoded request, and appends")
	t.f("// the encoded response to dst. A request that cannot be read, or an op that is not a")
	t.f("// method, is a *pluginv1.HostError. dst may be the memory that request is in only if the")
	t.f("// methods of s keep nothing of what they get in what they return.")
	t.f("func Serve(ctx context.Context, s Service, op pluginv1.HostOp, request, dst []byte) ([]byte, error) {\nswitch op {")
	for _, m := range svc.Methods {
		t.f("case pluginv1.%s:\nreturn serve(ctx, dst, request, new(%s), s.%s)", goValue(svc.Ops, m.Op), v1(m.Request), goName(m.Name))
	}
	t.f("}\nreturn dst, unknown(op)\n}\n")
	for _, m := range svc.Methods {
		name, in, out := goName(m.Name), v1(m.Request), v1(m.Answer)
		t.f("// %s calls Host.%s.", name, m.Name)
		t.f("func (c Caller) %s(ctx context.Context, in *%s) (*%s, error) {", name, in, out)
		t.f("return call(ctx, c, pluginv1.%s, in, new(%s))\n}\n", goValue(svc.Ops, m.Op), out)
	}
	return goPackage("v1host", []string{"context", "", modulePath + "/v1"}, t)
}

// v1 is a message's Go type outside of its package.
func v1(m *Message) string { return "pluginv1." + goName(m.Name) }

// goOps writes what is to be known of a call before it is made.
func goOps(t *text, svc *Service) {
	ops := goName(svc.Ops.Name)
	t.f("// Grant returns the name of the grant that the call needs, empty for none. With")
	t.f("// PublishRequest.AsClient it is \"publish_as_client\" instead.")
	t.f("func (x %s) Grant() string {\nswitch x {", ops)
	for _, m := range svc.Methods {
		if m.Grant != "" {
			t.f("case %s:\nreturn %q", goValue(svc.Ops, m.Op), m.Grant)
		}
	}
	t.f("}\nreturn \"\"\n}\n")
	t.f("// Waits reports whether the call may take as long as a disk or a network takes.")
	t.f("func (x %s) Waits() bool {\nswitch x {\ncase ", ops)
	first := true
	for _, m := range svc.Methods {
		if m.Waits {
			if !first {
				t.WriteString(",\n")
			}
			t.WriteString(goValue(svc.Ops, m.Op))
			first = false
		}
	}
	t.f(":\nreturn true\n}\nreturn false\n}\n")
}
