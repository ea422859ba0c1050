//! The smallest useful plugin: it lets in who knows the password.
const std = @import("std");
const patchbay = @import("patchbay");
pub const panic = patchbay.panic;

pub const manifest: patchbay.Manifest = .{ .name = "auth-small", .version = "1.0.0" };

pub const Config = struct {
    password: patchbay.Secret,
    prefix: []const u8 = "site",
    pub const doc = .{ .password = "What clients must have.", .prefix = "What topics begin with." };
};
var config: Config = undefined;

pub fn start(c: Config) void {
    config = c;
}
pub const configure = start;

pub fn authenticate(r: *patchbay.AuthRequest) !patchbay.Decision {
    if (!std.mem.eql(u8, r.packet.password, config.password.text)) {
        return patchbay.refuse(patchbay.reason.bad_user_name_or_password, "wrong password");
    }
    const filter = try std.mem.concat(patchbay.arena, u8, &.{ config.prefix, "/", r.client.username, "/#" });
    return patchbay.accept(.{ .has_permissions = true, .permissions = &.{.{
        .allow = true,
        .actions = patchbay.v1.Access.publish | patchbay.v1.Access.subscribe,
        .topic_filter = filter,
    }} });
}

comptime {
    patchbay.plugin(@This());
}
