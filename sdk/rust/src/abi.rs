//! What the module imports from the host. Outside of WebAssembly, in tests of a plugin's own parts, there is no host:
//! its calls fail, and the log goes to stderr.

use crate::error::{decimal, join};
use crate::v1::{HostOp, LogLevel};

#[cfg(target_arch = "wasm32")]
mod imports {
    #[link(wasm_import_module = "patchbay_v1")]
    extern "C" {
        pub fn log(level: i32, at: *const u8, len: usize);
        pub fn error(at: *const u8, len: usize);
        pub fn now() -> i64;
        pub fn host_call(op: i32, at: *const u8, len: usize, out: *mut u8, capacity: usize) -> i32;
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod imports {
    pub unsafe fn log(level: i32, at: *const u8, len: usize) {
        eprintln!("{} {}", level, String::from_utf8_lossy(std::slice::from_raw_parts(at, len)));
    }
    pub unsafe fn error(at: *const u8, len: usize) {
        log(4, at, len);
    }
    pub unsafe fn now() -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| d.as_millis() as i64)
    }
    pub unsafe fn host_call(_op: i32, _at: *const u8, _len: usize, _out: *mut u8, _capacity: usize) -> i32 {
        crate::v1::HostErrorCode::UNSUPPORTED.0
    }
}

pub(crate) fn log(level: LogLevel, text: &str) {
    unsafe { imports::log(level.0, text.as_ptr(), text.len()) }
}

pub(crate) fn error(text: &str) {
    unsafe { imports::error(text.as_ptr(), text.len()) }
}

pub(crate) fn now() -> i64 {
    unsafe { imports::now() }
}

pub(crate) fn host_call(op: HostOp, request: &[u8], out: &mut [u8]) -> i32 {
    unsafe { imports::host_call(op.0, request.as_ptr(), request.len(), out.as_mut_ptr(), out.len()) }
}

/// Has panics tell the host what they are about before they end the instance.
pub(crate) fn tell_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let why = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(s), _) => *s,
            (_, Some(s)) => s.as_str(),
            _ => "",
        };
        let text = match info.location() {
            Some(l) => join(&["panic at ", l.file(), ":", &decimal(l.line() as usize), ": ", why]),
            None => join(&["panic: ", why]),
        };
        error(&text);
        log(LogLevel::ERROR, &text);
    }));
}
