// Package authhttp is the plugin "auth-http": a service decides by HTTP who may connect,
// as whom, and what a client may do.
//
//	CONNECT, AUTH ─► question ─► dialect ─► endpoint (slots, retry) ─► service
//	                                 └────► answer ─► identity with permissions
//
// It owns how questions are put and answers are read, in three dialects: its own, that of
// EMQX's HTTP authenticator and authoriser, and that of mosquitto-go-auth; and that a
// service which is slow or gone keeps nobody waiting but those who ask it. It must not know
// users or rules: these are the service's.
//
// No question is asked on the broker's goroutines: a method returns sdk.Later, and how many
// wait, and how many are asked at once, is bounded. Permissions that come with the answer to
// a login are evaluated by the broker, which then asks nothing more about that client.
//
// Start at plugin.go. config.go and check.go have the configuration, native.go, emqx.go and
// goauth.go the dialects, endpoint.go and service.go what goes over the wire, cache.go the
// logins that are remembered, invalidate.go how a service takes its answers back.
package authhttp
