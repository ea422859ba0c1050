//! Tests of what needs no host, run where they are compiled: zig test src/test.zig

const std = @import("std");
const json = @import("json.zig");
const topic = @import("topic.zig");
const expect = std.testing.expect;

test "numbers are read" {
    const cases = .{
        .{ "0", 0.0 },         .{ "-0", -0.0 }, .{ "1", 1.0 },                 .{ "-12.5", -12.5 }, .{ "1e3", 1000.0 },
        .{ "1.5E-3", 0.0015 }, .{ "0.1", 0.1 }, .{ "123456.789", 123456.789 }, .{ "1e300", 1e300 }, .{ "0e999999999999", 0.0 },
    };
    inline for (cases) |c| try std.testing.expectApproxEqRel(@as(f64, c[1]), json.number(c[0]).?, 1e-15);
    for ([_][]const u8{ "", "-", ".5", "5.", "1e", "01", "+1", "NaN", "0x1", "1 " }) |bad| {
        try expect(json.number(bad) == null);
    }
    try expect(std.math.isInf(json.number("1e400").?));
    try expect(std.math.isInf(json.number("1e99999999999999999999").?));
}

test "numbers are written" {
    var b: [20]u8 = undefined;
    const cases = .{
        .{ 0.0, 3, "0" },       .{ -0.0004, 3, "0" },    .{ 1.0, 3, "1" },                                 .{ -12.5, 3, "-12.5" },
        .{ 0.05, 2, "0.05" },   .{ 0.5, 0, "1" },        .{ 1234.5678, 2, "1234.57" },                     .{ 99.999, 2, "100" },
        .{ 1000.0, 2, "1000" }, .{ -0.25, 15, "-0.25" }, .{ 999_999_999_999_999.0, 0, "999999999999999" },
    };
    inline for (cases) |c| try std.testing.expectEqualStrings(c[2], json.print(&b, c[0], c[1]).?);
    try expect(json.print(&b, 1e15, 0) == null);
    try expect(json.print(&b, std.math.inf(f64), 0) == null);
    try expect(json.print(&b, std.math.nan(f64), 0) == null);
}

test "what was written is read as the same" {
    var rnd = std.Random.DefaultPrng.init(1);
    var b: [20]u8 = undefined;
    for (0..10_000) |_| {
        const whole: f64 = @floatFromInt(rnd.random().intRangeAtMost(i64, -999_999_999_999, 999_999_999_999));
        const text = json.print(&b, whole / 1000, 3).?;
        try std.testing.expectEqual(whole / 1000, json.number(text).?);
    }
}

test "values are read" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const a = arena.allocator();
    const v = try json.parse(" {\"a\": [1, true ,null,{}], \"b\\u00e4\\ud83d\\ude42\\n\":\"x\"} ", a);
    try std.testing.expectEqualStrings("x", v.get("b\u{e4}\u{1f642}\n").?.string);
    try expect(v.get("a").?.array.len == 4);
    try expect(v.get("c") == null);
    const broken = [_][]const u8{
        "",                  "{",         "[1,]", "{\"a\":1,}", "{a:1}",   "[1 2]", "\"x",  "\"\\x\"", "\"\\u12\"",       "tru",         "nul",
        "1 1",               "{\"a\" 1}", "[",    "\"\x01\"",   "{\"a\":", "--1",   "[1]]", "'a'",     "\"\\ud800\\u1\"", "\"\\ud800\"", "\"\xff\"",
        "{\"a\":1,\"a\":1}",
    };
    for (broken) |text| try std.testing.expectError(error.NotJson, json.parse(text, a));
    var deep: [200]u8 = @splat('[');
    try std.testing.expectError(error.NotJson, json.parse(&deep, a));
}

test "no text is too odd" {
    var rnd = std.Random.DefaultPrng.init(2);
    const letters = "{}[]\",:\\u0e1-.tn \x00\xff";
    for (0..20_000) |_| {
        var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
        defer arena.deinit();
        var text: [24]u8 = undefined;
        for (&text) |*c| c.* = letters[rnd.random().uintLessThan(usize, letters.len)];
        _ = json.parse(text[0..rnd.random().uintAtMost(usize, text.len)], arena.allocator()) catch continue;
    }
}

test "filters match" {
    const yes = .{ .{ "a/b", "a/b" }, .{ "#", "a" }, .{ "a/#", "a" }, .{ "a/#", "a/b/c" }, .{ "+/b", "a/b" }, .{ "+", "" }, .{ "a/+", "a/" }, .{ "$SYS/#", "$SYS/x" } };
    inline for (yes) |c| try expect(topic.matches(c[0], c[1]));
    const no = .{ .{ "a", "b" }, .{ "a", "a/b" }, .{ "a/b", "a" }, .{ "a/+", "a" }, .{ "+", "a/b" }, .{ "#", "$SYS" }, .{ "+/x", "$SYS/x" }, .{ "a/#", "ab" } };
    inline for (no) |c| try expect(!topic.matches(c[0], c[1]));
}
