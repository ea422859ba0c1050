// What a plugin in Rust looks like to the meter: std, allocation, formatting. The tests compile it where a rustc with
// the target wasm32-unknown-unknown is found.

use std::collections::BTreeMap;

/// Makes a text of n words and returns a digest of how often each is there.
#[no_mangle]
pub extern "C" fn words(n: u32) -> u64 {
    let text: String = (0..n).map(|i| format!("w{} ", i * i % 17)).collect();
    let mut count: BTreeMap<&str, u64> = BTreeMap::new();
    for word in text.split_whitespace() {
        *count.entry(word).or_default() += 1;
    }
    count
        .iter()
        .fold(n as u64, |sum, (word, n)| sum.wrapping_mul(31).wrapping_add(word.len() as u64 * n))
}

#[no_mangle]
pub extern "C" fn spin() {
    let mut i = 0u32;
    loop {
        unsafe { std::ptr::write_volatile(&mut i, i.wrapping_add(1)) };
    }
}
