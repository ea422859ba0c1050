// Package mcp has the tools of MCP servers (Model Context Protocol, streamable HTTP) as a
// tool.Source: those of a server named "home" are "home_TOOL". It knows nothing of who
// may use them, which is package tools' to say: a server acts by its own rights, not by a
// client's.
//
// A server is asked for its tools when somebody asks a question, and again after a while.
// One that cannot be reached has no tools, is left alone for a moment, and holds nothing
// up beyond that.
//
// Entry points: Config, Check, New. server.go has one server, http.go its connection.
package mcp
