// Package storecmd is `patchbay store`: stats, check, export and import of what
// the broker keeps on disk.
//
//	                    ┌─ no broker has it open ── core/store/disk (View) ─┐
//	stats|check|export ─┤                                                   ├─ dump, report
//	                    └─ one has ── its socket ── internal/admin ─────────┘
//	import ── a new folder beside, which takes its place when it is whole
//
// It owns where a store is looked for, files and exit codes. The format of an
// export is package dump, what stats and check say package report; both are the
// same whether a folder or a broker answers.
//
// Entry point: [Command].
package storecmd
