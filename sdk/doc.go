// Package sdk is for writing plugins of Patchbay in Go. One source runs compiled into
// the broker (builtin), as a process of its own, and as WebAssembly:
//
//	package main
//
//	type config struct {
//		Prefix string `json:"prefix" required:"true" doc:"What topics must begin with."`
//	}
//
//	type plugin struct{ prefix string }
//
//	func (p *plugin) Start(_ context.Context, _ *sdk.Host, c config) error {
//		p.prefix = c.Prefix
//		return nil
//	}
//
//	func (p *plugin) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
//		if !strings.HasPrefix(r.Message.Topic, p.prefix) {
//			return sdk.Deny(sdk.TopicNameInvalid, "outside of "+p.prefix), nil
//		}
//		return sdk.Continue(), nil
//	}
//
//	func init() {
//		sdk.Register(sdk.Plugin{Name: "prefix", Version: "1.0.0",
//			Config: sdk.ConfigOf[config](), New: func() any { return new(plugin) }})
//	}
//
//	func main() { sdk.Main() }
//
// A plugin implements the interfaces of hooks.go that it needs. Start there; then
// Plugin, Decision, and Host for what it may ask of the broker. Package plugintest tests
// plugins without a broker, sdklog is for log/slog, sdkhttp for net/http.
//
// What a method of a plugin gets is valid until it returns and must not be changed: its
// strings and bytes point into the broker's buffers. Clone keeps a message or a client.
package sdk
