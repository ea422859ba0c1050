//! Keeps measured values within a range, and converts them. README.md says what for.
const std = @import("std");
const patchbay = @import("patchbay");
const json = patchbay.json;
const v1 = patchbay.v1;
pub const panic = patchbay.panic;

pub const manifest: patchbay.Manifest = .{
    .name = "filter-zig",
    .version = "1.0.0",
    .description = "Keeps measured values within a range, and converts them.",
    .hooks = &.{
        .{ .point = .intercept_publish, .failure = .deny },
        .{ .point = .intercept_will, .failure = .drop },
    },
};

pub const Config = struct {
    rules: []const Rule,

    pub const doc = .{ .rules = "The first one whose topic matches counts. Other topics pass." };
};

const Rule = struct {
    topic: []const u8,
    member: []const u8 = "",
    min: ?f64 = null,
    max: ?f64 = null,
    outside: Fate = .drop,
    unreadable: Fate = .drop,
    scale: f64 = 1,
    offset: f64 = 0,
    decimals: u4 = 3,

    pub const doc = .{
        .topic = "Topic Filter of the messages.",
        .member = "Member of a JSON object that has the value. Absent: the payload is the value.",
        .min = "Smallest value that may pass, as it is measured.",
        .max = "Largest value that may pass.",
        .outside = "What becomes of a message whose value is smaller or larger.",
        .unreadable = "What becomes of a message without a value; clamp lets it pass.",
        .scale = "The value is multiplied by this,",
        .offset = "and this is added.",
        .decimals = "Digits behind the point of a value that was changed.",
    };
};

/// Fate is what becomes of a message that is not as it should be.
const Fate = enum { drop, deny, clamp };

var rules: []const Rule = &.{};

pub fn start(c: Config) !void {
    for (c.rules, 0..) |r, i| {
        if (r.min != null and r.max != null and r.min.? > r.max.?) {
            return patchbay.problem(patchbay.pointer(.{ "rules", i, "min" }), "must not be larger than max");
        }
    }
    rules = c.rules;
}
pub const configure = start;

/// narrow asks for the topics of the rules alone: other messages cost nothing.
pub fn narrow() ?v1.Narrowed {
    const filters = patchbay.arena.alloc([]const u8, rules.len) catch return null;
    for (filters, rules) |*f, r| f.* = r.topic;
    const hooks = patchbay.arena.dupe(v1.Hook, manifest.hooks) catch return null;
    for (hooks) |*h| h.topic_filters = filters;
    return .{ .hooks = if (rules.len > 0) hooks else &.{} };
}

pub fn publish(r: *patchbay.PublishRequest) !patchbay.Decision {
    const rule = ruleOf(r.message.topic) orelse return patchbay.proceed;
    const text = valueIn(rule, r.message.payload) orelse return fate(rule.unreadable, "no value");
    const measured = json.number(text) orelse return fate(rule.unreadable, "no value");
    const low = rule.min orelse measured;
    const high = rule.max orelse measured;
    if ((measured < low or measured > high) and rule.outside != .clamp) {
        return fate(rule.outside, "value out of range");
    }
    const value = @min(@max(measured, low), high) * rule.scale + rule.offset;
    if (value == measured) return patchbay.proceed;

    var digits: [20]u8 = undefined;
    const written = json.print(&digits, value, rule.decimals) orelse return fate(rule.unreadable, "value too large");
    const before = @intFromPtr(text.ptr) - @intFromPtr(r.message.payload.ptr);
    r.setPayload(try std.mem.concat(patchbay.arena, u8, &.{
        r.message.payload[0..before], written, r.message.payload[before + text.len ..],
    }));
    return patchbay.proceed;
}

/// will is publish for Will Messages, which can be dropped but not denied.
pub fn will(r: *patchbay.PublishRequest) !patchbay.Decision {
    const d = try publish(r);
    return if (d.action == .deny) patchbay.drop(d.reason) else d;
}

fn fate(f: Fate, why: []const u8) patchbay.Decision {
    return switch (f) {
        .drop => patchbay.drop(why),
        .deny => patchbay.deny(patchbay.reason.payload_format_invalid, why),
        .clamp => patchbay.proceed,
    };
}

fn ruleOf(topic: []const u8) ?*const Rule {
    for (rules) |*r| {
        if (patchbay.topic.matches(r.topic, topic)) return r;
    }
    return null;
}

/// valueIn is the text of the value in a payload.
fn valueIn(rule: *const Rule, payload: []const u8) ?[]const u8 {
    if (rule.member.len == 0) return std.mem.trim(u8, payload, " \t\r\n");
    const whole = json.parse(payload, patchbay.arena) catch return null;
    const v = whole.get(rule.member) orelse return null;
    return if (v == .number) v.number else null;
}

comptime {
    patchbay.plugin(@This());
}
