package main

import "fmt"

// goGRPC makes package v1grpc: clients, servers and service descriptors. What the
// generated code calls is in v1grpc/call.go.
type goGRPC struct{}

func (goGRPC) Emit(s *Schema) ([]Output, error) {
	var all []Output
	for _, file := range s.Files {
		for _, svc := range file.Services {
			t := &text{}
			grpcClient(t, s, svc)
			grpcServer(t, s, svc)
			imports := []string{"context", "", "google.golang.org/grpc", ""}
			if svc.Name == hostService {
				imports = append(imports, modulePath+"/v1", modulePath+"/v1host")
			} else {
				imports = append(imports, modulePath+"/v1")
			}
			o, err := goFile("v1grpc/"+snake(svc.Name)+goSuffix, goPackage("v1grpc", imports, t))
			if err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	return all, nil
}

func grpcClient(t *text, s *Schema, svc *Service) {
	client, invoke := svc.Name+"Client", "invoke"
	if svc.Name == hostService {
		t.f("var _ v1host.Service = HostClient{}\n")
		invoke = "invokeHost"
	}
	t.f("// %s calls service %s. Use New%s. It is safe for concurrent use.", client, svc.Name, client)
	t.f("type %s struct{ cc grpc.ClientConnInterface }\n", client)
	t.f("// New%s makes a client of a connection, which stays the caller's.", client)
	t.f("func New%s(cc grpc.ClientConnInterface) %s { return %s{cc} }\n", client, client, client)
	stream := 0
	for _, m := range svc.Methods {
		name, in, out := goName(m.Name), v1(m.Request), v1(m.Answer)
		full := fmt.Sprintf("/%s.%s/%s", s.Package, svc.Name, m.Name)
		if m.Stream {
			t.f("// %s opens a stream of %s.", name, m.Name)
			t.f("func (c %s) %s(ctx context.Context) (grpc.BidiStreamingClient[%s, %s], error) {", client, name, in, out)
			t.f("return open[%s, %s](ctx, c.cc, &%sDesc.Streams[%d], %q)\n}\n", in, out, snake(svc.Name), stream, full)
			stream++
			continue
		}
		t.f("// %s calls %s.", name, m.Name)
		t.f("func (c %s) %s(ctx context.Context, in *%s) (*%s, error) {", client, name, in, out)
		t.f("return %s[%s](ctx, c.cc, %q, in)\n}\n", invoke, out, full)
	}
}

func grpcServer(t *text, s *Schema, svc *Service) {
	server, desc := svc.Name+"Server", snake(svc.Name)+"Desc"
	if svc.Name == hostService {
		server = "v1host.Service"
	} else {
		t.f("// %s is service %s.", server, svc.Name)
		t.f("type %s interface {", server)
		for _, m := range svc.Methods {
			name, in, out := goName(m.Name), v1(m.Request), v1(m.Answer)
			t.doc("\t//", goDoc(m.Doc, m.Name, name))
			if m.Stream {
				t.f("\t%s(stream grpc.BidiStreamingServer[%s, %s]) error", name, in, out)
				continue
			}
			t.f("\t%s(ctx context.Context, in *%s) (*%s, error)", name, in, out)
		}
		t.f("}\n")
	}
	t.f("// Register%sServer makes s serve the service with srv. s needs ServerOptions.", svc.Name)
	t.f("func Register%sServer(s grpc.ServiceRegistrar, srv %s) { s.RegisterService(&%s, srv) }\n", svc.Name, server, desc)
	t.f("var %s = grpc.ServiceDesc{", desc)
	t.f("ServiceName: %q,\nHandlerType: (*%s)(nil),\nMetadata: %q,", s.Package+"."+svc.Name, server, protoFolder+"/"+snake(svc.Name)+".proto")
	t.f("Methods: []grpc.MethodDesc{")
	for _, m := range svc.Methods {
		if !m.Stream {
			full := fmt.Sprintf("/%s.%s/%s", s.Package, svc.Name, m.Name)
			t.f("{MethodName: %q, Handler: unary(%q, %s.%s)},", m.Name, full, server, goName(m.Name))
		}
	}
	t.f("},\nStreams: []grpc.StreamDesc{")
	for _, m := range svc.Methods {
		if m.Stream {
			t.f("{StreamName: %q, Handler: bidi(%s.%s), ServerStreams: true, ClientStreams: true},", m.Name, server, goName(m.Name))
		}
	}
	t.f("},\n}\n")
}
