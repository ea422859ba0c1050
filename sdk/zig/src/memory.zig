//! The memory of a plugin: what lasts for a call, and what lasts.
//!
//! A plugin's linear memory has its own variables, the buffers for requests and answers,
//! the arena, and what `heap` has given out. The arena is emptied when a call begins:
//! what a hook gets, and what it allocates there, is gone with the next call.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Alignment = std.mem.Alignment;

/// arena allocates what is needed until the call ends. Freeing does nothing.
pub const arena: Allocator = .{ .ptr = undefined, .vtable = &.{
    .alloc = alloc,
    .resize = resize,
    .remap = remap,
    .free = free,
} };

/// heap allocates what is to stay: state, copies of what a hook has got. Free it with
/// the same.
pub const heap: Allocator = std.heap.page_allocator;

/// chunk_size is how much the arena takes at once: enough for a batch of 64 messages.
const chunk_size = 32 << 10;

/// kept_size is how much the arena keeps from call to call.
const kept_size = 1 << 20;

/// Chunk is the head of a piece of the arena.
const Chunk = struct {
    before: ?*Chunk,
    size: usize,

    fn bytes(c: *Chunk) []align(@alignOf(Chunk)) u8 {
        return @as([*]align(@alignOf(Chunk)) u8, @ptrCast(c))[0..c.size];
    }
};

/// current is the piece that is in use, of which the bytes from at to end are free.
var current: ?*Chunk = null;
var at: usize = 0;
var end: usize = 0;

/// reset empties the arena. What a call needed in several pieces is one piece for the next.
pub fn reset() void {
    const last = current orelse return;
    if (last.before == null and last.size <= kept_size) return begin(last);
    var size: usize = 0;
    var next = current;
    while (next) |c| {
        next = c.before;
        size += c.size;
        heap.free(c.bytes());
    }
    current = null;
    at = 0;
    end = 0;
    if (size <= kept_size) _ = take(size);
}

fn begin(c: *Chunk) void {
    current = c;
    at = @intFromPtr(c) + @sizeOf(Chunk);
    end = @intFromPtr(c) + c.size;
}

/// take begins another piece.
fn take(size: usize) bool {
    const memory = heap.alignedAlloc(u8, .of(Chunk), size) catch return false;
    const c: *Chunk = @ptrCast(memory.ptr);
    c.* = .{ .before = current, .size = size };
    begin(c);
    return true;
}

fn alloc(_: *anyopaque, len: usize, alignment: Alignment, _: usize) ?[*]u8 {
    const p = alignment.forward(at);
    if (p <= end and len <= end - p and current != null) {
        at = p + len;
        return @ptrFromInt(p);
    }
    const need = std.math.add(usize, len, alignment.toByteUnits() + @sizeOf(Chunk)) catch return null;
    if (!take(@max(need, chunk_size))) return null;
    at = alignment.forward(at) + len;
    return @ptrFromInt(at - len);
}

/// resize works for what was allocated last.
fn resize(_: *anyopaque, memory: []u8, _: Alignment, new_len: usize, _: usize) bool {
    const p = @intFromPtr(memory.ptr);
    if (p + memory.len != at) return new_len <= memory.len;
    if (new_len > end - p) return false;
    at = p + new_len;
    return true;
}

fn remap(context: *anyopaque, memory: []u8, alignment: Alignment, new_len: usize, ra: usize) ?[*]u8 {
    return if (resize(context, memory, alignment, new_len, ra)) memory.ptr else null;
}

fn free(_: *anyopaque, _: []u8, _: Alignment, _: usize) void {}

/// create puts a value into the arena.
pub fn create(comptime T: type, value: T) *T {
    const p = arena.create(T) catch @panic("out of memory");
    p.* = value;
    return p;
}

/// copy puts bytes into the arena.
pub fn copy(bytes: []const u8) []const u8 {
    return arena.dupe(u8, bytes) catch @panic("out of memory");
}

/// buffer is memory that lasts, for requests and answers. A writer that takes a larger one leaves
/// the old one behind; each is at least twice as large as the one before.
pub fn buffer(size: usize) []u8 {
    return heap.alloc(u8, @max(size, 4 << 10)) catch @panic("out of memory");
}
