//! The functions that a module imports from the host (abi.proto).

const imports = struct {
    extern "patchbay_v1" fn log(level: i32, text: [*]const u8, len: usize) void;
    extern "patchbay_v1" fn @"error"(text: [*]const u8, len: usize) void;
    extern "patchbay_v1" fn now() i64;
    extern "patchbay_v1" fn host_call(op: i32, in: [*]const u8, len: usize, out: [*]u8, cap: usize) i32;
};

/// log writes a line to the broker's log; level is a v1.LogLevel.
pub fn log(level: i32, text: []const u8) void {
    imports.log(level, text.ptr, text.len);
}

/// failed says why the call is about to fail.
pub fn failed(text: []const u8) void {
    imports.@"error"(text.ptr, text.len);
}

/// now is the time of day in milliseconds since 1970-01-01 UTC, by a coarse clock.
pub const now = imports.now;

/// hostCall returns the length of the response, which is in out if it fits, or a
/// v1.HostErrorCode.
pub fn hostCall(op: i32, in: []const u8, out: []u8) i32 {
    return imports.host_call(op, in.ptr, in.len, out.ptr, out.len);
}
