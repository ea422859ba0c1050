//! How calls of the host are made.

const abi = @import("abi.zig");
const memory = @import("memory.zig");
const v1 = @import("v1.zig");
const wire = @import("wire.zig");

/// Error is why a call of the host failed: a v1.HostErrorCode. lastError has more.
pub const Error = error{ Denied, NotFound, TooLarge, Unavailable, Invalid, Limit, Timeout, Unsupported, WorkerOnly, Internal };

/// usual_response is room for most responses, so that one call is enough.
const usual_response = 4 << 10;

/// last is the error of the last call of the host that failed, since the call of the
/// plugin began.
pub var last: ?Error = null;

var requests: wire.Writer = .{ .buffer = &.{}, .at = 0, .grow = memory.buffer };

/// call makes a call of the host. The response is there until the call of the plugin ends.
pub fn call(op: v1.HostOp, request: anytype, comptime Response: type) Error!Response {
    requests.clear();
    requests.message(@TypeOf(request), &request);
    const bytes = try carry(op, requests.written());
    return wire.decode(Response, bytes, memory.arena) catch return error.Internal;
}

fn carry(op: v1.HostOp, request: []const u8) Error![]const u8 {
    var out = memory.arena.alloc(u8, usual_response) catch return error.Internal;
    var n = abi.hostCall(@backingInt(op), request, out);
    if (n > out.len) {
        out = memory.arena.alloc(u8, @intCast(n)) catch return error.Internal;
        n = abi.hostCall(@backingInt(v1.HostOp.last_response), "", out);
    }
    if (n < 0) {
        last = errorOf(@fromBackingInt(@intCast(n)));
        return last.?;
    }
    return out[0..@intCast(n)];
}

fn errorOf(code: v1.HostErrorCode) Error {
    return switch (code) {
        .denied => error.Denied,
        .not_found => error.NotFound,
        .too_large => error.TooLarge,
        .unavailable => error.Unavailable,
        .invalid => error.Invalid,
        .limit => error.Limit,
        .timeout => error.Timeout,
        .unsupported => error.Unsupported,
        .worker_only => error.WorkerOnly,
        else => error.Internal,
    };
}

/// lastError is what the host says of the last call of it that failed: in words, and
/// which grant is missing.
pub fn lastError() v1.HostError {
    const out = memory.arena.alloc(u8, usual_response) catch return .{};
    const n = abi.hostCall(@backingInt(v1.HostOp.last_error), "", out);
    if (n <= 0 or n > out.len) return .{};
    return wire.decode(v1.HostError, out[0..@intCast(n)], memory.arena) catch .{};
}
