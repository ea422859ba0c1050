//! The test plugin of sdk/internal/testplugin, in Zig: what it does with an event is said
//! by user names, topics and payloads.
const std = @import("std");
const patchbay = @import("patchbay");
const v1 = patchbay.v1;
const eql = std.mem.eql;
pub const panic = patchbay.panic;

pub const manifest: patchbay.Manifest = .{
    .name = "testplugin",
    .version = "1.2.3",
    .description = "Tests the SDK.",
    .hooks = &.{
        .{ .point = .intercept_publish, .fields = v1.Field.payload | v1.Field.properties, .failure = .drop },
        .{ .point = .connected },
        .{ .point = .tick },
    },
    .consumers = &.{.{ .name = "all", .topic_filters = &.{"#"}, .max_attempts = 3, .fields = v1.Field.payload }},
    .http_routes = &.{.{ .path = "seen", .description = "Which clients have connected." }},
    .instances = 1,
    .grants = &.{
        .{ .name = "publish", .reason = "Tells of clients." },
        .{ .name = "kv", .reason = "Remembers clients." },
    },
};

pub const Config = struct {
    password: patchbay.Secret,
    prefix: []const u8 = "ok/",
    ttl: patchbay.Duration = .{ .ms = 60_000 },
};
var config: Config = undefined;
/// waiting is the event that was put off.
var waiting: ?u64 = null;

pub fn start(c: Config) !void {
    try configure(c);
    patchbay.log(.info, "started");
}

pub fn configure(c: Config) !void {
    if (eql(u8, c.password.text, "password")) {
        return patchbay.problem("/password", "must not be the first that everybody tries");
    }
    config = c;
}

pub fn health() v1.HealthResponse {
    if (eql(u8, config.prefix, "ill/")) return .{ .status = .degraded, .message = "ill" };
    return .{};
}

pub fn stop(_: v1.StopReason) void {
    patchbay.log(.info, "stopped");
}

pub fn authenticate(r: *patchbay.AuthRequest) !patchbay.Decision {
    const user = r.client.username;
    if (eql(u8, user, "panic")) @panic("asked for it");
    if (eql(u8, user, "fail")) return patchbay.fail("asked for it");
    if (eql(u8, user, "banned")) return patchbay.refuse(patchbay.reason.banned, "not you");
    if (eql(u8, user, "other")) return patchbay.proceed;
    if (eql(u8, user, "later")) {
        _ = try patchbay.host.setTimer(.{ .name = "later", .delay_ms = 1000 });
        waiting = r.event;
        return patchbay.later;
    }
    if (eql(u8, r.packet.method, "twice")) {
        if (r.packet.step == 0) {
            const text = try std.mem.concat(patchbay.arena, u8, &.{ "say ", r.client.client_id });
            return patchbay.challenge(text, r.client.client_id);
        }
        if (eql(u8, r.packet.data, r.packet.state)) return patchbay.accept(.{ .username = "twice" });
    }
    if (!eql(u8, r.packet.password, config.password.text)) {
        return patchbay.refuse(patchbay.reason.bad_user_name_or_password, "wrong password");
    }
    return patchbay.accept(.{
        .has_permissions = true,
        .permissions = &.{.{
            .allow = true,
            .actions = v1.Access.publish | v1.Access.subscribe,
            .topic_filter = try std.mem.concat(patchbay.arena, u8, &.{ config.prefix, "#" }),
            .ttl_ms = config.ttl.ms,
        }},
        .attributes = &.{.{ .name = "instance", .value = patchbay.started.request.name }},
    });
}

pub fn permit(r: *patchbay.PermitRequest) !patchbay.Decision {
    if (eql(u8, r.client.username, "fail")) return patchbay.fail("asked for it");
    if (eql(u8, r.client.username, "banned")) return patchbay.refuse(patchbay.reason.banned, "not you");
    for (r.client.attributes) |a| {
        if (!eql(u8, a.name, "group")) continue;
        return patchbay.permit(&.{.{
            .allow = true,
            .actions = v1.Access.publish,
            .topic_filter = try std.mem.concat(patchbay.arena, u8, &.{ a.value, "/", r.client.username, "/#" }),
            .retain = .not_retained,
        }});
    }
    return patchbay.proceed;
}

pub fn authorize(r: *patchbay.AuthorizeRequest) patchbay.Decision {
    if (std.mem.startsWith(u8, r.topic, "secret/")) return patchbay.deny(0, "secret").cached(60_000);
    if (r.access == v1.Access.publish and r.retain) return patchbay.deny(patchbay.reason.quota_exceeded, "");
    return patchbay.allow;
}

const Wish = enum { panic, fail, drop, disconnect, upper, twice, now };

pub fn publish(r: *patchbay.PublishRequest) !patchbay.Decision {
    switch (std.meta.stringToEnum(Wish, r.message.topic) orelse return patchbay.proceed) {
        .panic => @panic("asked for it"),
        .fail => return patchbay.fail("asked for it"),
        .drop => return patchbay.drop("unwanted"),
        .disconnect => return patchbay.disconnect(0, "go away"),
        .upper => {
            var loud: [64]u8 = undefined; // the request copies what it is given
            r.setPayload(std.ascii.upperString(&loud, r.message.payload));
            r.setContentType("text/plain");
        },
        .twice => r.add(.{ .topic = "twice/again", .payload = r.message.payload }),
        .now => return patchbay.deny(patchbay.reason.server_busy, "now"),
    }
    return patchbay.proceed;
}

pub fn subscribe(r: *patchbay.SubscribeRequest) patchbay.Decision {
    for (r.subscriptions, 0..) |s, i| {
        if (eql(u8, s.topic_filter, "#")) {
            r.refuse(i, 0);
        } else if (s.qos == 2) {
            var lower = s;
            lower.qos = 1;
            r.replace(i, lower);
        }
    }
    return patchbay.proceed;
}

pub fn will(r: *patchbay.PublishRequest) patchbay.Decision {
    if (r.message.payload.len == 0) return patchbay.drop("");
    r.setRetain(false);
    return patchbay.allow;
}

pub fn gate(b: *patchbay.GateBatch) void {
    for (0..b.len()) |i| {
        if (eql(u8, b.message(i).topic, "full")) {
            for (0..b.len()) |j| b.decide(j, patchbay.deny(patchbay.reason.quota_exceeded, "full"));
            return;
        }
        if (eql(u8, b.message(i).topic, "odd")) {
            b.decide(i, patchbay.deny(patchbay.reason.payload_format_invalid, "odd"));
        }
    }
}

pub fn observe(b: *const patchbay.EventBatch) !void {
    if (b.point() != .connected) return;
    for (0..b.len()) |i| {
        const c = b.client(i);
        _ = try patchbay.host.metric(.{ .samples = &.{.{
            .name = "seen_total",
            .value = 1,
            .labels = &.{.{ .name = "namespace", .value = c.namespace }},
        }} });
        const key = try std.mem.concat(patchbay.arena, u8, &.{ "seen/", c.client_id });
        _ = try patchbay.host.kvSet(.{ .key = key, .value = "1", .ttl_ms = 3_600_000 });
    }
}

pub fn consume(b: *patchbay.ConsumeBatch) !void {
    for (0..b.len()) |i| {
        const wish = b.message(i).payload;
        if (eql(u8, wish, "retry")) b.retry(i, 5000, "not now");
        if (eql(u8, wish, "dead")) b.deadLetter(i, "hopeless");
        if (eql(u8, wish, "ack")) b.ack(i);
        if (eql(u8, wish, "stop")) return b.stopAt(i, 0, "in order");
        if (eql(u8, wish, "fail")) return patchbay.fail("asked for it");
    }
}

pub fn http(r: *const v1.HttpRequest) !v1.HttpResponse {
    if (!eql(u8, r.path, "seen")) return .{ .status = 404 };
    var body: std.ArrayList(u8) = .empty;
    var after: []const u8 = "";
    while (true) {
        const page = patchbay.host.kvScan(.{ .prefix = "seen/", .after = after, .keys_only = true }) catch |err| {
            if (err != error.Denied) return err;
            const text = try std.mem.concat(patchbay.arena, u8, &.{ "no grant \"", patchbay.lastError().grant, "\"" });
            return .{ .status = 403, .body = text };
        };
        for (page.entries) |e| {
            try body.appendSlice(patchbay.arena, e.key);
            try body.append(patchbay.arena, '\n');
            after = e.key;
        }
        if (!page.more) break;
    }
    return .{ .headers = &.{.{ .name = "content-type", .value = "text/plain" }}, .body = body.items };
}

pub fn timer(t: *const v1.TimerFired) !void {
    if (waiting) |event| {
        waiting = null;
        try patchbay.complete(event, patchbay.accept(.{ .username = "late" }));
    }
    var topic: [64]u8 = undefined;
    _ = try patchbay.host.publish(.{ .messages = &.{.{
        .topic = std.fmt.bufPrint(&topic, "timers/{s}", .{t.name}) catch unreachable,
        .payload = t.data,
    }} });
}

comptime {
    patchbay.plugin(@This());
}
