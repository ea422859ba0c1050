//! What a hook gets. All of it is there until the hook returns.

const std = @import("std");
const decision = @import("decision.zig");
const memory = @import("memory.zig");
const v1 = @import("v1.zig");

/// AuthRequest is one step of an authentication: a CONNECT, an AUTH, or the first packet
/// of a re-authentication.
pub const AuthRequest = struct {
    /// event is for `complete`.
    event: u64,
    /// client as it claims to be.
    client: *const v1.Client,
    /// packet has password, method, data, step and state.
    packet: *const v1.Authentication,
};

/// PermitRequest asks what a client may do, as authentication has left it.
pub const PermitRequest = struct {
    event: u64,
    client: *const v1.Client,
};

/// AuthorizeRequest asks whether a client may do something.
pub const AuthorizeRequest = struct {
    event: u64,
    client: *const v1.Client,
    /// access is a v1.Access: publish, subscribe or receive.
    access: u32,
    /// topic is a Topic Name, or with subscribe a Topic Filter without $share.
    topic: []const u8,
    qos: u32,
    /// retain is the RETAIN flag, with publish.
    retain: bool,
    /// message is what is to be received, with receive.
    message: ?*const v1.Message = null,
};

/// PublishRequest is a message on its way, which the plugin may change: what the set
/// functions set replaces the field, all else stays, also what the plugin does not see.
/// They copy what they are given.
pub const PublishRequest = struct {
    event: u64,
    /// client published it, or at point intercept_deliver receives it. An empty one if
    /// there is none.
    client: *const v1.Client,
    /// message as it came.
    message: *const v1.Message,

    changed: u32 = 0,
    change: v1.Message = .{},
    /// additional messages, encoded, the last one first.
    additional: ?*const Encoded = null,

    /// setTopic replaces the Topic Name.
    pub fn setTopic(r: *PublishRequest, topic: []const u8) void {
        r.changed |= v1.Change.topic;
        r.change.topic = memory.copy(topic);
    }
    /// setPayload replaces the payload.
    pub fn setPayload(r: *PublishRequest, payload: []const u8) void {
        r.changed |= v1.Change.payload;
        r.change.payload = memory.copy(payload);
    }
    /// setQos replaces the QoS. Not for `deliver`.
    pub fn setQos(r: *PublishRequest, qos: u32) void {
        r.changed |= v1.Change.qos;
        r.change.qos = qos;
    }
    /// setRetain replaces the RETAIN flag.
    pub fn setRetain(r: *PublishRequest, retain: bool) void {
        r.changed |= v1.Change.retain;
        r.change.retain = retain;
    }
    /// setMessageExpiryInterval replaces the Message Expiry Interval, in seconds; 0 takes
    /// it away.
    pub fn setMessageExpiryInterval(r: *PublishRequest, seconds: u32) void {
        r.changed |= v1.Change.message_expiry_interval;
        r.change.message_expiry_interval = seconds;
    }
    /// setUserProperties replaces all User Properties.
    pub fn setUserProperties(r: *PublishRequest, properties: []const v1.Pair) void {
        r.changed |= v1.Change.user_properties;
        const list = memory.arena.alloc(v1.Pair, properties.len) catch @panic("out of memory");
        for (list, properties) |*kept, p| kept.* = .{ .name = memory.copy(p.name), .value = memory.copy(p.value) };
        r.change.user_properties = list;
    }
    /// setContentType replaces the Content Type; empty takes it away.
    pub fn setContentType(r: *PublishRequest, content_type: []const u8) void {
        r.changed |= v1.Change.content_type;
        r.change.content_type = memory.copy(content_type);
    }
    /// setResponseTopic replaces the Response Topic; empty takes it away.
    pub fn setResponseTopic(r: *PublishRequest, topic: []const u8) void {
        r.changed |= v1.Change.response_topic;
        r.change.response_topic = memory.copy(topic);
    }
    /// setCorrelationData replaces the Correlation Data; empty takes it away.
    pub fn setCorrelationData(r: *PublishRequest, data: []const u8) void {
        r.changed |= v1.Change.correlation_data;
        r.change.correlation_data = memory.copy(data);
    }
    /// setPayloadFormat replaces the Payload Format Indicator, 0 or 1.
    pub fn setPayloadFormat(r: *PublishRequest, format: u32) void {
        r.changed |= v1.Change.payload_format;
        r.change.payload_format = format;
    }
    /// add has a further message routed after this one, as the same client's, without
    /// asking plugins about it; up to 256. Not for `deliver`.
    pub fn add(r: *PublishRequest, message: v1.Message) void {
        r.additional = memory.create(Encoded, .{
            .bytes = decision.encode(v1.Message, message),
            .before = r.additional,
        });
    }
};

/// Encoded is a list of encoded messages, the last one first: in this order answers are
/// written.
pub const Encoded = struct {
    bytes: []const u8,
    before: ?*const Encoded,
};

/// SubscribeRequest is a SUBSCRIBE, or an UNSUBSCRIBE whose subscriptions have the filter
/// alone. Single filters may be refused or changed.
pub const SubscribeRequest = struct {
    event: u64,
    client: *const v1.Client,
    /// subscriptions in the packet's order.
    subscriptions: []const v1.Subscription,
    /// user_properties of the packet, with v1.Field.user_properties.
    user_properties: []const v1.Pair,

    /// results, encoded, the last one first.
    results: ?*const Encoded = null,

    /// refuse refuses the i-th filter; 0 stands for not_authorized.
    pub fn refuse(r: *SubscribeRequest, i: usize, reason_code: u32) void {
        const code = if (reason_code == 0) decision.reason.not_authorized else reason_code;
        r.result(.{ .index = @intCast(i), .reason_code = code });
    }
    /// replace puts s in the place of the i-th subscription, whole.
    pub fn replace(r: *SubscribeRequest, i: usize, s: v1.Subscription) void {
        r.result(.{ .index = @intCast(i), .subscription = &s });
    }
    fn result(r: *SubscribeRequest, one: v1.FilterResult) void {
        r.results = memory.create(Encoded, .{
            .bytes = decision.encode(v1.FilterResult, one),
            .before = r.results,
        });
    }
};

/// GateBatch is a number of messages whose acknowledgements wait.
pub const GateBatch = struct {
    batch: *const v1.Batch,
    decisions: []decision.Decision,

    /// len is the number of messages.
    pub fn len(b: *const GateBatch) usize {
        return b.batch.events.len;
    }
    /// message is the i-th one.
    pub fn message(b: *const GateBatch, i: usize) *const v1.Message {
        return messageOf(b.batch, i);
    }
    /// client published the i-th message.
    pub fn client(b: *const GateBatch, i: usize) *const v1.Client {
        return clientOf(b.batch.clients, b.batch.events[i].client);
    }
    /// event is for `complete`.
    pub fn event(b: *const GateBatch, i: usize) u64 {
        return b.batch.events[i].id;
    }
    /// decide says something of the i-th message alone: deny, or later. Without it, the
    /// message is as safe as the error of `gate` says of all.
    pub fn decide(b: *GateBatch, i: usize, d: decision.Decision) void {
        b.decisions[i] = d;
    }
};

/// EventBatch is a number of observations at one point.
pub const EventBatch = struct {
    batch: *const v1.Batch,

    /// point of all events.
    pub fn point(b: *const EventBatch) v1.Point {
        return b.batch.point;
    }
    /// lost is how many observations of this point were dropped before this batch,
    /// because the plugin was too slow.
    pub fn lost(b: *const EventBatch) u64 {
        return b.batch.lost;
    }
    /// len is the number of events.
    pub fn len(b: *const EventBatch) usize {
        return b.batch.events.len;
    }
    /// at is the i-th event. Which fields are set is said at v1.Point.
    pub fn at(b: *const EventBatch, i: usize) *const v1.Event {
        return &b.batch.events[i];
    }
    /// client that the i-th event is about, an empty one if there is none.
    pub fn client(b: *const EventBatch, i: usize) *const v1.Client {
        return clientOf(b.batch.clients, b.batch.events[i].client);
    }
    /// message that the i-th event is about, an empty one if there is none.
    pub fn message(b: *const EventBatch, i: usize) *const v1.Message {
        return messageOf(b.batch, i);
    }
};

/// ConsumeBatch is a number of messages of one consumer, in order.
pub const ConsumeBatch = struct {
    batch: *const v1.ConsumeBatch,
    marks: []v1.DeliveryResult,

    /// consumer is its name in the manifest.
    pub fn consumer(b: *const ConsumeBatch) []const u8 {
        return b.batch.consumer;
    }
    /// len is the number of messages.
    pub fn len(b: *const ConsumeBatch) usize {
        return b.batch.deliveries.len;
    }
    /// at is the i-th delivery: its offset and attempt.
    pub fn at(b: *const ConsumeBatch, i: usize) *const v1.Delivery {
        return &b.batch.deliveries[i];
    }
    /// message is the i-th one.
    pub fn message(b: *const ConsumeBatch, i: usize) *const v1.Message {
        return b.batch.deliveries[i].message orelse &no_message;
    }
    /// client published the i-th message; an empty one if that is not known.
    pub fn client(b: *const ConsumeBatch, i: usize) *const v1.Client {
        return clientOf(b.batch.clients, b.batch.deliveries[i].client);
    }
    /// ack acknowledges the i-th message also if `consume` returns an error.
    pub fn ack(b: *ConsumeBatch, i: usize) void {
        b.marks[i] = .{ .outcome = .ok };
    }
    /// retry has the i-th message come again after a pause, 0 for the consumer's own. What
    /// came after it in the batch and is acknowledged overtakes it.
    pub fn retry(b: *ConsumeBatch, i: usize, after_ms: u32, why: []const u8) void {
        b.marks[i] = .{ .outcome = .retry, .reason = memory.copy(why), .retry_after_ms = after_ms };
    }
    /// deadLetter gives the i-th message up.
    pub fn deadLetter(b: *ConsumeBatch, i: usize, why: []const u8) void {
        b.marks[i] = .{ .outcome = .dead_letter, .reason = memory.copy(why) };
    }
    /// stopAt acknowledges what comes before the i-th message, and has it and all after it
    /// come again: that keeps the order.
    pub fn stopAt(b: *ConsumeBatch, i: usize, after_ms: u32, why: []const u8) void {
        for (i..b.marks.len) |j| b.retry(j, after_ms, why);
    }
};

// What stands for what is absent.
const no_client: v1.Client = .{};
const no_message: v1.Message = .{};

/// clientOf is the n-th client, counted from 1.
pub fn clientOf(list: []const v1.Client, n: u32) *const v1.Client {
    return if (n == 0 or n > list.len) &no_client else &list[n - 1];
}

/// messageOf is the message of the i-th event, which may be an earlier one's.
pub fn messageOf(b: *const v1.Batch, i: usize) *const v1.Message {
    const e = &b.events[i];
    if (e.message) |m| return m;
    if (e.message_of > 0 and e.message_of <= i) {
        if (b.events[e.message_of - 1].message) |m| return m;
    }
    return &no_message;
}
