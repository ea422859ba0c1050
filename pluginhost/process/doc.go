// Package process runs plugins that are programs: each in a process of its own that the
// broker starts, speaks gRPC with under the handshake of hashicorp/go-plugin, and ends.
//
// It owns the child: which program may run (SHA-256), with what environment, how it is
// reached, how its output becomes log lines, how it ends, and what the host is told
// then. It does not know what the messages mean, grants, failure policies or when to start
// a plugin again: it gives pluginhost an instance.Plugin, and takes a v1host.Service.
//
//	Load ─► Program ─Open─► child ─ handshake on stdout ─► Plugin
//	                          │                             ├─ unary calls: Describe, Start, Health, …
//	        stdin: lifeline ──┤                             ├─ one stream Process: window, lanes, seq
//	        stdout, stderr ───┴─► output ─► log             └─ one stream Consume for each consumer
//	                                         the plugin's calls ─► v1host.Service, on a socket of its own
//
// A batch costs no goroutine: it waits in a queue, one goroutine of its stream sends,
// another receives and calls done. At most Options.Window are unanswered. Of these
// observations get all but two, so that a slow observer never holds up decisions.
//
// No child outlives the broker, however that ends. On Linux the kernel kills it
// (PR_SET_PDEATHSIG). Everywhere its standard input is a pipe that nobody writes to and
// that ends with the broker: Lifeline in the environment says so, and a plugin that
// sees the end of its input ends. A child has a process group of its own: ^C at a terminal
// reaches the broker alone, which stops its plugins in order.
//
// Entry points: Load and Program.Open; ParseReattach for plugins that run under a debugger.
// Files: options, program and reattach are what to run; child, handshake, output and log
// are the process; open makes a Plugin, plugin and pipe serve it, hostside serves what it
// calls; errors and stats are what comes out.
package process
