//! What a plugin says of itself, put together when it is compiled: its `manifest`, and
//! the hooks and the config schema that follow from what it has.

const std = @import("std");
const answers = @import("answers.zig");
const config = @import("config.zig");
const v1 = @import("v1.zig");
const wire = @import("wire.zig");

/// Hook pairs a point with the function that is called, and with the fields that are sent
/// unless the manifest says otherwise.
const Usual = struct { v1.Point, []const u8, u32 };

/// usual are the points that are asked for where the function is there.
const usual = [_]Usual{
    .{ .authenticate, "authenticate", v1.Field.password },
    .{ .permit, "permit", v1.Field.attributes | v1.Field.connection },
    .{ .authorize_publish, "authorize", 0 },
    .{ .authorize_subscribe, "authorize", 0 },
    .{ .intercept_publish, "publish", v1.Field.payload },
    .{ .intercept_subscribe, "subscribe", 0 },
    .{ .intercept_unsubscribe, "unsubscribe", 0 },
    .{ .intercept_will, "will", v1.Field.payload },
    .{ .intercept_deliver, "deliver", v1.Field.payload },
    .{ .gate_publish, "gate", v1.Field.payload },
};

const functions = [_][]const u8{
    "start",     "configure", "narrow",    "stop",  "health", "authenticate", "permit",
    "authorize", "publish",   "subscribe", "will",  "gate",   "deliver",      "unsubscribe",
    "observe",   "consume",   "http",      "timer",
};

/// usualFields is what a point is sent if nothing else is asked for.
pub fn usualFields(point: v1.Point) u32 {
    inline for (usual) |u| {
        if (u[0] == point) return u[2];
    }
    return 0;
}

/// Of is all that is known of a plugin when it is compiled.
pub fn Of(comptime P: type) type {
    return struct {
        const said: v1.Manifest = P.manifest;

        /// has reports whether the plugin has a function.
        pub fn has(comptime name: []const u8) bool {
            return @hasDecl(P, name) and @typeInfo(@TypeOf(@field(P, name))) == .@"fn";
        }

        pub const hooks: []const v1.Hook = blk: {
            var list: []const v1.Hook = &.{};
            for (usual) |u| {
                if (has(u[1])) list = list ++ .{hookOf(u[0])};
            }
            for (said.hooks) |h| {
                if (h.point == .authorize_receive or isObservation(h.point)) list = list ++ .{h};
            }
            break :blk list;
        };

        fn hookOf(comptime point: v1.Point) v1.Hook {
            var hook: v1.Hook = .{ .point = point };
            for (said.hooks) |h| {
                if (h.point == point) hook = h;
            }
            if (hook.fields == 0) hook.fields = usualFields(point);
            return hook;
        }

        pub const manifest: v1.Manifest = blk: {
            @setEvalBranchQuota(200_000);
            check();
            var m = said;
            m.hooks = hooks;
            if (m.config_schema.len == 0) {
                m.config_schema = config.schema(if (@hasDecl(P, "Config")) P.Config else struct {});
            }
            if (has("permit")) m.needed_features = m.needed_features ++ .{"permit"};
            break :blk m;
        };

        /// encoded is the manifest as Describe answers it.
        pub const encoded = blk: {
            @setEvalBranchQuota(1_000_000);
            var space: [16 << 10]u8 = undefined;
            var w: wire.Writer = .{ .buffer = &space, .at = space.len, .grow = tooLarge };
            w.message(v1.Manifest, &manifest);
            const n = w.written().len;
            var bytes: [n]u8 = undefined;
            @memcpy(&bytes, w.written());
            break :blk bytes;
        };

        fn check() void {
            checkName(said.name);
            for (std.meta.declarations(P)) |name| {
                const T = @TypeOf(@field(P, name));
                if (@typeInfo(T) == .@"fn" and !isFunction(name)) {
                    @compileError("pub fn " ++ name ++ " is not one that Patchbay calls; is it misspelt? What is the plugin's own need not be pub");
                }
            }
            var observes = false;
            for (said.hooks, 0..) |h, i| {
                for (said.hooks[0..i]) |before| {
                    if (before.point == h.point) @compileError("point " ++ @tagName(h.point) ++ " is in manifest.hooks twice");
                }
                observes = observes or isObservation(h.point);
                if (!has(functionOf(h.point))) {
                    @compileError("point " ++ @tagName(h.point) ++ " is in manifest.hooks, but there is no pub fn " ++ functionOf(h.point));
                }
                if (h.failure == .drop and !answers.permits(h.point, .drop)) {
                    @compileError("point " ++ @tagName(h.point) ++ " has no way to drop");
                }
            }
            if (has("observe") and !observes) @compileError("there is pub fn observe, but manifest.hooks does not say what of");
            if (has("consume") != (said.consumers.len > 0)) @compileError("it takes both, pub fn consume and manifest.consumers, or none");
            if (has("http") != (said.http_routes.len > 0)) @compileError("it takes both, pub fn http and manifest.http_routes, or none");
        }
    };
}

fn tooLarge(_: usize) []u8 {
    unreachable; // the manifest is larger than 16 KiB
}

fn isFunction(comptime name: []const u8) bool {
    for (functions) |f| {
        if (std.mem.eql(u8, f, name)) return true;
    }
    return false;
}

fn isObservation(point: v1.Point) bool {
    const n = @backingInt(point);
    return n >= 24 and n <= 63;
}

fn functionOf(comptime point: v1.Point) []const u8 {
    if (point == .authorize_receive) return "authorize";
    for (usual) |u| {
        if (u[0] == point) return u[1];
    }
    return "observe";
}

fn checkName(comptime name: []const u8) void {
    for (name, 0..) |c, i| {
        switch (c) {
            'a'...'z' => {},
            '0'...'9', '-' => if (i == 0) break,
            else => break,
        }
    } else if (name.len >= 1 and name.len <= 64) return;
    @compileError("manifest.name \"" ++ name ++ "\" is not 1 to 64 of a-z, 0-9 and \"-\", beginning with a letter");
}
