//! What a hook answers.

const memory = @import("memory.zig");
const v1 = @import("v1.zig");
const wire = @import("wire.zig");
const failure = @import("failure.zig");

/// Decision is a plugin's verdict on an event. Which ones a point has is said at v1.Point;
/// another one counts as a failure of the plugin. The functions below make them, and copy
/// what they are given.
pub const Decision = struct {
    action: v1.Action = .@"continue",
    reason_code: u32 = 0,
    reason: []const u8 = "",
    cache_ttl_ms: u32 = 0,
    /// auth is an encoded v1.AuthResult.
    auth: ?[]const u8 = null,

    /// cached lets the host give the same answer to the same question for a while without
    /// asking. For `authorize`; host.invalidateDecisions takes it back.
    pub fn cached(d: Decision, ttl_ms: u32) Decision {
        var kept = d;
        kept.cache_ttl_ms = ttl_ms;
        return kept;
    }
};

/// proceed leaves it to the next plugin, with the changes made to the request. (The
/// contract's ACTION_CONTINUE, which is a word of Zig.)
pub const proceed: Decision = .{};

/// allow says yes; no further plugin is asked. Changes made to the request count.
pub const allow: Decision = .{ .action = .allow };

/// later puts a decision off: the plugin says it with `complete` and the `event` of the
/// request, from another call (as `timer`), within the deadline of the hook. The
/// connection stays paused until then. Changes made to the request are lost.
pub const later: Decision = .{ .action = .@"defer" };

/// deny refuses, with a Reason Code from 0x80 (0 stands for not_authorized) and a reason in
/// words, which may be empty, for logs and for clients that want it.
pub fn deny(reason_code: u32, why: []const u8) Decision {
    return .{ .action = .deny, .reason_code = reason_code, .reason = memory.copy(failure.cut(why)) };
}

/// drop acknowledges a message and goes no further with it. The reason is for logs.
pub fn drop(why: []const u8) Decision {
    return .{ .action = .drop, .reason = memory.copy(failure.cut(why)) };
}

/// disconnect closes the client's connection; 0 stands for administrative_action.
pub fn disconnect(reason_code: u32, why: []const u8) Decision {
    return .{ .action = .disconnect, .reason_code = reason_code, .reason = memory.copy(failure.cut(why)) };
}

/// accept lets a client in, as identity says. With has_permissions the broker evaluates
/// its permissions by itself, which is what scales.
pub fn accept(identity: v1.AuthResult) Decision {
    return .{ .action = .allow, .auth = encode(v1.AuthResult, identity) };
}

/// permit gives a client permissions, and no others: the first that applies decides, and
/// what none speaks of is denied. For `permit`; `authenticate` has accept.
pub fn permit(permissions: []const v1.Permission) Decision {
    return accept(.{ .has_permissions = true, .permissions = permissions });
}

/// refuse keeps a client out; 0 stands for not_authorized.
pub const refuse = deny;

/// challenge sends data in an AUTH. The client's answer comes to this plugin alone, with
/// state (up to 64 KiB).
pub fn challenge(data: []const u8, state: []const u8) Decision {
    return .{ .action = .challenge, .auth = encode(v1.AuthResult, .{ .data = data, .state = state }) };
}

var parts: wire.Writer = .{ .buffer = &.{}, .at = 0, .grow = memory.buffer };

/// encode puts an encoded message into the arena. That is how what a plugin hands over is
/// copied whole, however deep.
pub fn encode(comptime T: type, message: T) []const u8 {
    parts.clear();
    parts.message(T, &message);
    return memory.copy(parts.written());
}

/// reason has the Reason Codes of MQTT 5.0 (§2.4) that plugins give.
pub const reason = struct {
    pub const unspecified_error: u32 = 0x80;
    pub const implementation_error: u32 = 0x83;
    pub const bad_user_name_or_password: u32 = 0x86;
    pub const not_authorized: u32 = 0x87;
    pub const server_unavailable: u32 = 0x88;
    pub const server_busy: u32 = 0x89;
    pub const banned: u32 = 0x8A;
    pub const bad_auth_method: u32 = 0x8C;
    pub const topic_filter_invalid: u32 = 0x8F;
    pub const topic_name_invalid: u32 = 0x90;
    pub const packet_too_large: u32 = 0x95;
    pub const message_rate_too_high: u32 = 0x96;
    pub const quota_exceeded: u32 = 0x97;
    pub const administrative_action: u32 = 0x98;
    pub const payload_format_invalid: u32 = 0x99;
};
