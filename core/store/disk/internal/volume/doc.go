// Package volume is the data folder, the disk below it, and its lies: who may
// use the folder, what "synced" means, and what happens when the disk is full or
// broken. It hands Pebble a file system (vfs.FS) that never says "no space".
//
//	Pebble ──► FS ──┬─ sync mode ── real fsync, or later, or never (WAL only)
//	                ├─ no space ─── ballast away, full, wait, go on
//	                └─ broken ───── fails once, for all, for good
//	           watcher: disk usage each second ──► Full, OnFull
//
// In the folder, beside Pebble's own files:
//
//	PATCHBAY         marker: this is a data folder, its format and schema (JSON)
//	PATCHBAY.lock    locked while a broker has the folder open; says which
//	PATCHBAY.ballast space put aside, given up when the disk is full
//
// Two limits keep a disk that fills up from ending the service. Below Reserve
// bytes of free space the volume is full, long before a write fails: whoever
// stores messages asks Full and holds publishers back, while acknowledgements
// and deletes go on and give space back. If a write does fail, the ballast goes,
// and what is under way ends in its space; if that is not enough the write
// waits, and Pebble with it. Nothing of this is an error to Pebble, because
// Pebble gives up for good when its log cannot be written.
//
// It is full until Reserve and a quarter are free (and the ballast, if it has to
// be made again); the quarter and the ballast keep the state from flapping.
//
// The package knows files, and nothing about what Pebble or the store keeps in
// them, with one exception: names that end in .log are Pebble's write-ahead log,
// and .sst and .blob are tables, which Pebble writes again if they fail.
//
// Entry point: Open. Next: folder.go (what Open checks), fs.go and file.go (what
// Pebble sees), space.go (full), wal.go (sync modes).
package volume
