//! Topic Names and Topic Filters.

const std = @import("std");

/// matches reports whether a Topic Filter, without $share, matches a Topic Name
/// [MQTT-4.7.1-2], [MQTT-4.7.1-3]. Topics that begin with "$" are not matched by a filter that
/// begins with a wildcard [MQTT-4.7.2-1].
pub fn matches(filter: []const u8, name: []const u8) bool {
    if (name.len > 0 and name[0] == '$' and filter.len > 0 and (filter[0] == '#' or filter[0] == '+')) return false;
    var levels = std.mem.splitScalar(u8, name, '/');
    var wanted = std.mem.splitScalar(u8, filter, '/');
    while (wanted.next()) |want| {
        if (std.mem.eql(u8, want, "#")) return true;
        const level = levels.next() orelse return false;
        if (!std.mem.eql(u8, want, "+") and !std.mem.eql(u8, want, level)) return false;
    }
    return levels.next() == null;
}
