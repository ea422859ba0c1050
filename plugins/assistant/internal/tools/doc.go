// Package tools has the tools that a model may call: those that are built in (read.go,
// operator.go, act.go), those that the config describes (custom.go), and those of others,
// as of MCP servers (Options.External). It also has what stands in front of them:
// whom they are for, dry runs, and people who have to say yes (approval.go).
//
// A tool does what it does for the client that asks and with that client's permissions:
// it publishes as the client (sdk.Host.PublishAs), and shows the model what the client
// would be shown (sdk.Host.Screen). What is no topic has one: who may use it may
// subscribe to Options.Prefix + "/tool/NAME". Without a client there are no tools.
//
// Entry points: Config.Check, New; Set is a tool.Source, is told what has been published and
// dropped by Observe, and gets replies and decisions by Consume. It does not know the engine,
// limits of loops or the audit; these are in package engine.
package tools
