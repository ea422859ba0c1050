//! A small reader of JSON (RFC 8259), for configs and payloads.

const std = @import("std");
const Allocator = std.mem.Allocator;

/// Value is a JSON value. Strings without escapes, and numbers, point into the text.
pub const Value = union(enum) {
    null,
    bool: bool,
    /// number is its text; see number.
    number: []const u8,
    string: []const u8,
    array: []const Value,
    object: []const Member,

    /// get is the value of a member of an object, null if there is none.
    pub fn get(v: Value, key: []const u8) ?Value {
        return if (v == .object) find(v.object, key) else null;
    }
};

/// Member is a member of an object.
pub const Member = struct { key: []const u8, value: Value };

fn find(members: []const Member, key: []const u8) ?Value {
    for (members) |m| {
        if (std.mem.eql(u8, m.key, key)) return m.value;
    }
    return null;
}

pub const Error = error{ NotJson, OutOfMemory };

/// max_depth is how deep values may nest.
const max_depth = 64;

/// parse reads a text. What it returns points into the text and to what was allocated.
pub fn parse(text: []const u8, allocator: Allocator) Error!Value {
    var p: Parser = .{ .text = text, .allocator = allocator };
    const v = try p.value(0);
    p.space();
    if (p.at != text.len) return error.NotJson;
    return v;
}

/// number reads the text of a number, exactly if it has up to 15 digits, and null if it
/// is none.
pub fn number(text: []const u8) ?f64 {
    var p: Parser = .{ .text = text, .allocator = undefined };
    _ = p.number() catch return null;
    if (p.at != text.len) return null;
    var mantissa: u64 = 0;
    var exponent: i32 = 0;
    var after_point = false;
    var rest = text;
    if (rest[0] == '-') rest = rest[1..];
    for (rest, 0..) |c, i| switch (c) {
        '.' => after_point = true,
        '0'...'9' => if (mantissa < 100_000_000_000_000_000) {
            mantissa = mantissa * 10 + (c - '0');
            if (after_point) exponent -= 1;
        } else if (!after_point) {
            exponent += 1;
        },
        else => {
            // One that is too large for an i32 makes 0 or infinity anyway.
            const far: i32 = if (rest[i + 1] == '-') -1_000_000 else 1_000_000;
            exponent +|= std.fmt.parseInt(i32, rest[i + 1 ..], 10) catch far;
            break;
        },
    };
    const v = scaled(@floatFromInt(mantissa), exponent);
    return if (text[0] == '-') -v else v;
}

/// print writes a number with up to so many digits behind the point (15 at most), without zeros at
/// the end; null if it is not finite or has more than 15 digits in all. The buffer needs 20 bytes.
pub fn print(buffer: []u8, v: f64, decimals: u4) ?[]const u8 {
    var unit: u64 = 1;
    for (0..decimals) |_| unit *= 10;
    const rounded = @round(@abs(v) * @as(f64, @floatFromInt(unit)));
    if (!(rounded < 1e15)) return null;
    var rest: u64 = @intFromFloat(rounded);
    const negative = v < 0 and rest > 0;
    var left: usize = decimals;
    while (left > 0 and rest % 10 == 0) : (left -= 1) rest /= 10;
    var at: usize = 20;
    while (rest > 0 or at == 20 or left > 0) {
        at -= 1;
        buffer[at] = '0' + @as(u8, @intCast(rest % 10));
        rest /= 10;
        if (left > 0) {
            left -= 1;
            if (left > 0) continue;
            at -= 1;
            buffer[at] = '.';
            if (rest == 0) {
                at -= 1;
                buffer[at] = '0';
            }
        }
    }
    if (negative) {
        at -= 1;
        buffer[at] = '-';
    }
    return buffer[at..20];
}

/// scaled is v times ten to a power.
fn scaled(v: f64, exponent: i32) f64 {
    var power: f64 = 1;
    var base: f64 = 10;
    var n = @min(@abs(exponent), 400);
    while (n > 0) : (n >>= 1) {
        if (n & 1 != 0) power *= base;
        base *= base;
    }
    return if (v == 0) 0 else if (exponent < 0) v / power else v * power;
}

const Parser = struct {
    text: []const u8,
    at: usize = 0,
    allocator: Allocator,

    fn peek(p: *const Parser) u8 {
        return if (p.at < p.text.len) p.text[p.at] else 0;
    }

    fn space(p: *Parser) void {
        while (std.mem.indexOfScalar(u8, " \t\r\n", p.peek()) != null and p.at < p.text.len) p.at += 1;
    }

    /// take passes over c and the space around it.
    fn take(p: *Parser, c: u8) bool {
        p.space();
        if (p.at >= p.text.len or p.text[p.at] != c) return false;
        p.at += 1;
        p.space();
        return true;
    }

    fn value(p: *Parser, depth: u32) Error!Value {
        if (depth > max_depth) return error.NotJson;
        p.space();
        switch (p.peek()) {
            '{' => return .{ .object = try p.object(depth) },
            '[' => return .{ .array = try p.array(depth) },
            '"' => return .{ .string = try p.string() },
            't' => return p.word("true", .{ .bool = true }),
            'f' => return p.word("false", .{ .bool = false }),
            'n' => return p.word("null", .null),
            else => return .{ .number = try p.number() },
        }
    }

    fn word(p: *Parser, text: []const u8, v: Value) Error!Value {
        if (!std.mem.startsWith(u8, p.text[p.at..], text)) return error.NotJson;
        p.at += text.len;
        return v;
    }

    fn array(p: *Parser, depth: u32) Error![]const Value {
        var list: std.ArrayList(Value) = .empty;
        _ = p.take('[');
        if (p.take(']')) return list.items;
        while (true) {
            try list.append(p.allocator, try p.value(depth + 1));
            if (p.take(']')) return list.items;
            if (!p.take(',')) return error.NotJson;
        }
    }

    fn object(p: *Parser, depth: u32) Error![]const Member {
        var list: std.ArrayList(Member) = .empty;
        _ = p.take('{');
        if (p.take('}')) return list.items;
        while (true) {
            if (p.peek() != '"') return error.NotJson;
            const key = try p.string();
            if (find(list.items, key) != null or !p.take(':')) return error.NotJson;
            try list.append(p.allocator, .{ .key = key, .value = try p.value(depth + 1) });
            if (p.take('}')) return list.items;
            if (!p.take(',')) return error.NotJson;
        }
    }

    fn number(p: *Parser) Error![]const u8 {
        const begin = p.at;
        if (p.peek() == '-') p.at += 1;
        if (p.peek() == '0') p.at += 1 else try p.digits();
        if (p.peek() == '.') {
            p.at += 1;
            try p.digits();
        }
        if (p.peek() | 0x20 == 'e') {
            p.at += 1;
            if (p.peek() == '+' or p.peek() == '-') p.at += 1;
            try p.digits();
        }
        return p.text[begin..p.at];
    }

    fn digits(p: *Parser) Error!void {
        const begin = p.at;
        while (p.peek() >= '0' and p.peek() <= '9') p.at += 1;
        if (p.at == begin) return error.NotJson;
    }

    fn string(p: *Parser) Error![]const u8 {
        const text = try p.unchecked();
        return if (std.unicode.utf8ValidateSlice(text)) text else error.NotJson;
    }

    fn unchecked(p: *Parser) Error![]const u8 {
        p.at += 1;
        const begin = p.at;
        while (p.at < p.text.len and p.text[p.at] != '"' and p.text[p.at] != '\\' and p.text[p.at] >= 0x20) p.at += 1;
        if (p.peek() == '"') {
            defer p.at += 1;
            return p.text[begin..p.at];
        }
        var out: std.ArrayList(u8) = .empty;
        try out.appendSlice(p.allocator, p.text[begin..p.at]);
        while (p.at < p.text.len) {
            const c = p.text[p.at];
            p.at += 1;
            switch (c) {
                '"' => return out.items,
                '\\' => try p.escape(&out),
                0...0x1F => return error.NotJson,
                else => try out.append(p.allocator, c),
            }
        }
        return error.NotJson;
    }

    fn escape(p: *Parser, out: *std.ArrayList(u8)) Error!void {
        const c = p.peek();
        p.at += 1;
        const plain: u8 = switch (c) {
            '"', '\\', '/' => c,
            'b' => 8,
            'f' => 12,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return p.unicode(out),
            else => return error.NotJson,
        };
        try out.append(p.allocator, plain);
    }

    /// unicode reads the digits behind \u, and the other half of a pair.
    fn unicode(p: *Parser, out: *std.ArrayList(u8)) Error!void {
        var c: u21 = try p.hex();
        if (c >= 0xD800 and c < 0xDC00 and std.mem.startsWith(u8, p.text[p.at..], "\\u")) {
            p.at += 2;
            const low = try p.hex();
            if (low < 0xDC00 or low >= 0xE000) return error.NotJson;
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        }
        var bytes: [4]u8 = undefined;
        const n = std.unicode.utf8Encode(c, &bytes) catch return error.NotJson; // half of a pair
        try out.appendSlice(p.allocator, bytes[0..n]);
    }

    fn hex(p: *Parser) Error!u21 {
        if (p.text.len - p.at < 4) return error.NotJson;
        var c: u21 = 0;
        for (p.text[p.at..][0..4]) |d| {
            c = c << 4 | (std.fmt.charToDigit(d, 16) catch return error.NotJson);
        }
        p.at += 4;
        return c;
    }
};
