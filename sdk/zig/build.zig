//! Offers the module "patchbay" to plugins, and `plugin`, which builds one.
const std = @import("std");

pub fn build(b: *std.Build) void {
    // It is always for WebAssembly, and small. A plugin's own code may keep its checks.
    _ = b.addModule("patchbay", .{
        .root_source_file = b.path("src/patchbay.zig"),
        .target = target(b),
        .optimize = .ReleaseSmall,
        .strip = !debug(b),
    });
}

/// debug is what `zig build -Ddebug` says: names of functions and lines stay in the module,
/// which becomes ten times as large, and a trap in `patchbay plugin test` says where it was.
fn debug(b: *std.Build) bool {
    return b.option(bool, "debug", "keep names and lines, for traps") orelse false;
}

fn target(b: *std.Build) std.Build.ResolvedTarget {
    return b.resolveTargetQuery(.{ .cpu_arch = .wasm32, .os_tag = .freestanding });
}

/// plugin builds a plugin of a file, and installs it as bin/NAME.wasm. Call it from the
/// build function of the plugin's own build.zig. With checks, what is wrong in the plugin (an
/// index out of bounds, an overflow) ends the call with a text; without, the module is a
/// few KiB smaller. A build.zig calls it once: it adds the option -Ddebug.
pub fn plugin(b: *std.Build, name: []const u8, source: []const u8, checks: bool) void {
    const keep = debug(b);
    const sdk = b.dependency("patchbay", .{ .debug = keep });
    const root = b.createModule(.{
        .root_source_file = b.path(source),
        .target = target(b),
        .optimize = if (checks) .ReleaseSafe else .ReleaseSmall,
        .strip = !keep,
    });
    root.addImport("patchbay", sdk.module("patchbay"));
    const module = b.addExecutable(.{ .name = name, .root_module = root });
    module.entry = .disabled;
    module.rdynamic = true;
    module.stack_size = 64 << 10;
    b.installArtifact(module);
}
