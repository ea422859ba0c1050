//! Serves a plugin: the module's exports, and which function of the plugin answers what.

const std = @import("std");
const abi = @import("abi.zig");
const answers = @import("answers.zig");
const config = @import("config.zig");
const decision = @import("decision.zig");
const described = @import("manifest.zig");
const failure = @import("failure.zig");
const memory = @import("memory.zig");
const requests = @import("requests.zig");
const started = @import("started.zig");
const v1 = @import("v1.zig");
const wire = @import("wire.zig");

const Decision = decision.Decision;
const answer = &answers.writer;

var input: []u8 = &.{};

/// plugin makes the exports of a module serve P, a file (`@This()`) or struct with the
/// functions that README.md lists and a `manifest`. Call it at comptime.
pub fn plugin(comptime P: type) void {
    const S = Serve(P);
    @export(&marker, .{ .name = "patchbay_abi_v1" });
    @export(&buffer, .{ .name = "patchbay_buffer" });
    @export(&S.call, .{ .name = "patchbay_call" });
}

fn marker() callconv(.c) void {}

fn buffer(size: usize) callconv(.c) usize {
    if (size > input.len) {
        memory.heap.free(input);
        input = &.{};
        input = memory.buffer(size);
    }
    return @intFromPtr(input.ptr);
}

fn Serve(comptime P: type) type {
    return struct {
        const has = described.Of(P).has;
        const manifest_bytes = described.Of(P).encoded;

        fn call(op: i32, len: usize) callconv(.c) i64 {
            memory.reset();
            failure.forget();
            answer.clear();
            dispatch(@fromBackingInt(@intCast(op)), input[0..len]) catch |err| {
                abi.failed(failure.textOf(err));
                return -1;
            };
            const out = answer.written();
            if (out.len == 0) return 0;
            return @bitCast(@as(u64, @intFromPtr(out.ptr)) << 32 | out.len);
        }

        fn dispatch(op: v1.PluginOp, in: []const u8) anyerror!void {
            switch (op) {
                .describe => answer.bytes(&manifest_bytes),
                .start => try start(in),
                .configure => try configure(in),
                .stop => if (comptime has("stop")) try attempt(P.stop((try read(v1.StopRequest, in)).reason)),
                .health => if (comptime has("health")) health(),
                .process => {
                    const b = try read(v1.Batch, in);
                    try process(&b);
                },
                .consume => if (comptime has("consume")) {
                    const b = try read(v1.ConsumeBatch, in);
                    try consume(&b);
                } else return failure.fail("the plugin does not consume"),
                .http => if (comptime has("http")) {
                    const request = try read(v1.HttpRequest, in);
                    const response: v1.HttpResponse = try attempt(P.http(&request));
                    answer.message(v1.HttpResponse, &response);
                } else return failure.fail("the plugin does not serve HTTP"),
                .timer => if (comptime has("timer")) {
                    const fired = try read(v1.TimerFired, in);
                    try attempt(P.timer(&fired));
                } else return failure.fail("the plugin has no timers"),
                else => return failure.fail("unknown op"),
            }
        }

        fn read(comptime T: type, in: []const u8) wire.DecodeError!T {
            return wire.decode(T, in, memory.arena);
        }

        fn start(in: []const u8) anyerror!void {
            const request = try read(v1.StartRequest, in);
            started.keep(request);
            const outcome = configured("start", request.config);
            const response: v1.StartResponse = .{
                .problems = try problemsOf(outcome),
                .narrowed = narrowed(outcome),
            };
            answer.message(v1.StartResponse, &response);
        }

        fn configure(in: []const u8) anyerror!void {
            var response: v1.ConfigureResponse = .{ .restart = true };
            if (comptime has("configure")) {
                const outcome = configured("configure", (try read(v1.ConfigureRequest, in)).config);
                response.restart = if (outcome) false else |err| err == error.Restart;
                if (!response.restart) {
                    response.problems = try problemsOf(outcome);
                    response.narrowed = narrowed(outcome);
                }
            }
            answer.message(v1.ConfigureResponse, &response);
        }

        /// configured reads the config for the function `name`, and calls it if it is there.
        fn configured(comptime name: []const u8, text: []const u8) anyerror!void {
            if (!@hasDecl(P, "Config")) {
                return if (comptime has(name)) attempt(@field(P, name)());
            }
            const c = try config.read(P.Config, text);
            if (comptime has(name)) try attempt(@field(P, name)(c));
        }

        /// problemsOf tells a config that cannot be from a failure.
        fn problemsOf(outcome: anyerror!void) anyerror![]const v1.Problem {
            outcome catch |err| if (err != error.Problem) return err;
            return failure.problems();
        }

        fn narrowed(outcome: anyerror!void) ?*const v1.Narrowed {
            outcome catch return null;
            if (comptime !has("narrow")) return null;
            const n: v1.Narrowed = P.narrow() orelse return null;
            const hooks = memory.arena.dupe(v1.Hook, n.hooks) catch @panic("out of memory");
            for (hooks) |*h| {
                if (h.fields == 0) h.fields = described.usualFields(h.point);
            }
            return memory.create(v1.Narrowed, .{ .hooks = hooks, .consumers = n.consumers });
        }

        fn health() void {
            const response: v1.HealthResponse = attempt(P.health()) catch |err| .{
                .status = .not_serving,
                .message = failure.cut(failure.textOf(err)),
            };
            answer.message(v1.HealthResponse, &response);
        }

        fn process(b: *const v1.Batch) anyerror!void {
            var out: answers.Verdicts = .{ .batch = b, .policy = policyOf(b.point) };
            switch (b.point) {
                .authenticate => if (comptime has("authenticate")) {
                    for (b.events, 0..) |*e, i| {
                        var r: requests.AuthRequest = .{
                            .event = e.id,
                            .client = requests.clientOf(b.clients, e.client),
                            .packet = e.authentication orelse &.{},
                        };
                        out.add(i, attempt(P.authenticate(&r)), .{});
                    }
                    return out.end();
                },
                .permit => if (comptime has("permit")) {
                    for (b.events, 0..) |*e, i| {
                        var r: requests.PermitRequest = .{ .event = e.id, .client = requests.clientOf(b.clients, e.client) };
                        out.add(i, attempt(P.permit(&r)), .{});
                    }
                    return out.end();
                },
                .authorize_publish, .authorize_subscribe, .authorize_receive => if (comptime has("authorize")) {
                    for (0..b.events.len) |i| {
                        var r = authorizeRequest(b, i);
                        out.add(i, attempt(P.authorize(&r)), .{});
                    }
                    return out.end();
                },
                .intercept_publish => if (comptime has("publish")) return eachMessage(&out, P.publish),
                .intercept_will => if (comptime has("will")) return eachMessage(&out, P.will),
                .intercept_deliver => if (comptime has("deliver")) return eachMessage(&out, P.deliver),
                .intercept_subscribe => if (comptime has("subscribe")) return eachSubscribe(&out, P.subscribe),
                .intercept_unsubscribe => if (comptime has("unsubscribe")) return eachSubscribe(&out, P.unsubscribe),
                .gate_publish => if (comptime has("gate")) return gate(&out),
                else => if (comptime has("observe")) {
                    const events: requests.EventBatch = .{ .batch = b };
                    return attempt(P.observe(&events));
                },
            }
            return failure.fail("the plugin has no function for this point");
        }

        fn eachMessage(out: *answers.Verdicts, comptime hook: anytype) anyerror!void {
            for (out.batch.events, 0..) |*e, i| {
                var r: requests.PublishRequest = .{
                    .event = e.id,
                    .client = requests.clientOf(out.batch.clients, e.client),
                    .message = requests.messageOf(out.batch, i),
                };
                const d = attempt(hook(&r));
                out.add(i, d, .{ .message = if (r.changed != 0 or r.additional != null) &r else null });
            }
            return out.end();
        }

        fn eachSubscribe(out: *answers.Verdicts, comptime hook: anytype) anyerror!void {
            for (out.batch.events, 0..) |*e, i| {
                var r: requests.SubscribeRequest = .{
                    .event = e.id,
                    .client = requests.clientOf(out.batch.clients, e.client),
                    .subscriptions = e.subscriptions,
                    .user_properties = e.user_properties,
                };
                const d = attempt(hook(&r));
                out.add(i, d, .{ .filters = r.results });
            }
            return out.end();
        }

        fn gate(out: *answers.Verdicts) anyerror!void {
            const b = out.batch;
            var g: requests.GateBatch = .{ .batch = b, .decisions = try memory.arena.alloc(Decision, b.events.len) };
            @memset(g.decisions, decision.proceed);
            try attempt(P.gate(&g));
            for (g.decisions, 0..) |d, i| out.add(i, d, .{});
            return out.end();
        }

        fn consume(b: *const v1.ConsumeBatch) anyerror!void {
            var c: requests.ConsumeBatch = .{
                .batch = b,
                .marks = try memory.arena.alloc(v1.DeliveryResult, b.deliveries.len),
            };
            @memset(c.marks, .{});
            const outcome = attempt(P.consume(&c));
            answers.consumed(&c, if (outcome) null else |err| failure.textOf(err));
        }

        /// policyOf is the failure policy that the plugin has asked for.
        fn policyOf(point: v1.Point) v1.FailurePolicy {
            inline for (described.Of(P).hooks) |h| {
                if (h.point == point) return h.failure;
            }
            return .default;
        }
    };
}

fn authorizeRequest(b: *const v1.Batch, i: usize) requests.AuthorizeRequest {
    const e = &b.events[i];
    var r: requests.AuthorizeRequest = .{
        .event = e.id,
        .client = requests.clientOf(b.clients, e.client),
        .access = if (b.point == .authorize_publish) v1.Access.publish else v1.Access.subscribe,
        .topic = e.topic,
        .qos = e.qos,
        .retain = e.retain,
    };
    if (b.point == .authorize_receive) {
        const m = requests.messageOf(b, i);
        r.access = v1.Access.receive;
        r.message = m;
        r.topic = m.topic;
        r.qos = m.qos;
        r.retain = m.retain;
    }
    return r;
}

/// attempt makes an error union of what a function of the plugin has returned, whether it
/// can fail or not.
inline fn attempt(result: anytype) anyerror!Payload(@TypeOf(result)) {
    return result;
}

fn Payload(comptime T: type) type {
    return switch (@typeInfo(T)) {
        .error_union => |u| u.payload,
        else => T,
    };
}
