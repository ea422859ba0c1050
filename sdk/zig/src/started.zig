//! What the host has said when it started the instance.

const memory = @import("memory.zig");
const v1 = @import("v1.zig");
const wire = @import("wire.zig");

/// request is that of `start`, without the config, which may hold secrets.
pub var request: v1.StartRequest = .{};

/// keep copies a request to where it lasts.
pub fn keep(r: v1.StartRequest) void {
    var w: wire.Writer = .{ .buffer = &.{}, .at = 0, .grow = memory.buffer };
    var without = r;
    without.config = "";
    w.message(v1.StartRequest, &without);
    request = wire.decode(v1.StartRequest, w.written(), memory.heap) catch .{};
}

/// granted is the grant of a name, null if the operator has not given it.
pub fn granted(name: []const u8) ?*const v1.Grant {
    for (request.grants) |*g| {
        if (@import("std").mem.eql(u8, g.name, name)) return g;
    }
    return null;
}
