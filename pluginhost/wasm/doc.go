// Package wasm runs plugins that are WebAssembly modules, in a sandbox inside of the
// broker: the third runtime beside those that are compiled in and those that are
// processes.
//
// It owns the ABI (sdk/proto/patchbay/plugin/v1/abi.proto) from the host's side: what a
// module must export and may import, how bytes come in and out, how long a call may
// take, how much memory it may use, and what happens to an instance that fails. It does
// not know what the messages mean, grants, failure policies or the broker: it gives
// pluginhost an instance.Plugin, and takes a v1host.Service.
//
//	Load ─► check ─► meter.Rewrite ─► compile (cache) ─► Module ─Open─► Plugin
//	                                                                  ├─ worker   1 instance, 1 goroutine, a queue: may wait
//	                                                                  └─ pool     1 instance per P: decisions and gates, inline
//	instance: buffer ◄─ encode ─ call ─ decode ◄─ answer;  imports: patchbay_v1, wasi_snapshot_preview1, env.abort
//
// A guest is hostile until proven otherwise. Its time is bounded by fuel (see package
// meter, or Options.Preemptible), its memory by a limit, its calls of the host by
// count and fuel, its output by size, its log by rate. Whatever it returns is checked
// before it is used, and copied before the next call. An instance that traps, or has used up its
// fuel, is closed, and a new one takes its place after it has been started.
//
// Concurrency: a wazero instance serves one call at a time. slot.mu is held for the
// length of a call; Process takes it with TryLock only. The order of locks is
// Plugin.life, slot.mu, then those of the queues, which are held for a few instructions.
// There are no finalisers: the last of Module.Close, Plugin.Close and the calls under
// way frees what they share.
//
// Modules are compiled on amd64 and arm64, in a process of its own if Options.Compiler names one: it reads the metered
// module and fills an entry of the cache, which this process then loads. Elsewhere, as on 32-bit ARM, wazero
// interprets them, thirty times slower or more; fuel and all limits are the same.
//
// Entry points: Load and Module.Open. Files: load, check, cache and compiler make a Module;
// plugin, worker, pool and slot are the Plugin; guest, imports, hostcall, wasi, log and
// memory_unix are one instance; errors and stats are what comes out.
package wasm
