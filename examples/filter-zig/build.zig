const std = @import("std");
const patchbay = @import("patchbay");

pub fn build(b: *std.Build) void {
    patchbay.plugin(b, "filter-zig", "src/filter.zig", true);
}
