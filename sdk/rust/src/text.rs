//! Text and bytes of messages, borrowed or owned. They are what `Cow` is, in 12 bytes, with all zeros as the empty value:
//! a message of forty fields is made by clearing its memory, which is a fifth of the code.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// Memory that is owned if it has a capacity.
struct Raw {
    at: *mut u8,
    len: usize,
    capacity: usize,
}

impl Raw {
    const EMPTY: Raw = Raw { at: std::ptr::null_mut(), len: 0, capacity: 0 };

    /// The caller sees to it that the result does not outlive what is borrowed.
    fn borrowed(b: &[u8]) -> Raw {
        Raw { at: b.as_ptr() as *mut u8, len: b.len(), capacity: 0 }
    }

    fn owned(v: Vec<u8>) -> Raw {
        let mut v = ManuallyDrop::new(v); // without a capacity there is nothing to drop
        Raw { at: v.as_mut_ptr(), len: v.len(), capacity: v.capacity() }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // Not null, since it is not empty; valid as long as it is owned, or borrowed for a lifetime that its user has.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }

    fn into_vec(self) -> Vec<u8> {
        if self.capacity == 0 {
            return self.bytes().to_vec();
        }
        let raw = ManuallyDrop::new(self);
        // It was made of a Vec by owned().
        unsafe { Vec::from_raw_parts(raw.at, raw.len, raw.capacity) }
    }
}

impl Drop for Raw {
    #[inline]
    fn drop(&mut self) {
        if self.capacity > 0 {
            drop_owned(self);
        }
    }
}

#[inline(never)]
fn drop_owned(raw: &mut Raw) {
    drop(unsafe { Vec::from_raw_parts(raw.at, raw.len, raw.capacity) });
}

// What is owned is not shared, and what is borrowed is not written to.
unsafe impl Send for Raw {}
unsafe impl Sync for Raw {}

/// Text of a message: borrowed where it came from the host, and whatever you like in an answer (`"a".into()`,
/// `format!(…).into()`).
pub struct Text<'a> {
    raw: Raw,
    borrowed: PhantomData<&'a str>,
}

/// Bytes of a message, borrowed or owned as `Text`.
pub struct Bytes<'a> {
    raw: Raw,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Text<'a> {
    /// No text.
    pub const EMPTY: Text<'static> = Text { raw: Raw::EMPTY, borrowed: PhantomData };

    /// A copy that borrows nothing, or the same if it is owned already.
    pub fn into_owned(self) -> Text<'static> {
        self.into_string().into()
    }

    /// A copy. That of `Display` does the same, and brings 2 KB along.
    #[allow(clippy::inherent_to_string_shadow_display)]
    pub fn to_string(&self) -> String {
        String::from(&**self)
    }

    pub fn into_string(self) -> String {
        // A Text is made of str and String only.
        unsafe { String::from_utf8_unchecked(self.raw.into_vec()) }
    }
}

impl<'a> Bytes<'a> {
    /// No bytes.
    pub const EMPTY: Bytes<'static> = Bytes { raw: Raw::EMPTY, borrowed: PhantomData };

    /// A copy that borrows nothing, or the same if it is owned already.
    pub fn into_owned(self) -> Bytes<'static> {
        self.into_vec().into()
    }

    pub fn into_vec(self) -> Vec<u8> {
        self.raw.into_vec()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        // A Text is made of str and String only.
        unsafe { std::str::from_utf8_unchecked(self.raw.bytes()) }
    }
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.raw.bytes()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(s: &'a str) -> Text<'a> {
        Text { raw: Raw::borrowed(s.as_bytes()), borrowed: PhantomData }
    }
}

impl From<String> for Text<'static> {
    fn from(s: String) -> Text<'static> {
        Text { raw: Raw::owned(s.into_bytes()), borrowed: PhantomData }
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(b: &'a [u8]) -> Bytes<'a> {
        Bytes { raw: Raw::borrowed(b), borrowed: PhantomData }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Bytes<'a> {
    fn from(b: &'a [u8; N]) -> Bytes<'a> {
        b[..].into()
    }
}

impl From<Vec<u8>> for Bytes<'static> {
    fn from(v: Vec<u8>) -> Bytes<'static> {
        Bytes { raw: Raw::owned(v), borrowed: PhantomData }
    }
}

macro_rules! common {
    ($type:ident, $target:ty, $owned:ty) => {
        impl Default for $type<'_> {
            #[inline]
            fn default() -> Self {
                $type::EMPTY
            }
        }

        impl<'a> Clone for $type<'a> {
            fn clone(&self) -> $type<'a> {
                if self.raw.capacity == 0 {
                    let raw = Raw { at: self.raw.at, len: self.raw.len, capacity: 0 };
                    return $type { raw, borrowed: PhantomData };
                }
                (**self).to_owned().into()
            }
        }

        impl AsRef<$target> for $type<'_> {
            fn as_ref(&self) -> &$target {
                self
            }
        }

        impl fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }

        impl Eq for $type<'_> {}

        impl PartialEq<$type<'_>> for $type<'_> {
            fn eq(&self, other: &$type<'_>) -> bool {
                **self == **other
            }
        }

        common!(equal $type, $target);
        common!(equal $type, &$target);
        common!(equal $type, $owned);
    };
    (equal $type:ident, $other:ty) => {
        impl PartialEq<$other> for $type<'_> {
            fn eq(&self, other: &$other) -> bool {
                **self == other[..]
            }
        }

        impl PartialEq<$type<'_>> for $other {
            fn eq(&self, other: &$type<'_>) -> bool {
                self[..] == **other
            }
        }
    };
}

common!(Text, str, String);
common!(Bytes, [u8], Vec<u8>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrowed_and_owned() {
        let from = String::from("grüße");
        let (borrowed, owned) = (Text::from(from.as_str()), Text::from(from.clone()));
        assert!(borrowed == owned && owned == "grüße" && borrowed == *"grüße" && owned == from);
        assert_eq!(borrowed.as_ptr(), from.as_ptr());
        assert_eq!(borrowed.clone().as_ptr(), from.as_ptr());
        assert_ne!(owned.clone().as_ptr(), owned.as_ptr());
        assert_ne!(borrowed.clone().into_owned().as_ptr(), from.as_ptr());
        let at = owned.as_ptr();
        assert_eq!(owned.into_owned().into_string().as_ptr(), at);
        assert_eq!(format!("{} {:?}", borrowed, borrowed), "grüße \"grüße\"");
    }

    #[test]
    fn empty() {
        for t in [Text::EMPTY, Text::default(), "".into(), String::new().into(), String::with_capacity(9).into()] {
            assert!(t.is_empty() && t == "" && t.clone().into_owned().into_string().is_empty());
        }
        assert_eq!(Bytes::from(Vec::new()), Bytes::EMPTY);
        assert_eq!(std::mem::size_of::<Text>(), 3 * std::mem::size_of::<usize>());
    }

    #[test]
    fn bytes() {
        let b = Bytes::from(vec![1, 2, 3]);
        assert_eq!((&b[1..], b.clone()), (&[2u8, 3][..], Bytes::from(&[1, 2, 3])));
        assert_eq!(b.into_owned().into_vec(), [1, 2, 3]);
    }
}
