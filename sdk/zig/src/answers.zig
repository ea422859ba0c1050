//! Writes answers.

const std = @import("std");
const abi = @import("abi.zig");
const decision = @import("decision.zig");
const failure = @import("failure.zig");
const host = @import("host_calls.zig");
const memory = @import("memory.zig");
const requests = @import("requests.zig");
const v1 = @import("v1.zig");
const wire = @import("wire.zig");

const Decision = decision.Decision;
const tag = wire.fieldTag;

/// writer has the answer to the call under way.
pub var writer: wire.Writer = .{ .buffer = &.{}, .at = 0, .grow = memory.buffer };

/// spare is what verdicts are put into the order of their events with.
var spare: wire.Writer = .{ .buffer = &.{}, .at = 0, .grow = memory.buffer };

/// Changes are what a hook wants changed beside its decision.
pub const Changes = struct {
    message: ?*const requests.PublishRequest = null,
    filters: ?*const requests.Encoded = null,

    fn any(c: Changes) bool {
        return c.message != null or c.filters != null;
    }
};

/// Verdicts is the answer to a batch.
pub const Verdicts = struct {
    batch: *const v1.Batch,
    /// policy answers for events that fail while others do not.
    policy: v1.FailurePolicy,
    count: usize = 0,
    /// failed are the events that have failed; text is of the first.
    failed: std.ArrayList(usize) = .empty,
    text: []const u8 = "",

    /// add notes what was decided about the i-th event.
    pub fn add(v: *Verdicts, i: usize, decided: anyerror!Decision, changes: Changes) void {
        var d = decided catch |err| return v.fail(i, err);
        if (d.action == .@"continue" and changes.any()) d.action = .replace;
        if (!permits(v.batch.point, d.action)) {
            return v.fail(i, failure.fail("this decision is not possible at this point"));
        }
        if (d.action == .@"continue") return;
        const before = writer.written().len;
        verdict(&writer, d, if (d.action == .replace or d.action == .allow) changes else .{});
        if (i > 0) writer.number(tag(v1.Verdict, "event"), i);
        writer.span(tag(v1.Answer, "verdicts"), before);
        v.count += 1;
    }

    fn fail(v: *Verdicts, i: usize, err: anyerror) void {
        if (v.failed.items.len == 0) v.text = failure.textOf(err);
        v.failed.append(memory.arena, i) catch @panic("out of memory");
    }

    fn fallback(v: *const Verdicts) Decision {
        var policy = v.policy;
        if (policy == .default) policy = switch (v.batch.point) {
            .authenticate, .permit, .authorize_publish, .authorize_subscribe, .authorize_receive, .gate_publish => .deny,
            else => .@"continue",
        };
        if (policy == .deny and permits(v.batch.point, .deny)) return decision.deny(decision.reason.implementation_error, "");
        if (policy != .@"continue" and permits(v.batch.point, .drop)) return decision.drop("the plugin has failed");
        return decision.proceed;
    }

    /// end deals with what has failed. If all of the batch did, the host shall know.
    pub fn end(v: *Verdicts) anyerror!void {
        const failed = v.failed.items;
        if (failed.len > 0 and failed.len == v.batch.events.len) return failure.fail(v.text);
        if (failed.len > 0) {
            // Policies are made of actions that their point has.
            const d = v.fallback();
            for (failed) |i| if (d.action != .@"continue") v.add(i, d, .{});
            abi.log(@backingInt(v1.LogLevel.@"error"), v.text);
        }
        if (v.count > 1) reverse();
    }
};

/// reverse turns verdicts round, which were written from the end of the buffer as they came.
fn reverse() void {
    spare.clear();
    var rest = writer.written();
    while (rest.len > 0) {
        const n = wire.firstField(rest);
        spare.bytes(rest[0..n]);
        rest = rest[n..];
    }
    std.mem.swap(wire.Writer, &writer, &spare);
}

/// verdict writes all of a v1.Verdict but the event.
fn verdict(w: *wire.Writer, d: Decision, changes: Changes) void {
    if (d.cache_ttl_ms != 0) w.number(tag(v1.Verdict, "cache_ttl_ms"), d.cache_ttl_ms);
    if (d.auth) |auth| w.text(tag(v1.Verdict, "auth"), auth);
    all(w, tag(v1.Verdict, "filters"), changes.filters);
    if (changes.message) |r| {
        all(w, tag(v1.Verdict, "additional"), r.additional);
        if (r.changed != 0) {
            const end = w.written().len;
            w.message(v1.Message, &r.change);
            w.span(tag(v1.Verdict, "replacement"), end);
            w.number(tag(v1.Verdict, "changed"), r.changed);
        }
    }
    if (d.reason.len > 0) w.text(tag(v1.Verdict, "reason"), d.reason);
    if (d.reason_code != 0) w.number(tag(v1.Verdict, "reason_code"), d.reason_code);
    w.number(tag(v1.Verdict, "action"), @intCast(@backingInt(d.action)));
}

fn all(w: *wire.Writer, t: u64, list: ?*const requests.Encoded) void {
    var next = list;
    while (next) |one| : (next = one.before) w.text(t, one.bytes);
}

/// complete says what was put off with `later`: event is that of the request.
pub fn complete(event: u64, d: Decision) !void {
    var completion: v1.Completion = .{ .event_id = event };
    var v: v1.Verdict = .{
        .action = d.action,
        .reason_code = d.reason_code,
        .reason = d.reason,
        .cache_ttl_ms = d.cache_ttl_ms,
    };
    var auth: v1.AuthResult = undefined;
    if (d.auth) |bytes| {
        auth = try wire.decode(v1.AuthResult, bytes, memory.arena);
        v.auth = &auth;
    }
    completion.verdict = &v;
    _ = try host.complete(.{ .completions = &.{completion} });
}

/// permits reports whether a verdict at a point may have an action.
pub fn permits(point: v1.Point, action: v1.Action) bool {
    const n = @backingInt(action);
    if (n < 0 or n > 7) return false;
    const set: []const v1.Action = switch (point) {
        .authenticate => &.{ .allow, .deny, .challenge, .disconnect, .@"defer" },
        .authorize_publish, .authorize_subscribe => &.{ .allow, .deny, .disconnect, .@"defer" },
        .authorize_receive => &.{ .allow, .deny },
        .intercept_publish => &.{ .allow, .deny, .replace, .drop, .disconnect, .@"defer" },
        .intercept_subscribe, .intercept_unsubscribe => &.{ .allow, .deny, .replace, .disconnect, .@"defer" },
        .intercept_will => &.{ .allow, .replace, .drop, .@"defer" },
        .intercept_deliver => &.{ .allow, .replace, .drop },
        .permit, .gate_publish => &.{ .allow, .deny, .@"defer" },
        else => &.{},
    };
    for (set) |a| {
        if (a == action) return true;
    }
    return action == .@"continue";
}

/// consumed writes what has become of a batch of a consumer; failed is why all of it has
/// not been dealt with.
pub fn consumed(c: *const requests.ConsumeBatch, failed: ?[]const u8) void {
    const deliveries = c.batch.deliveries;
    if (failed) |text| writer.text(tag(v1.ConsumeResult, "error"), failure.cut(text));
    var i = deliveries.len;
    while (i > 0) {
        i -= 1;
        var result = c.marks[i];
        if (result.outcome == .unspecified or (result.outcome == .ok and failed == null)) continue;
        result.offset = deliveries[i].offset;
        result.reason = failure.cut(result.reason);
        const end = writer.written().len;
        writer.message(v1.DeliveryResult, &result);
        writer.span(tag(v1.ConsumeResult, "results"), end);
    }
    if (failed == null and deliveries.len > 0) {
        writer.number(tag(v1.ConsumeResult, "acknowledged_offset"), deliveries[deliveries.len - 1].offset);
    }
}
