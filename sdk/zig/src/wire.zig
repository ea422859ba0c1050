//! The encoding of messages: protobuf's, as much of it as the contract uses.
//!
//! The code for each message is made when the plugin is compiled, from the table `wire`
//! that each type of v1.zig has. Reading copies nothing: strings and bytes point into the
//! input, and only lists and messages within messages take memory, from the allocator
//! that is given. Writing goes from the end to the beginning, since the length of what is
//! nested is known after it has been written.

const std = @import("std");
const Allocator = std.mem.Allocator;

/// Field says how a field of a struct is written.
pub const Field = struct {
    name: []const u8,
    number: u32,
    /// text is set for strings, which have to be UTF-8; bytes have the same type.
    text: bool = false,
    /// limit is the largest number of elements of a list.
    limit: u32 = 0,
};

/// DecodeError is why a message cannot be read.
pub const DecodeError = error{
    /// The input ends too early.
    Truncated,
    /// A varint has more than 64 bits.
    Overflow,
    /// Not a field number and wire type.
    BadTag,
    /// A string is not UTF-8.
    BadUtf8,
    /// More elements, or deeper nested, than the contract allows.
    LimitExceeded,
    /// No memory for lists and nested messages.
    OutOfMemory,
};

/// max_elements bounds the elements of all lists of a message, nested ones included.
pub const max_elements = 65_536;

/// decode reads a message. It points into bytes, and into what was allocated.
pub fn decode(comptime T: type, bytes: []const u8, allocator: Allocator) DecodeError!T {
    var reader: Reader = .{ .allocator = allocator };
    var x: T = .{};
    try reader.merge(T, &x, bytes);
    return x;
}

const Wire = enum(u3) { varint = 0, fixed64 = 1, bytes = 2, start_group = 3, end_group = 4, fixed32 = 5, _ };

/// Value is what stands behind a tag.
const Value = struct {
    number: u64 = 0,
    bytes: []const u8 = "",
};

const Reader = struct {
    allocator: Allocator,
    left: u32 = max_elements,

    /// merge adds what is in b, as a message that is there twice wants it.
    fn merge(r: *Reader, comptime T: type, x: *T, b: []const u8) DecodeError!void {
        // How many elements there is room for, behind those that a list has.
        var room: [listsBefore(T, T.wire.len)]u32 = @splat(0);
        var i: usize = 0;
        next: while (i < b.len) {
            const begin = i;
            const tag = try varint(b, &i);
            const v = try value(b, &i, tag);
            inline for (T.wire, 0..) |f, n| {
                const F = @FieldType(T, f.name);
                if (tag == comptime tagOf(F, f)) {
                    const at = &@field(x, f.name);
                    if (comptime isList(F)) {
                        if (comptime isPacked(F)) {
                            try r.unpack(std.meta.Elem(F), at, f, v.bytes);
                        } else {
                            if (room[comptime listsBefore(T, n)] == 0) {
                                // One more than the limit is enough to find that it is exceeded.
                                room[comptime listsBefore(T, n)] = @min(count(b[begin..], tag), f.limit + 1);
                                try r.reserve(std.meta.Elem(F), at, room[comptime listsBefore(T, n)]);
                            }
                            room[comptime listsBefore(T, n)] -= 1;
                            try r.add(std.meta.Elem(F), at, f, v);
                        }
                    } else if (comptime isMessage(F)) {
                        const M = @typeInfo(@typeInfo(F).optional.child).pointer.child;
                        const m = try r.allocator.create(M);
                        m.* = if (at.*) |old| old.* else .{};
                        try r.merge(M, m, v.bytes);
                        at.* = m;
                    } else {
                        at.* = try scalar(F, f, v);
                    }
                    continue :next;
                }
                if (comptime isList(F) and isPacked(F)) {
                    if (tag == comptime @as(u64, f.number) << 3 | @backingInt(wireOf(std.meta.Elem(F)))) {
                        const E = std.meta.Elem(F);
                        const at = &@field(x, f.name);
                        const list = try r.longer(E, at.*, 1, f);
                        list[list.len - 1] = try scalar(E, f, v);
                        at.* = list;
                        continue :next;
                    }
                }
            }
            if (!known(tag)) return error.BadTag;
        }
    }

    /// reserve makes room behind the end of a list.
    fn reserve(r: *Reader, comptime E: type, at: *[]const E, more: u32) DecodeError!void {
        const list = try r.allocator.alloc(E, at.len + more);
        @memcpy(list[0..at.len], at.*);
        at.* = list[0..at.len];
    }

    fn add(r: *Reader, comptime E: type, at: *[]const E, comptime f: Field, v: Value) DecodeError!void {
        try r.take(1);
        if (at.len >= f.limit) return error.LimitExceeded;
        // There is room behind the end: reserve has made it.
        const list = @as([*]E, @constCast(at.ptr))[0 .. at.len + 1];
        const last = &list[at.len];
        if (comptime isStruct(E)) {
            last.* = .{};
            try r.merge(E, last, v.bytes);
        } else {
            last.* = try scalar(E, f, v);
        }
        at.* = list;
    }

    /// unpack reads numbers that are written one after the other.
    fn unpack(r: *Reader, comptime E: type, at: *[]const E, comptime f: Field, b: []const u8) DecodeError!void {
        var i: usize = 0;
        while (i < b.len) {
            const v = try value(b, &i, @backingInt(comptime wireOf(E)));
            const list = try r.longer(E, at.*, 1, f);
            list[list.len - 1] = try scalar(E, f, v);
            at.* = list;
        }
    }

    /// longer copies a list of numbers, of which there are few.
    fn longer(r: *Reader, comptime E: type, old: []const E, more: u32, comptime f: Field) DecodeError![]E {
        try r.take(more);
        if (old.len + more > f.limit) return error.LimitExceeded;
        const list = try r.allocator.alloc(E, old.len + more);
        @memcpy(list[0..old.len], old);
        return list;
    }

    fn take(r: *Reader, n: u32) DecodeError!void {
        if (n > r.left) return error.LimitExceeded;
        r.left -= n;
    }
};

fn scalar(comptime F: type, comptime f: Field, v: Value) DecodeError!F {
    switch (F) {
        bool => return v.number != 0,
        u32 => return @truncate(v.number),
        u64 => return v.number,
        i64 => return @bitCast(v.number),
        f64 => return @bitCast(v.number),
        []const u8 => {
            if (f.text and !isText(v.bytes)) return error.BadUtf8;
            return v.bytes;
        },
        else => return @fromBackingInt(@intCast(@as(i32, @bitCast(@as(u32, @truncate(v.number)))))),
    }
}

/// value reads what stands behind a tag.
fn value(b: []const u8, i: *usize, tag: u64) DecodeError!Value {
    switch (@as(Wire, @fromBackingInt(@intCast(@as(u3, @truncate(tag)))))) {
        .varint => return .{ .number = try varint(b, i) },
        .fixed64 => {
            if (b.len - i.* < 8) return error.Truncated;
            defer i.* += 8;
            return .{ .number = std.mem.readInt(u64, b[i.*..][0..8], .little) };
        },
        .bytes => {
            const n = try varint(b, i);
            if (n > b.len - i.*) return error.Truncated;
            const size: usize = @intCast(n);
            defer i.* += size;
            return .{ .bytes = b[i.*..][0..size] };
        },
        .start_group => try skipGroup(b, i, tag, 1),
        .fixed32 => {
            if (b.len - i.* < 4) return error.Truncated;
            i.* += 4;
        },
        else => return error.BadTag,
    }
    return .{};
}

/// max_groups is how deep groups may nest in what is skipped. The contract has none.
const max_groups = 16;

fn skipGroup(b: []const u8, i: *usize, start: u64, depth: u32) DecodeError!void {
    if (depth > max_groups) return error.LimitExceeded;
    while (true) {
        const tag = try varint(b, i);
        switch (@as(Wire, @fromBackingInt(@intCast(@as(u3, @truncate(tag)))))) {
            .end_group => return if (tag == start + 1) {} else error.BadTag,
            .start_group => try skipGroup(b, i, tag, depth + 1),
            else => _ = try value(b, i, tag),
        }
        if (!known(tag)) return error.BadTag;
    }
}

/// known reports whether a tag has a field number that there can be.
fn known(tag: u64) bool {
    return (tag >> 3) -% 1 < (1 << 29) - 1;
}

/// firstField is the length of the first field of what a Writer has written.
pub fn firstField(b: []const u8) usize {
    var i: usize = 0;
    const tag = varint(b, &i) catch unreachable;
    _ = value(b, &i, tag) catch unreachable;
    return i;
}

/// count counts the values with a tag, up to the first that cannot be read.
fn count(b: []const u8, tag: u64) u32 {
    var n: u32 = 0;
    var i: usize = 0;
    while (i < b.len) {
        const t = varint(b, &i) catch break;
        _ = value(b, &i, t) catch break;
        if (t == tag) n += 1;
        if (n > max_elements) break;
    }
    return n;
}

inline fn varint(b: []const u8, i: *usize) DecodeError!u64 {
    if (i.* < b.len and b[i.*] < 0x80) {
        defer i.* += 1;
        return b[i.*];
    }
    return longVarint(b, i);
}

fn longVarint(b: []const u8, i: *usize) DecodeError!u64 {
    var v: u64 = 0;
    var shift: u7 = 0;
    while (shift < 64) : (shift += 7) {
        if (i.* >= b.len) return error.Truncated;
        const c = b[i.*];
        i.* += 1;
        if (shift == 63 and c > 1) return error.Overflow;
        v |= @as(u64, c & 0x7F) << @intCast(shift);
        if (c < 0x80) return v;
    }
    return error.Overflow;
}

/// isText reports whether b is UTF-8. Most strings are short and ASCII.
fn isText(b: []const u8) bool {
    var or_all: u64 = 0;
    var i: usize = 0;
    while (i + 8 <= b.len) : (i += 8) or_all |= std.mem.readInt(u64, b[i..][0..8], .little);
    while (i < b.len) : (i += 1) or_all |= b[i];
    if (or_all & 0x8080_8080_8080_8080 == 0) return true;
    return std.unicode.utf8ValidateSlice(b);
}

/// listsBefore counts the lists among the first n fields.
fn listsBefore(comptime T: type, comptime n: usize) usize {
    var lists: usize = 0;
    for (T.wire[0..n]) |f| lists += @intFromBool(isList(@FieldType(T, f.name)));
    return lists;
}

fn isList(comptime F: type) bool {
    return @typeInfo(F) == .pointer and F != []const u8;
}

/// isPacked is for lists of numbers, which are written without tags in between.
fn isPacked(comptime F: type) bool {
    const E = std.meta.Elem(F);
    return E != []const u8 and !isStruct(E);
}

fn isMessage(comptime F: type) bool {
    return @typeInfo(F) == .optional;
}

fn isStruct(comptime E: type) bool {
    return @typeInfo(E) == .@"struct";
}

fn wireOf(comptime F: type) Wire {
    return switch (F) {
        bool, u32, u64, i64 => .varint,
        f64 => .fixed64,
        else => if (@typeInfo(F) == .@"enum") .varint else .bytes,
    };
}

fn tagOf(comptime F: type, comptime f: Field) u64 {
    const wire = if (isList(F)) .bytes else wireOf(F);
    return @as(u64, f.number) << 3 | @backingInt(@as(Wire, wire));
}

/// Writer writes from the end of a buffer towards its beginning, and takes a larger one
/// when it is full.
pub const Writer = struct {
    buffer: []u8,
    /// at is where what has been written begins.
    at: usize,
    /// grow returns a buffer of at least as many bytes.
    grow: *const fn (size: usize) []u8,

    /// clear forgets what has been written.
    pub fn clear(w: *Writer) void {
        w.at = w.buffer.len;
    }

    /// written is valid until the writer is used again.
    pub fn written(w: *const Writer) []const u8 {
        return w.buffer[w.at..];
    }

    /// room returns n bytes before those that have been written.
    fn room(w: *Writer, n: usize) []u8 {
        if (n > w.at) {
            const old = w.written();
            const larger = w.grow(@max(2 * w.buffer.len, old.len + n));
            @memcpy(larger[larger.len - old.len ..], old);
            w.* = .{ .buffer = larger, .at = larger.len - old.len, .grow = w.grow };
        }
        w.at -= n;
        return w.buffer[w.at..][0..n];
    }

    /// bytes writes b as it is.
    pub fn bytes(w: *Writer, b: []const u8) void {
        @memcpy(w.room(b.len), b);
    }

    fn varint(w: *Writer, v: u64) void {
        const n = (64 - @clz(v | 1) + 6) / 7;
        var rest = v;
        for (w.room(n), 1..) |*b, i| {
            b.* = @as(u8, @truncate(rest & 0x7F)) | if (i < n) @as(u8, 0x80) else 0;
            rest >>= 7;
        }
    }

    /// number writes a varint with its tag before it.
    pub fn number(w: *Writer, tag: u64, v: u64) void {
        w.varint(v);
        w.varint(tag);
    }

    /// span writes length and tag before what has been written since the writer was at
    /// end bytes.
    pub fn span(w: *Writer, tag: u64, end: usize) void {
        w.number(tag, w.written().len - end);
    }

    /// text writes length and tag before b.
    pub fn text(w: *Writer, tag: u64, b: []const u8) void {
        w.bytes(b);
        w.number(tag, b.len);
    }

    /// message writes the fields of x.
    pub fn message(w: *Writer, comptime T: type, x: *const T) void {
        comptime var n = T.wire.len;
        inline while (n > 0) {
            n -= 1;
            const f = T.wire[n];
            const F = @FieldType(T, f.name);
            const tag = comptime tagOf(F, f);
            const v = &@field(x, f.name);
            if (comptime isList(F)) {
                w.list(std.meta.Elem(F), tag, v.*);
            } else if (comptime isMessage(F)) {
                if (v.*) |m| {
                    const end = w.written().len;
                    w.message(@TypeOf(m.*), m);
                    w.span(tag, end);
                }
            } else {
                w.field(F, tag, v.*);
            }
        }
    }

    fn list(w: *Writer, comptime E: type, tag: u64, elements: []const E) void {
        const last = w.written().len;
        var i = elements.len;
        while (i > 0) {
            i -= 1;
            const end = w.written().len;
            if (comptime isStruct(E)) {
                w.message(E, &elements[i]);
                w.span(tag, end);
            } else if (E == []const u8) {
                w.text(tag, elements[i]);
            } else if (E == f64) {
                std.mem.writeInt(u64, w.room(8)[0..8], @bitCast(elements[i]), .little);
            } else {
                w.varint(numberOf(E, elements[i]));
            }
        }
        if (comptime isPacked([]const E)) {
            if (elements.len > 0) w.span(tag, last);
        }
    }

    /// field writes a field that is not absent.
    fn field(w: *Writer, comptime F: type, tag: u64, v: F) void {
        if (F == []const u8) {
            if (v.len > 0) w.text(tag, v);
        } else if (F == f64) {
            const bits: u64 = @bitCast(v);
            if (bits == 0) return; // minus zero is not absent
            std.mem.writeInt(u64, w.room(8)[0..8], bits, .little);
            w.varint(tag);
        } else if (numberOf(F, v) != 0) {
            w.number(tag, numberOf(F, v));
        }
    }
};

fn numberOf(comptime F: type, v: F) u64 {
    return switch (F) {
        bool => @intFromBool(v),
        i64 => @bitCast(v),
        u32, u64 => v,
        else => @bitCast(@as(i64, @backingInt(v))),
    };
}

/// fieldTag is the tag of a field of T, by name.
pub fn fieldTag(comptime T: type, comptime name: []const u8) u64 {
    inline for (T.wire) |f| {
        if (comptime std.mem.eql(u8, f.name, name)) return comptime tagOf(@FieldType(T, name), f);
    }
    @compileError("no field " ++ name);
}
