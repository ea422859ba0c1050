//! Patchbay's plugin SDK for Zig. A plugin is a file like this:
//!
//!     const std = @import("std");
//!     const patchbay = @import("patchbay");
//!     pub const panic = patchbay.panic;
//!
//!     pub const manifest: patchbay.Manifest = .{ .name = "prefix", .version = "1.0.0" };
//!     pub const Config = struct { prefix: []const u8 };
//!     var config: Config = undefined;
//!
//!     pub fn start(c: Config) void {
//!         config = c;
//!     }
//!
//!     pub fn publish(r: *patchbay.PublishRequest) patchbay.Decision {
//!         if (std.mem.startsWith(u8, r.message.topic, config.prefix)) return patchbay.proceed;
//!         return patchbay.deny(patchbay.reason.topic_name_invalid, "outside of the prefix");
//!     }
//!
//!     comptime {
//!         patchbay.plugin(@This());
//!     }
//!
//! README.md lists the functions that a plugin may have. The module has no threads and
//! makes one call after the other; several instances of it may run, each with its own
//! variables, unless the manifest says `.instances = 1`.

const answers = @import("answers.zig");
const config = @import("config.zig");
const decision = @import("decision.zig");
const failure = @import("failure.zig");
const host_call = @import("host_call.zig");
const memory = @import("memory.zig");
const requests = @import("requests.zig");

/// v1 has the messages of the contract.
pub const v1 = @import("v1.zig");
/// host has the calls of the broker, and `wire` their encoding.
pub const host = @import("host_calls.zig");
pub const wire = @import("wire.zig");
pub const json = @import("json.zig");
pub const topic = @import("topic.zig");
/// started tells what the host said when it started the instance: name, grants, worker.
pub const started = @import("started.zig");

pub const plugin = @import("serve.zig").plugin;
pub const Manifest = v1.Manifest;
pub const Identity = v1.AuthResult;

pub const Decision = decision.Decision;
pub const proceed = decision.proceed;
pub const allow = decision.allow;
pub const later = decision.later;
pub const deny = decision.deny;
pub const drop = decision.drop;
pub const disconnect = decision.disconnect;
pub const accept = decision.accept;
pub const permit = decision.permit;
pub const refuse = decision.refuse;
pub const challenge = decision.challenge;
pub const reason = decision.reason;
pub const complete = answers.complete;

pub const AuthRequest = requests.AuthRequest;
pub const PermitRequest = requests.PermitRequest;
pub const AuthorizeRequest = requests.AuthorizeRequest;
pub const PublishRequest = requests.PublishRequest;
pub const SubscribeRequest = requests.SubscribeRequest;
pub const GateBatch = requests.GateBatch;
pub const EventBatch = requests.EventBatch;
pub const ConsumeBatch = requests.ConsumeBatch;

pub const Duration = config.Duration;
pub const Size = config.Size;
pub const Secret = config.Secret;
pub const readConfig = config.read;
pub const schema = config.schema;
pub const pointer = config.pointer;

pub const arena = memory.arena;
pub const heap = memory.heap;
/// reset empties the arena; the SDK does so where a call begins.
pub const reset = memory.reset;

pub const fail = failure.fail;
pub const problem = failure.problem;
pub const panic = failure.panic;
pub const HostError = host_call.Error;
pub const lastError = host_call.lastError;

/// log writes a line to the broker's log.
pub fn log(level: v1.LogLevel, text: []const u8) void {
    @import("abi.zig").log(@backingInt(level), text);
}

/// now is the time of day in milliseconds since 1970-01-01 UTC, by a coarse clock.
pub fn now() i64 {
    return @import("abi.zig").now();
}
