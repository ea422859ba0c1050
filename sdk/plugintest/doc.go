// Package plugintest tests plugins without a broker, in whatever runtime:
//
//	host := plugintest.NewHost()
//	p := plugintest.Start(t, plugintest.Builtin(myplugin.Plugin()), host, `{"key":"hush"}`)
//	v := p.Authenticate(t, &sdk.Client{Username: "ann"}, &sdk.Authentication{Password: []byte("hush")})
//
// Builtin opens a plugin by value, Process a program, Wasm a module. Start makes an
// Instance, to which events are fed and which gives verdicts. Host stands in for the
// broker: it keeps what it is asked to keep, records every call, fails where a test says
// so, and its time moves only by Host.Advance, which runs timers. Conformance runs the
// same cases in several runtimes and compares what they answer.
//
// The loaders are as small as the contract allows: no metering, no supervision, no
// grants unless Host.Deny says so. A broker has all these, and package pluginhost is
// where they are. It must not be imported here.
package plugintest
