//! What is said of an error: of one that a hook returns, and of a panic.

const std = @import("std");
const abi = @import("abi.zig");
const memory = @import("memory.zig");
const host_call = @import("host_call.zig");
const v1 = @import("v1.zig");

var said: []const u8 = "";
var problem_list: []const v1.Problem = &.{};

/// fail makes an error with a text, for a hook to return: `return patchbay.fail("…")`.
pub fn fail(text: []const u8) error{Failed} {
    said = memory.copy(text);
    return error.Failed;
}

/// problem makes the error of `start` and `configure` for a config that they cannot work
/// with. The pointer is a JSON Pointer (RFC 6901) as "/brokers/0", or empty if the
/// config is not to blame; the text says what is wrong and what would be right.
pub fn problem(pointer: []const u8, text: []const u8) error{Problem} {
    addProblem(pointer, text);
    return error.Problem;
}

pub fn addProblem(pointer: []const u8, text: []const u8) void {
    const list = memory.arena.alloc(v1.Problem, problem_list.len + 1) catch @panic("out of memory");
    @memcpy(list[0..problem_list.len], problem_list);
    list[problem_list.len] = .{ .pointer = memory.copy(pointer), .message = memory.copy(cut(text)) };
    problem_list = list;
}

/// problems are those since forget.
pub fn problems() []const v1.Problem {
    return problem_list;
}

/// forget is called where a call begins, since all this is in the arena.
pub fn forget() void {
    said = "";
    problem_list = &.{};
    host_call.last = null;
}

/// textOf puts an error into words.
pub fn textOf(err: anyerror) []const u8 {
    if (err == error.Failed) return said;
    if (host_call.last) |l| {
        if (err == l) return hostText(@errorName(err));
    }
    return @errorName(err);
}

fn hostText(name: []const u8) []const u8 {
    const e = host_call.lastError();
    if (e.message.len == 0) return name;
    if (e.grant.len == 0) return e.message;
    return std.mem.concat(memory.arena, u8, &.{ e.message, " (missing grant \"", e.grant, "\")" }) catch e.message;
}

/// max_text bounds reasons and errors, in bytes.
const max_text = 1024;

/// cut shortens a text to what the contract allows, and leaves it UTF-8.
pub fn cut(text: []const u8) []const u8 {
    if (text.len <= max_text) return text;
    var n: usize = max_text;
    while (n > 0 and text[n] & 0xC0 == 0x80) n -= 1;
    return text[0..n];
}

/// panic tells the host, and its log, why the module ends. Plugins have it as `pub const
/// panic = patchbay.panic;`. The host drops the instance and makes another.
pub const panic = struct {
    pub fn call(text: []const u8, _: ?usize) noreturn {
        @branchHint(.cold);
        abi.log(@backingInt(v1.LogLevel.@"error"), text);
        abi.failed(text);
        @trap();
    }

    // What checks that the compiler puts in say. Their values are left out: formatting
    // them would be larger than all the rest.
    pub fn sentinelMismatch(expected: anytype, _: @TypeOf(expected)) noreturn {
        call("sentinel mismatch", null);
    }
    pub fn unwrapError(err: anyerror) noreturn {
        call(@errorName(err), null);
    }
    pub fn outOfBounds(_: usize, _: usize) noreturn {
        call("index out of bounds", null);
    }
    pub fn startGreaterThanEnd(_: usize, _: usize) noreturn {
        call("start index is larger than end index", null);
    }
    pub fn inactiveUnionField(active: anytype, _: @TypeOf(active)) noreturn {
        call("access of inactive union field", null);
    }
    pub fn sliceCastLenRemainder(_: usize) noreturn {
        call("slice length does not divide exactly into destination elements", null);
    }
    pub fn reachedUnreachable() noreturn {
        call("reached unreachable code", null);
    }
    pub fn unwrapNull() noreturn {
        call("attempt to use null value", null);
    }
    pub fn castToNull() noreturn {
        call("cast causes pointer to be null", null);
    }
    pub fn incorrectAlignment() noreturn {
        call("incorrect alignment", null);
    }
    pub fn invalidErrorCode() noreturn {
        call("invalid error code", null);
    }
    pub fn unexpectedErrorCode(err: anyerror) noreturn {
        call(@errorName(err), null);
    }
    pub fn integerOutOfBounds() noreturn {
        call("integer does not fit in destination type", null);
    }
    pub fn integerOverflow() noreturn {
        call("integer overflow", null);
    }
    pub fn shlOverflow() noreturn {
        call("left shift overflowed bits", null);
    }
    pub fn shrOverflow() noreturn {
        call("right shift overflowed bits", null);
    }
    pub fn divideByZero() noreturn {
        call("division by zero", null);
    }
    pub fn exactDivisionRemainder() noreturn {
        call("exact division produced remainder", null);
    }
    pub fn integerPartOutOfBounds() noreturn {
        call("integer part of floating point value out of bounds", null);
    }
    pub fn corruptSwitch() noreturn {
        call("switch on corrupt value", null);
    }
    pub fn shiftRhsTooBig() noreturn {
        call("shift amount is greater than the type size", null);
    }
    pub fn invalidEnumValue() noreturn {
        call("invalid enum value", null);
    }
    pub fn forLenMismatch() noreturn {
        call("for loop over objects with non-equal lengths", null);
    }
    pub fn copyLenMismatch() noreturn {
        call("source and destination have non-equal lengths", null);
    }
    pub fn memcpyAlias() noreturn {
        call("@memcpy arguments alias", null);
    }
    pub fn noreturnReturned() noreturn {
        call("'noreturn' function returned", null);
    }
    pub fn loadUninstantiableType() noreturn {
        call("attempt to load uninstantiable type", null);
    }
};
