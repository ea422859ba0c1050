// Package plugins is the folder of what ships with the broker as plugins, each like
// anyone's: it imports package sdk and nothing else of the broker, and runs builtin, as a
// process or as WebAssembly. None is in force until the operator's config names it:
//
//	plugins:
//	  - name: authfile    # who a client is: users and password hashes from a file
//	    config: {file: users.txt}
//	  - name: acl         # what a client may do: rules, or a Mosquitto acl_file
//	    config: {acl_file: acl.txt}
//
// There are, for clients that come in: authfile, authjwt (auth-jwt), authhttp (auth-http) and authcert
// (auth-cert), acl for what they may do, and guard, which keeps out those that only make work; for
// messages that go elsewhere, or come from there: bridgemqtt, bridgekafka, bridgewebhook and bridgesql;
// and assistant, which has a language model answer.
//
// A package registers itself when it is imported; the program lists those that it has.
// Each folder has a README for operators, a doc.go for readers of the code, and its own
// program below cmd, which is also what is built for WebAssembly:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o acl.wasm ./plugins/acl/cmd/acl
//
// Package plugins/internal has what several of them need: the engine of all bridges and the harness
// that kills them, templates, permissions, watched files, patterns of names.
package plugins
