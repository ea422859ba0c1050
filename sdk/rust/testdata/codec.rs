//! A module by which the tests reach codec and JSON reader: see sdk/internal/codectest.

use patchbay::Json;

static mut INPUT: Vec<u8> = Vec::new();
static mut OUTPUT: Vec<u8> = Vec::new();

fn result(output: Vec<u8>) -> i64 {
    unsafe {
        OUTPUT = output;
        let at = std::ptr::addr_of!(OUTPUT);
        ((*at).as_ptr() as u64 as i64) << 32 | (*at).len() as i64
    }
}

#[no_mangle]
extern "C" fn input(size: usize) -> *mut u8 {
    unsafe {
        INPUT = vec![0; size];
        (*std::ptr::addr_of_mut!(INPUT)).as_mut_ptr()
    }
}

/// Reads the message whose name and bytes are in the input, and writes it again.
#[no_mangle]
extern "C" fn again(at: *const u8, name: usize, size: usize) -> i64 {
    let input = unsafe { std::slice::from_raw_parts(at, size) };
    let (name, encoded) = input.split_at(name);
    match patchbay::v1::again(std::str::from_utf8(name).unwrap(), encoded) {
        None => -100,
        Some(Err(e)) => -(e as i64),
        Some(Ok(out)) => result(out),
    }
}

fn text(s: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", s.len()).as_bytes());
    out.extend_from_slice(s.as_bytes());
}

fn print(v: &Json, out: &mut Vec<u8>) {
    match v {
        Json::Null => out.push(b'n'),
        Json::Bool(b) => out.extend_from_slice(if *b { b"t1" } else { b"t0" }),
        Json::Number(s) => {
            out.push(b's');
            text(s, out);
        }
        Json::String(s) => {
            out.push(b'd');
            text(s, out);
        }
        Json::Array(items) => {
            out.push(b'a');
            items.iter().for_each(|v| print(v, out));
            out.push(b'.');
        }
        Json::Object(members) => {
            out.push(b'o');
            for (name, v) in members {
                text(name, out);
                print(v, out);
            }
            out.push(b'.');
        }
    }
}

/// Reads the JSON text in the input and prints it as codectest does.
#[no_mangle]
extern "C" fn json(at: *const u8, size: usize) -> i64 {
    let input = unsafe { std::slice::from_raw_parts(at, size) };
    match std::str::from_utf8(input).ok().and_then(|s| Json::parse(s).ok()) {
        None => -1,
        Some(v) => {
            let mut out = Vec::new();
            print(&v, &mut out);
            result(out)
        }
    }
}
