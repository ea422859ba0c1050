//! Offers the module "patchbay" to plugins, and `plugin`, which builds one.
const std = @import("std");

pub fn build(b: *std.Build) void {
    // It has no options: it is always for WebAssembly, and small. A plugin's own code may
    // keep its checks.
    _ = b.addModule("patchbay", .{
        .root_source_file = b.path("src/patchbay.zig"),
        .target = target(b),
        .optimize = .ReleaseSmall,
        .strip = true,
    });
}

fn target(b: *std.Build) std.Build.ResolvedTarget {
    return b.resolveTargetQuery(.{ .cpu_arch = .wasm32, .os_tag = .freestanding });
}

/// plugin builds a plugin of a file, and installs it as bin/NAME.wasm. Call it from the
/// build function of the plugin's own build.zig. With checks, what is wrong in the plugin (an
/// index out of bounds, an overflow) ends the call with a text; without, the module is a
/// few KiB smaller.
pub fn plugin(b: *std.Build, name: []const u8, source: []const u8, checks: bool) void {
    const sdk = b.dependency("patchbay", .{});
    const root = b.createModule(.{
        .root_source_file = b.path(source),
        .target = target(b),
        .optimize = if (checks) .ReleaseSafe else .ReleaseSmall,
        .strip = true,
    });
    root.addImport("patchbay", sdk.module("patchbay"));
    const module = b.addExecutable(.{ .name = name, .root_module = root });
    module.entry = .disabled;
    module.rdynamic = true;
    module.stack_size = 64 << 10;
    b.installArtifact(module);
}
