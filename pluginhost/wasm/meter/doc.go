// Package meter bounds how long a WebAssembly module runs, by rewriting it before it is compiled: the module gets one
// more global, its fuel, takes from it as it runs, and traps once that is below zero.
//
// It is there because compiled WebAssembly cannot be preempted: a guest's loop holds up Go's garbage collector, and
// with it the broker, for as long as it runs. It knows bytes only: not wazero, not the plugin contract, not what a call
// may take. Those are the host's (pluginhost/wasm), which compiles what [Rewrite] returns, sets the exported global
// before each call and reads what is left after it. A negative number means that fuel was what the call ended for; the
// instance is in the middle of something then, and to be dropped.
//
// # What is charged
//
// At a function's entry and at each loop's header, and in between where a long path branches off: the price of the
// longest path from there to the charges that follow (place.go; prices are in cost.go, in ticks of 1/32 fuel). So what
// was taken is never less than the price of what ran. memory.copy, fill, init and grow, and the same for tables, are
// charged by their length besides, before they run. Start sections are metered like everything.
//
// Measured on 2 cores of an AMD EPYC: 1 M fuel lasts 1–2 ms of ordinary code, at most 5 ms of arithmetic picked for it.
// Prices know neither caches nor branch prediction: a guest that does nothing but miss them, on purpose and all over
// 16 MiB, makes 150 ms of it. Tight loops become 0–15 % slower (an empty one 40 %), a Go guest's events 0–12 %; a module
// grows by 8 %, at 140 MB/s.
//
// # What is not
//
// What imported functions do (the way there and back is charged), compiling, and instantiating but for the start
// function: bounded by the module's size, which [Options] limit, as they do the tables' growth. Memory is the
// runtime's to limit. Depth of recursion is charged, its stack is the runtime's.
//
// # What is refused
//
// Everything beyond WebAssembly 2.0, and every encoding that this package and wazero 1.12 could read differently: a
// charge belongs to the code that really runs. Custom sections are kept as they are; offsets into the code in debug
// sections are wrong afterwards, so compile with WithDebugInfoEnabled(false).
//
// # Where to go next
//
// parse.go (structure), scan.go and operand.go (a function's code), place.go (where to charge), emit.go (the new code),
// inspect.go. Once the runtime can interrupt a loop natively at a price like this one's (now 25–80 ns each time round),
// [Rewrite] has one caller to be taken out of; [Inspect] stays.
package meter
