// The functions that a module imports from the host (abi.proto).

// @ts-ignore: decorator
@external("patchbay_v1", "log")
export declare function log(level: i32, text: usize, size: i32): void;

// @ts-ignore: decorator
@external("patchbay_v1", "error")
export declare function error(text: usize, size: i32): void;

// @ts-ignore: decorator
@external("patchbay_v1", "now")
export declare function now(): i64;

// @ts-ignore: decorator
@external("patchbay_v1", "host_call")
export declare function hostCall(op: i32, at: usize, size: i32, out: usize, capacity: i32): i32;
