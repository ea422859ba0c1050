//! Reads a config into a struct of the plugin, and makes the JSON Schema of it.
//!
//! Fields may be bool, integers, f64, strings, enums, structs, slices and optionals of
//! these, Duration, Size, Secret, and json.Value for what is free. A field without a default is required.
//! `pub const doc = .{ .field = "…" }` in a struct describes its fields. What is read
//! lasts: it is on the heap.

const std = @import("std");
const failure = @import("failure.zig");
const json = @import("json.zig");
const memory = @import("memory.zig");

const Unit = struct { []const u8, u64 };

/// Duration is written as "250ms", "30s", "1h30m" or "7d".
pub const Duration = struct {
    ms: u64,

    fn parse(text: []const u8) ?Duration {
        const units = [_]Unit{ .{ "ms", 1 }, .{ "s", 1000 }, .{ "m", 60_000 }, .{ "h", 3_600_000 }, .{ "d", 86_400_000 } };
        var rest = text;
        var ms: u64 = 0;
        if (std.mem.eql(u8, text, "0")) return .{ .ms = 0 };
        while (rest.len > 0) {
            const n = prefixNumber(&rest) orelse return null;
            const unit = for (units) |u| { // "ms" before "m"
                if (std.mem.startsWith(u8, rest, u[0])) {
                    rest = rest[u[0].len..];
                    break u[1];
                }
            } else return null;
            ms = std.math.add(u64, ms, std.math.mul(u64, n, unit) catch return null) catch return null;
        }
        return if (text.len > 0) .{ .ms = ms } else null;
    }
};

/// Size is a number of bytes, written as "64KiB", "10MB" or a plain number.
pub const Size = struct {
    bytes: u64,

    fn parse(text: []const u8) ?Size {
        const units = [_]Unit{
            .{ "", 1 },          .{ "B", 1 },     .{ "KiB", 1 << 10 }, .{ "MiB", 1 << 20 },
            .{ "GiB", 1 << 30 }, .{ "KB", 1000 }, .{ "MB", 1000_000 }, .{ "GB", 1000_000_000 },
        };
        var rest = text;
        const n = prefixNumber(&rest) orelse return null;
        rest = std.mem.trim(u8, rest, " ");
        for (units) |u| {
            if (std.mem.eql(u8, rest, u[0])) return .{ .bytes = std.math.mul(u64, n, u[1]) catch return null };
        }
        return null;
    }
};

fn prefixNumber(rest: *[]const u8) ?u64 {
    var i: usize = 0;
    while (i < rest.len and rest.*[i] >= '0' and rest.*[i] <= '9') i += 1;
    defer rest.* = rest.*[i..];
    return std.fmt.parseInt(u64, rest.*[0..i], 10) catch null;
}

/// Secret is a text that the host never shows.
pub const Secret = struct { text: []const u8 };

/// read makes a T of a config. What is wrong with it is noted as problems, and then the
/// error is Problem.
pub fn read(comptime T: type, text: []const u8) error{ Failed, Problem }!T {
    const whole = if (text.len == 0) "{}" else text;
    const v = json.parse(whole, memory.arena) catch return failure.fail("the config is not JSON");
    const before = failure.problems().len;
    const c = value(T, v, "");
    if (failure.problems().len > before) return error.Problem;
    return c orelse error.Problem;
}

/// value is null where there is a problem.
fn value(comptime T: type, v: json.Value, path: []const u8) ?T {
    if (T == json.Value) return kept(v);
    if (T == Duration or T == Size) {
        const what = if (T == Duration) "a duration as \"30s\", \"1h30m\" or \"7d\"" else "a size as \"64KiB\", \"10MB\" or a number of bytes";
        const parsed: ?T = switch (v) {
            .string => |s| T.parse(s),
            .number => |s| if (T == Size) T.parse(s) else null,
            else => null,
        };
        return parsed orelse wrong(T, path, "must be " ++ what);
    }
    if (T == Secret) return .{ .text = value([]const u8, v, path) orelse return null };
    if (T == []const u8) return switch (v) {
        .string => |s| keep(s),
        else => wrong(T, path, "must be a string"),
    };
    switch (@typeInfo(T)) {
        .bool => return if (v == .bool) v.bool else wrong(T, path, "must be true or false"),
        .int => return if (v == .number) std.fmt.parseInt(T, v.number, 10) catch
            wrong(T, path, "must be an integer " ++ comptime range(T)) else wrong(T, path, "must be an integer"),
        .float => return if (v == .number) json.number(v.number) else wrong(T, path, "must be a number"),
        .optional => |o| return if (v == .null) @as(T, null) else value(o.child, v, path) orelse @as(?T, null),
        .@"enum" => {
            if (v == .string) if (std.meta.stringToEnum(T, v.string)) |e| return e;
            return wrong(T, path, "must be one of " ++ comptime names(T));
        },
        .pointer => {
            if (v != .array) return wrong(T, path, "must be a list");
            const E = std.meta.Elem(T);
            const list = memory.heap.alloc(E, v.array.len) catch @panic("out of memory");
            var whole = true;
            for (list, v.array, 0..) |*e, item, i| {
                if (value(E, item, element(path, i))) |x| e.* = x else whole = false;
            }
            return if (whole) list else null;
        },
        .@"struct" => return object(T, v, path),
        else => @compileError("a config cannot have " ++ @typeName(T)),
    }
}

fn object(comptime T: type, v: json.Value, path: []const u8) ?T {
    if (v != .object) return wrong(T, path, "must be an object");
    const defaults = comptime Defaults(T);
    var out: T = undefined;
    var whole = true;
    for (v.object) |m| {
        if (!hasField(T, m.key)) {
            failure.addProblem(below(path, m.key), "unknown key");
            whole = false;
        }
    }
    inline for (comptime std.meta.fieldNames(T)) |name| {
        const F = @FieldType(T, name);
        if (v.get(name)) |given| {
            if (value(F, given, below(path, name))) |x| @field(out, name) = x else whole = false;
        } else if (comptime defaults.has(name)) {
            @field(out, name) = comptime defaults.get(F, name);
        } else {
            failure.addProblem(below(path, name), "is required");
            whole = false;
        }
    }
    return if (whole) out else null;
}

fn hasField(comptime T: type, key: []const u8) bool {
    inline for (comptime std.meta.fieldNames(T)) |name| {
        if (std.mem.eql(u8, key, name)) return true;
    }
    return false;
}

/// Defaults are the defaults of a struct's fields.
fn Defaults(comptime T: type) type {
    const info = @typeInfo(T).@"struct";
    return struct {
        fn has(comptime name: []const u8) bool {
            return info.field_attrs[index(name)].default_value_ptr != null;
        }
        fn get(comptime F: type, comptime name: []const u8) F {
            return info.field_attrs[index(name)].defaultValue(F).?;
        }
        fn index(comptime name: []const u8) usize {
            for (info.field_names, 0..) |n, i| {
                if (std.mem.eql(u8, n, name)) return i;
            }
            unreachable;
        }
    };
}

fn wrong(comptime T: type, path: []const u8, text: []const u8) ?T {
    failure.addProblem(path, text);
    return null;
}

/// below is the JSON Pointer of what a value has under a key.
fn below(path: []const u8, key: []const u8) []const u8 {
    var out: std.ArrayList(u8) = .empty;
    add(&out, path);
    add(&out, "/");
    for (key) |c| switch (c) {
        '~' => add(&out, "~0"),
        '/' => add(&out, "~1"),
        else => add(&out, &.{c}),
    };
    return out.items;
}

/// pointer makes a JSON Pointer of keys and indices: pointer(.{ "rules", 3, "min" }).
pub fn pointer(parts: anytype) []const u8 {
    var path: []const u8 = "";
    inline for (parts) |part| {
        path = switch (@typeInfo(@TypeOf(part))) {
            .int, .comptime_int => element(path, part),
            else => below(path, part),
        };
    }
    return path;
}

/// element is the JSON Pointer of an element of the list that path points to.
fn element(path: []const u8, i: usize) []const u8 {
    var digits: [20]u8 = undefined;
    return below(path, json.print(&digits, @floatFromInt(i), 0).?);
}

fn add(out: *std.ArrayList(u8), text: []const u8) void {
    out.appendSlice(memory.arena, text) catch @panic("out of memory");
}

fn keep(text: []const u8) []const u8 {
    return memory.heap.dupe(u8, text) catch @panic("out of memory");
}

/// kept copies a value to where it lasts.
fn kept(v: json.Value) json.Value {
    switch (v) {
        .null, .bool => return v,
        .number => |s| return .{ .number = keep(s) },
        .string => |s| return .{ .string = keep(s) },
        .array => |list| {
            const out = memory.heap.alloc(json.Value, list.len) catch @panic("out of memory");
            for (out, list) |*o, item| o.* = kept(item);
            return .{ .array = out };
        },
        .object => |list| {
            const out = memory.heap.alloc(json.Member, list.len) catch @panic("out of memory");
            for (out, list) |*o, m| o.* = .{ .key = keep(m.key), .value = kept(m.value) };
            return .{ .object = out };
        },
    }
}

fn range(comptime T: type) []const u8 {
    return std.fmt.comptimePrint("from {d} to {d}", .{ std.math.minInt(T), std.math.maxInt(T) });
}

fn names(comptime T: type) []const u8 {
    var text: []const u8 = "";
    for (std.meta.fieldNames(T), 0..) |name, i| text = text ++ (if (i > 0) ", " else "") ++ "\"" ++ name ++ "\"";
    return text;
}

/// schema is the JSON Schema (2020-12) of a struct.
pub fn schema(comptime T: type) []const u8 {
    return comptime "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\"," ++ members(T) ++ "}";
}

fn members(comptime T: type) []const u8 {
    const defaults = Defaults(T);
    var properties: []const u8 = "";
    var required: []const u8 = "";
    for (std.meta.fieldNames(T)) |name| {
        if (properties.len > 0) properties = properties ++ ",";
        properties = properties ++ quoted(name) ++ ":{" ++ typed(@FieldType(T, name));
        if (@hasDecl(T, "doc") and @hasField(@TypeOf(T.doc), name)) {
            const sep = if (@FieldType(T, name) == json.Value) "" else ",";
            properties = properties ++ sep ++ "\"description\":" ++ quoted(@field(T.doc, name));
        }
        properties = properties ++ "}";
        if (!defaults.has(name)) required = required ++ (if (required.len > 0) "," else "") ++ quoted(name);
    }
    return "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{" ++ properties ++ "}" ++
        (if (required.len > 0) ",\"required\":[" ++ required ++ "]" else "");
}

fn typed(comptime T: type) []const u8 {
    if (T == json.Value) return "";
    if (T == Duration) return "\"type\":\"string\",\"pattern\":\"^([0-9]+(ms|s|m|h|d))+$|^0$\"";
    if (T == Size) return "\"type\":[\"string\",\"integer\"],\"minimum\":0,\"pattern\":\"^[0-9]+ ?([KMG]i?B|B)?$\"";
    if (T == Secret) return "\"type\":\"string\",\"writeOnly\":true";
    if (T == []const u8) return "\"type\":\"string\"";
    return switch (@typeInfo(T)) {
        .bool => "\"type\":\"boolean\"",
        .int => std.fmt.comptimePrint("\"type\":\"integer\",\"minimum\":{d},\"maximum\":{d}", .{ std.math.minInt(T), std.math.maxInt(T) }),
        .float => "\"type\":\"number\"",
        .optional => |o| typed(o.child),
        .@"enum" => blk: {
            var list: []const u8 = "";
            for (std.meta.fieldNames(T)) |name| list = list ++ (if (list.len > 0) "," else "") ++ quoted(name);
            break :blk "\"type\":\"string\",\"enum\":[" ++ list ++ "]";
        },
        .pointer => "\"type\":\"array\",\"items\":{" ++ typed(std.meta.Elem(T)) ++ "}",
        .@"struct" => members(T),
        else => @compileError("a config cannot have " ++ @typeName(T)),
    };
}

fn quoted(comptime text: []const u8) []const u8 {
    var out: []const u8 = "\"";
    for (text) |c| {
        out = out ++ switch (c) {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            else => &[_]u8{c},
        };
    }
    return out ++ "\"";
}
