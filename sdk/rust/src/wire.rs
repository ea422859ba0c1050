//! The codec that the messages of `v1` are read and written with.
//!
//! A reader notes its first error and goes on with nothing, so that what is generated need not look; a writer
//! fills its buffer from the end, since the length of what is nested is known after it has been written.

pub use crate::text::{Bytes, Text};

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    Truncated = 1,
    Overflow,
    Tag,
    Utf8,
    Limit,
}

impl DecodeError {
    /// What is wrong, in words.
    pub fn text(self) -> &'static str {
        match self {
            DecodeError::Truncated => "the input ends too early",
            DecodeError::Overflow => "a varint has more than 64 bits",
            DecodeError::Tag => "not a field number and wire type",
            DecodeError::Utf8 => "a string is not UTF-8",
            DecodeError::Limit => "more elements, or deeper nested, than the contract allows",
        }
    }
}

/// A message that can be read. It is used as a trait object, so that a module has one loop over fields and not one
/// for each type; and it is not one with `Put`, so that a module that only reads a message does not carry what writes it.
pub trait Fields<'a> {
    /// Reads the value of the field with this tag; false if there is none.
    fn field(&mut self, tag: u32, r: &mut Reader<'a>) -> bool;
}

/// A message that can be written.
pub trait Put {
    /// Writes the fields, from the last to the first.
    fn put(&self, w: &mut Writer);
}

/// A message of the contract.
pub trait Proto<'a>: Fields<'a> + Put + Default {
    /// Its name in the .proto files.
    const NAME: &'static str;

    /// Reads an encoding, which text and bytes of the message point into.
    fn decode(input: &'a [u8]) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        read(&mut message, input)?;
        Ok(message)
    }

    /// The encoding.
    fn encode(&self) -> Writer {
        let mut w = Writer::default();
        self.put(&mut w);
        w
    }
}

/// Reads an encoding into a message that is empty.
pub(crate) fn read<'a>(message: &mut dyn Fields<'a>, input: &'a [u8]) -> Result<(), DecodeError> {
    let mut r = Reader { input, at: 0, left: MAX_ELEMENTS, error: None };
    r.fields(message);
    match r.error {
        None => Ok(()),
        Some(e) => Err(e),
    }
}

/// Elements of all lists of a message together.
const MAX_ELEMENTS: i32 = 65_536;
/// The largest field number.
const MAX_FIELD: u64 = (1 << 29) - 1;
/// How deep groups may nest in what is skipped; the contract has none.
const MAX_GROUPS: u32 = 16;
/// As many elements as the first memory of a list holds at most: a longer one doubles.
const FIRST_CAPACITY: usize = 64;

/// Reads a message.
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    left: i32,
    error: Option<DecodeError>,
}

impl<'a> Reader<'a> {
    #[cold]
    fn fail(&mut self, e: DecodeError) {
        if self.error.is_none() {
            self.error = Some(e);
        }
        self.at = self.input.len();
    }

    #[inline]
    fn varint(&mut self) -> u64 {
        match self.input.get(self.at) {
            Some(&b) if b < 0x80 => {
                self.at += 1;
                b as u64
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> u64 {
        let mut v = 0;
        for shift in (0..64).step_by(7) {
            let b = match self.input.get(self.at) {
                Some(&b) => b,
                None => {
                    self.fail(DecodeError::Truncated);
                    return 0;
                }
            };
            self.at += 1;
            if shift == 63 && b > 1 {
                break;
            }
            v |= ((b & 0x7F) as u64) << shift;
            if b < 0x80 {
                return v;
            }
        }
        self.fail(DecodeError::Overflow);
        0
    }

    #[inline(never)]
    fn span(&mut self) -> &'a [u8] {
        let n = self.varint();
        let end = self.at.saturating_add(usize::try_from(n).unwrap_or(usize::MAX));
        match self.input.get(self.at..end) {
            Some(b) => {
                self.at = end;
                b
            }
            None => {
                self.fail(DecodeError::Truncated);
                &[]
            }
        }
    }

    fn fixed<const N: usize>(&mut self) -> [u8; N] {
        match self.input.get(self.at..self.at + N) {
            Some(b) => {
                self.at += N;
                let mut out = [0; N];
                out.copy_from_slice(b);
                out
            }
            None => {
                self.fail(DecodeError::Truncated);
                [0; N]
            }
        }
    }

    /// Reads fields up to the end of the input.
    fn fields(&mut self, message: &mut dyn Fields<'a>) {
        while self.at < self.input.len() {
            let tag = self.varint();
            if tag > u32::MAX as u64 {
                self.skip(tag, 1);
                self.fail(DecodeError::Tag);
            } else if !message.field(tag as u32, self) {
                self.skip(tag, 1);
                self.check_number(tag);
            }
        }
    }

    fn check_number(&mut self, tag: u64) {
        if (tag >> 3).wrapping_sub(1) >= MAX_FIELD {
            self.fail(DecodeError::Tag);
        }
    }

    /// Passes over the value of a field that is not known.
    fn skip(&mut self, tag: u64, depth: u32) {
        if self.error.is_some() {
            return;
        }
        match tag & 7 {
            0 => {
                self.varint();
            }
            1 => {
                self.fixed::<8>();
            }
            2 => {
                self.span();
            }
            3 if depth > MAX_GROUPS => self.fail(DecodeError::Limit),
            3 => loop {
                let inner = self.varint();
                if self.error.is_some() {
                    return;
                }
                if inner & 7 == 4 {
                    if inner != tag + 1 {
                        self.fail(DecodeError::Tag);
                    }
                    return;
                }
                self.skip(inner, depth + 1);
                self.check_number(inner);
            },
            5 => {
                self.fixed::<4>();
            }
            _ => self.fail(DecodeError::Tag),
        }
    }

    // What reads a field is not inlined: there are some hundred of them, and a module is small.

    #[inline(never)]
    pub(crate) fn bool(&mut self, x: &mut bool) {
        *x = self.varint() != 0;
    }

    #[inline(never)]
    pub(crate) fn uint32(&mut self, x: &mut u32) {
        *x = self.varint() as u32;
    }

    #[inline(never)]
    pub(crate) fn uint64(&mut self, x: &mut u64) {
        *x = self.varint();
    }

    #[inline(never)]
    pub(crate) fn int64(&mut self, x: &mut i64) {
        *x = self.varint() as i64;
    }

    #[inline(never)]
    pub(crate) fn enumeration(&mut self, x: &mut i32) {
        *x = self.varint() as i32;
    }

    pub(crate) fn double(&mut self, x: &mut f64) {
        *x = f64::from_le_bytes(self.fixed());
    }

    #[inline(never)]
    pub(crate) fn text(&mut self, x: &mut Text<'a>) {
        match std::str::from_utf8(self.span()) {
            Ok(s) => *x = s.into(),
            Err(_) => self.fail(DecodeError::Utf8),
        }
    }

    #[inline(never)]
    pub(crate) fn bytes(&mut self, x: &mut Bytes<'a>) {
        *x = self.span().into();
    }

    /// Sets the input to what is length-delimited, and returns what it was and where to go on in it.
    fn enter(&mut self) -> (&'a [u8], usize) {
        let inner = self.span();
        let outer = (self.input, self.at);
        self.input = inner;
        self.at = 0;
        outer
    }

    fn leave(&mut self, outer: (&'a [u8], usize)) {
        self.input = outer.0;
        self.at = if self.error.is_some() { outer.0.len() } else { outer.1 };
    }

    #[inline(never)]
    fn nested(&mut self, message: &mut dyn Fields<'a>) {
        let outer = self.enter();
        self.fields(message);
        self.leave(outer);
    }

    /// A message that is there twice is merged.
    pub(crate) fn message<M: Proto<'a>>(&mut self, x: &mut Option<Box<M>>) {
        self.nested(&mut **x.get_or_insert_with(Default::default));
    }

    /// Whether there may be one more element.
    fn counts(&mut self, len: usize, limit: usize) -> bool {
        self.left -= 1;
        if self.left < 0 || len >= limit {
            self.fail(DecodeError::Limit);
            return false;
        }
        true
    }

    /// How much room a list gets that has none left: at first as much as it can need, since an element takes two bytes
    /// and mostly some more.
    fn room(&self, len: usize) -> usize {
        len.max(((self.input.len() - self.at) / 8 + 1).min(FIRST_CAPACITY))
    }

    pub(crate) fn message_list<M: Proto<'a>>(&mut self, list: &mut Vec<M>, limit: usize) {
        if self.counts(list.len(), limit) {
            push(list, M::default(), self.room(list.len()));
            if let Some(last) = list.last_mut() {
                self.nested(last);
            }
        }
    }

    #[inline(never)]
    pub(crate) fn text_list(&mut self, list: &mut Vec<Text<'a>>, limit: usize) {
        if self.counts(list.len(), limit) {
            let mut x = Text::EMPTY;
            self.text(&mut x);
            push(list, x, self.room(list.len()));
        }
    }

    #[inline(never)]
    pub(crate) fn bytes_list(&mut self, list: &mut Vec<Bytes<'a>>, limit: usize) {
        if self.counts(list.len(), limit) {
            let x = self.span().into();
            push(list, x, self.room(list.len()));
        }
    }

    /// Doubles one after the other in one value.
    pub(crate) fn double_list(&mut self, list: &mut Vec<f64>, limit: usize) {
        let outer = self.enter();
        while self.at < self.input.len() {
            self.double_list_element(list, limit);
        }
        self.leave(outer);
    }

    pub(crate) fn double_list_element(&mut self, list: &mut Vec<f64>, limit: usize) {
        let mut v = 0.0;
        self.double(&mut v);
        if self.error.is_none() && self.counts(list.len(), limit) {
            push(list, v, self.room(list.len()));
        }
    }
}

/// `Vec::push` that grows by as much as it is told, in one place: that of the library has two for each type.
fn push<T>(list: &mut Vec<T>, x: T, room: usize) {
    let len = list.len();
    if len == list.capacity() {
        list.reserve_exact(room);
    }
    // reserve_exact has made room for one element at least, since room is not 0.
    unsafe {
        list.as_mut_ptr().add(len).write(x);
        list.set_len(len + 1);
    }
}

/// Writes a message, from the end to the beginning.
#[derive(Default)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Where what is written begins.
    at: usize,
}

/// Most answers fit into so many bytes.
const FIRST_BUFFER: usize = 256;

impl Writer {
    /// What was written.
    pub fn bytes_written(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or(&[])
    }

    fn written(&self) -> usize {
        self.buffer.len() - self.at
    }

    #[cold]
    fn grow(&mut self, n: usize) {
        let used = self.written();
        let at = used + n + FIRST_BUFFER;
        let mut larger = vec![0; at];
        larger.extend_from_slice(self.bytes_written());
        self.buffer = larger;
        self.at = at;
    }

    #[inline(never)]
    fn raw(&mut self, b: &[u8]) {
        if self.at < b.len() {
            self.grow(b.len());
        }
        self.at -= b.len();
        // Now at + b.len() is at most what at was, which is within the buffer.
        unsafe { std::ptr::copy_nonoverlapping(b.as_ptr(), self.buffer.as_mut_ptr().add(self.at), b.len()) }
    }

    fn varint(&mut self, mut v: u64) {
        if self.at < 10 {
            self.grow(10);
        }
        let len = (64 - (v | 1).leading_zeros() as usize + 6) / 7;
        self.at -= len;
        for (i, b) in self.buffer.iter_mut().skip(self.at).take(len).enumerate() {
            *b = v as u8 | if i + 1 < len { 0x80 } else { 0 };
            v >>= 7;
        }
    }

    /// A varint that is not zero, and its tag before it.
    #[inline(never)]
    pub(crate) fn uint64(&mut self, tag: u32, v: u64) {
        if v != 0 {
            self.varint(v);
            self.varint(tag as u64);
        }
    }

    pub(crate) fn bool(&mut self, tag: u32, v: bool) {
        self.uint64(tag, v as u64);
    }

    pub(crate) fn uint32(&mut self, tag: u32, v: u32) {
        self.uint64(tag, v as u64);
    }

    pub(crate) fn int64(&mut self, tag: u32, v: i64) {
        self.uint64(tag, v as u64);
    }

    /// With its sign in all 64 bits.
    pub(crate) fn enumeration(&mut self, tag: u32, v: i32) {
        self.uint64(tag, v as i64 as u64);
    }

    #[inline(never)]
    pub(crate) fn double(&mut self, tag: u32, v: f64) {
        if v.to_bits() != 0 {
            self.raw(&v.to_le_bytes());
            self.varint(tag as u64);
        }
    }

    fn span(&mut self, tag: u32, b: &[u8]) {
        self.raw(b);
        self.varint(b.len() as u64);
        self.varint(tag as u64);
    }

    #[inline(never)]
    pub(crate) fn text(&mut self, tag: u32, v: &Text) {
        if !v.is_empty() {
            self.span(tag, v.as_bytes());
        }
    }

    #[inline(never)]
    pub(crate) fn bytes(&mut self, tag: u32, v: &Bytes) {
        if !v.is_empty() {
            self.span(tag, v);
        }
    }

    #[inline(never)]
    pub(crate) fn text_list(&mut self, tag: u32, list: &[Text]) {
        for v in list.iter().rev() {
            self.span(tag, v.as_bytes());
        }
    }

    #[inline(never)]
    pub(crate) fn bytes_list(&mut self, tag: u32, list: &[Bytes]) {
        for v in list.iter().rev() {
            self.span(tag, v);
        }
    }

    pub(crate) fn double_list(&mut self, tag: u32, list: &[f64]) {
        if !list.is_empty() {
            for v in list.iter().rev() {
                self.raw(&v.to_le_bytes());
            }
            self.varint(8 * list.len() as u64);
            self.varint(tag as u64);
        }
    }

    #[inline(never)]
    fn nested(&mut self, tag: u32, m: &dyn Put) {
        let before = self.written();
        m.put(self);
        self.varint((self.written() - before) as u64);
        self.varint(tag as u64);
    }

    pub(crate) fn message<M: Put>(&mut self, tag: u32, v: &Option<Box<M>>) {
        if let Some(m) = v {
            self.nested(tag, &**m);
        }
    }

    pub(crate) fn message_list<M: Put>(&mut self, tag: u32, list: &[M]) {
        for m in list.iter().rev() {
            self.nested(tag, m);
        }
    }
}

/// Reads a message and writes it again, for tests.
pub(crate) fn again<'a, M: Proto<'a>>(input: &'a [u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(M::decode(input)?.encode().bytes_written().to_vec())
}
