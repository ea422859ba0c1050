//! A module by which the tests reach codec and JSON reader: see sdk/internal/codectest.
const std = @import("std");
const patchbay = @import("patchbay");
const json = patchbay.json;
pub const panic = patchbay.panic;

var space: [4 << 10]u8 = undefined;
var writer: patchbay.wire.Writer = .{ .buffer = &space, .at = space.len, .grow = grow };
var taken: []u8 = &.{};

fn grow(size: usize) []u8 {
    return patchbay.heap.alloc(u8, size) catch @panic("out of memory");
}

export fn input(size: usize) usize {
    patchbay.heap.free(taken);
    taken = grow(@max(size, 1));
    patchbay.reset();
    return @intFromPtr(taken.ptr);
}

fn result(out: []const u8) i64 {
    return @bitCast(@as(u64, @intFromPtr(out.ptr)) << 32 | out.len);
}

/// errors are what is returned as -1, -2, ….
const errors = [_]anyerror{ error.Truncated, error.Overflow, error.BadTag, error.BadUtf8, error.LimitExceeded };

fn failed(err: anyerror) i64 {
    for (errors, 1..) |e, i| if (e == err) return -@as(i64, @intCast(i));
    return -99;
}

/// again reads the message whose name and bytes are in the input, and writes it again.
export fn again(_: usize, name_len: usize, len: usize) i64 {
    const name = taken[0..name_len];
    const bytes = taken[name_len..len];
    @setEvalBranchQuota(100_000);
    inline for (comptime std.meta.declarations(patchbay.v1)) |decl| {
        const T = @field(patchbay.v1, decl);
        if (@typeInfo(T) == .@"struct" and @hasDecl(T, "wire") and std.mem.eql(u8, decl, name)) {
            const x = patchbay.wire.decode(T, bytes, patchbay.arena) catch |err| return failed(err);
            writer.clear();
            writer.message(T, &x);
            return result(writer.written());
        }
    }
    return -100;
}

/// json reads a text and prints it.
fn json_(_: usize, len: usize) callconv(.c) i64 {
    const v = json.parse(taken[0..len], patchbay.arena) catch |err| return failed(err);
    var out: std.ArrayList(u8) = .empty;
    print(v, &out) catch |err| return failed(err);
    return result(out.items);
}

comptime {
    @export(&json_, .{ .name = "json" });
}

fn print(v: json.Value, out: *std.ArrayList(u8)) error{OutOfMemory}!void {
    try out.append(patchbay.arena, switch (v) {
        .null => 'n',
        .bool => 't',
        .number => 's',
        .string => 'd',
        .array => 'a',
        .object => 'o',
    });
    switch (v) {
        .null => {},
        .bool => |b| try out.append(patchbay.arena, if (b) '1' else '0'),
        .number, .string => |s| try text(s, out),
        .array => |items| {
            for (items) |item| try print(item, out);
            try out.append(patchbay.arena, '.');
        },
        .object => |members| {
            for (members) |m| {
                try text(m.key, out);
                try print(m.value, out);
            }
            try out.append(patchbay.arena, '.');
        },
    }
}

fn text(s: []const u8, out: *std.ArrayList(u8)) error{OutOfMemory}!void {
    var digits: [20]u8 = undefined;
    try out.appendSlice(patchbay.arena, json.print(&digits, @floatFromInt(s.len), 0).?);
    try out.append(patchbay.arena, ':');
    try out.appendSlice(patchbay.arena, s);
}
