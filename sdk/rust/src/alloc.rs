//! The allocator: a few hundred bytes of code, for modules with one thread and little memory.
//!
//! Blocks up to 32 KiB have a power of two as their size, and a list of free ones for each; larger ones are whole
//! pages in one list, ordered by address, in which neighbours are joined. Pages are never given back to the host.

use std::alloc::Layout;
use std::ptr::null_mut;

const PAGE: usize = 65_536;
/// Classes of small blocks: 8 bytes to 32 KiB.
const CLASSES: usize = 13;
const SMALLEST: u32 = 3;
/// Alignment of all blocks; what needs more gets fresh memory.
const ALIGN: usize = 16;

/// A free block.
struct Free {
    next: *mut Free,
    /// Of a large block, in bytes.
    size: usize,
}

struct State {
    small: [*mut Free; CLASSES],
    large: *mut Free,
    at: usize,
    end: usize,
}

fn class(size: usize) -> usize {
    let bits = usize::BITS - (size - 1).leading_zeros();
    bits.saturating_sub(SMALLEST) as usize
}

fn pages(size: usize) -> usize {
    (size + PAGE - 1) / PAGE * PAGE
}

#[cfg(target_arch = "wasm32")]
fn grow(size: usize) -> usize {
    match core::arch::wasm32::memory_grow(0, size / PAGE) {
        usize::MAX => 0,
        page => page * PAGE,
    }
}

/// Outside of WebAssembly the allocator is there for its tests.
#[cfg(not(target_arch = "wasm32"))]
fn grow(size: usize) -> usize {
    let layout = Layout::from_size_align(size, PAGE);
    layout.map_or(0, |l| unsafe { std::alloc::alloc(l) } as usize)
}

impl State {
    unsafe fn take_small(&mut self, class: usize, align: usize) -> *mut u8 {
        let head = self.small[class];
        let size: usize = 1 << (class as u32 + SMALLEST);
        let natural = size.min(ALIGN);
        if !head.is_null() && align <= natural {
            self.small[class] = (*head).next;
            return head as *mut u8;
        }
        let align = align.max(natural);
        let mut begin = (self.at + align - 1) / align * align;
        if begin + size > self.end {
            let fresh = self.take_large(PAGE) as usize;
            if fresh == 0 {
                return null_mut();
            }
            // What is left of the page before is lost: at most half of it, mostly much less.
            begin = fresh;
            self.end = fresh + PAGE;
        }
        self.at = begin + size;
        begin as *mut u8
    }

    unsafe fn take_large(&mut self, size: usize) -> *mut u8 {
        let mut link: *mut *mut Free = &mut self.large;
        while !(*link).is_null() {
            let block = *link;
            if (*block).size >= size {
                let rest = (*block).size - size;
                if rest > 0 {
                    // The end is handed out, so that the list stays as it is.
                    (*block).size = rest;
                    return (block as *mut u8).add(rest);
                }
                *link = (*block).next;
                return block as *mut u8;
            }
            link = &mut (*block).next;
        }
        grow(size) as *mut u8
    }

    unsafe fn give_large(&mut self, p: *mut u8, size: usize) {
        let mut link: *mut *mut Free = &mut self.large;
        let mut before: *mut Free = null_mut();
        while !(*link).is_null() && (*link as *mut u8) < p {
            before = *link;
            link = &mut (**link).next;
        }
        let block = p as *mut Free;
        *block = Free { next: *link, size };
        *link = block;
        join(block);
        if !before.is_null() {
            join(before);
        }
    }
}

/// Joins a block with the next one, if they touch.
unsafe fn join(block: *mut Free) {
    let next = (*block).next;
    if !next.is_null() && (block as *mut u8).add((*block).size) == next as *mut u8 {
        (*block).size += (*next).size;
        (*block).next = (*next).next;
    }
}

impl State {
    const fn new() -> State {
        State { small: [null_mut(); CLASSES], large: null_mut(), at: 0, end: 0 }
    }

    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let class = class(layout.size());
        if layout.size() > usize::MAX / 2 || layout.align() > PAGE {
            null_mut()
        } else if class < CLASSES {
            self.take_small(class, layout.align())
        } else {
            self.take_large(pages(layout.size()))
        }
    }

    unsafe fn dealloc(&mut self, p: *mut u8, layout: Layout) {
        let class = class(layout.size());
        if class < CLASSES {
            let block = p as *mut Free;
            (*block).next = self.small[class];
            self.small[class] = block;
        } else {
            self.give_large(p, pages(layout.size()));
        }
    }

    unsafe fn realloc(&mut self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, new) = (class(layout.size()), class(size));
        let same_pages = old >= CLASSES && new >= CLASSES && pages(layout.size()) == pages(size);
        if same_pages || old < CLASSES && old == new {
            return p;
        }
        let to = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
        if !to.is_null() {
            std::ptr::copy_nonoverlapping(p, to, layout.size().min(size));
            self.dealloc(p, layout);
        }
        to
    }
}

/// Memory of the module.
#[cfg(target_arch = "wasm32")]
pub struct Allocator;

#[cfg(target_arch = "wasm32")]
static mut STATE: State = State::new();

#[cfg(target_arch = "wasm32")]
unsafe impl std::alloc::GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (*std::ptr::addr_of_mut!(STATE)).alloc(layout)
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        (*std::ptr::addr_of_mut!(STATE)).dealloc(p, layout)
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        (*std::ptr::addr_of_mut!(STATE)).realloc(p, layout, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks are where they may be, keep what is in them, and do not overlap; what is given back is used again.
    #[test]
    fn blocks() {
        let mut state = State::new();
        let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let mut seed = 1u64;
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        let check = |p: *mut u8, layout: Layout, mark: u8| unsafe {
            assert_eq!(p as usize % layout.align(), 0, "{:?}", layout);
            assert!((0..layout.size()).all(|i| *p.add(i) == mark), "{:?}", layout);
        };
        for round in 0..4_000 {
            let bits = 1 + random(17);
            let size = 1 + random(1 << bits);
            match random(3) {
                0 if !blocks.is_empty() => {
                    let (p, layout, mark) = blocks.swap_remove(random(blocks.len()));
                    check(p, layout, mark);
                    unsafe { state.dealloc(p, layout) };
                }
                1 if !blocks.is_empty() => {
                    let i = random(blocks.len());
                    let (p, layout, mark) = blocks[i];
                    let to = unsafe { state.realloc(p, layout, size) };
                    let kept = Layout::from_size_align(layout.size().min(size), layout.align()).unwrap();
                    check(to, kept, mark);
                    unsafe { to.write_bytes(mark, size) };
                    blocks[i] = (to, Layout::from_size_align(size, layout.align()).unwrap(), mark);
                }
                _ if blocks.len() < 200 => {
                    let layout = Layout::from_size_align(size, 1 << random(8)).unwrap();
                    let p = unsafe { state.alloc(layout) };
                    unsafe { p.write_bytes(round as u8, size) };
                    check(p, layout, round as u8);
                    blocks.push((p, layout, round as u8));
                }
                _ => {}
            }
        }
        for (p, layout, mark) in blocks {
            check(p, layout, mark);
        }
    }

    #[test]
    fn memory_is_used_again() {
        let mut state = State::new();
        let large = Layout::from_size_align(5 * PAGE, 8).unwrap();
        let p = unsafe { state.alloc(large) };
        unsafe { state.dealloc(p, large) };
        let parts: Vec<_> = (0..5).map(|_| unsafe { state.alloc(Layout::from_size_align(PAGE, 8).unwrap()) }).collect();
        assert!(parts.iter().all(|&q| q >= p && (q as usize) < p as usize + 5 * PAGE));
        for q in parts {
            unsafe { state.dealloc(q, Layout::from_size_align(PAGE, 8).unwrap()) };
        }
        assert_eq!(unsafe { state.alloc(large) }, p);
    }
}
