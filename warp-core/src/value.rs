//! The handles that the table gives out.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

use crate::small_bytes::SmallBytes;

/// The longest value that is held in the handle itself, and copied with it.
pub const VALUE_INLINE_BYTES: usize = 118;
/// The longest key that is held in the handle itself, and copied with it.
pub const KEY_INLINE_BYTES: usize = 38;

/// The bytes of a value: immutable, `Send + Sync`, and cheap to clone, whatever the length.
///
/// Up to [`VALUE_INLINE_BYTES`] are held in the handle; longer ones are shared and counted, so that a clone
/// never copies them. A handle stays good for as long as it lives, whatever happens to the entry it came from.
/// A value made from [`Bytes`] keeps alive the whole buffer of which those are a part.
///
/// ```
/// use warp_core::Value;
///
/// let value = Value::from("hello");
/// assert_eq!(&*value, b"hello");
/// assert_eq!(bytes::Bytes::from(value.clone()), &b"hello"[..]);
/// assert!(value < Value::from(vec![0xFF]));
/// ```
#[derive(Clone)]
pub struct Value(SmallBytes<VALUE_INLINE_BYTES>);

/// The bytes of a key, in the form of a [`Value`]: immutable, and cheap to clone; up to
/// [`KEY_INLINE_BYTES`] without an allocation.
///
/// ```
/// use warp_core::Key;
///
/// let keys = std::collections::BTreeSet::from([Key::from("b"), Key::from("a")]);
/// assert_eq!(keys.first().map(|key| &**key), Some(&b"a"[..]));
/// assert!(keys.contains(&b"b"[..]));
/// ```
#[derive(Clone)]
pub struct Key(SmallBytes<KEY_INLINE_BYTES>);

/// What the two handles have in common: they are slices of bytes, in everything that compares or shows them.
macro_rules! handle {
    ($name:ident) => {
        impl $name {
            /// The bytes.
            #[must_use]
            pub fn as_slice(&self) -> &[u8] {
                self.0.as_slice()
            }

            /// How many bytes of the heap this handle keeps, the allocator's rounding aside: 0 if they are held
            /// in the handle, and otherwise the length, although clones may share them.
            #[must_use]
            pub fn heap_bytes(&self) -> usize {
                self.0.heap_bytes()
            }
        }

        impl Deref for $name {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                self.as_slice()
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.as_slice()
            }
        }

        impl Borrow<[u8]> for $name {
            fn borrow(&self) -> &[u8] {
                self.as_slice()
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name(SmallBytes::empty())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "b\"{}\"", self.as_slice().escape_ascii())
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                self.as_slice() == other.as_slice()
            }
        }

        impl Eq for $name {}

        impl PartialEq<[u8]> for $name {
            fn eq(&self, other: &[u8]) -> bool {
                self.as_slice() == other
            }
        }

        impl PartialEq<&[u8]> for $name {
            fn eq(&self, other: &&[u8]) -> bool {
                self.as_slice() == *other
            }
        }

        impl<const N: usize> PartialEq<&[u8; N]> for $name {
            fn eq(&self, other: &&[u8; N]) -> bool {
                self.as_slice() == *other
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &$name) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &$name) -> Ordering {
                self.as_slice().cmp(other.as_slice())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_slice().hash(state);
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> $name {
                $name(SmallBytes::copy_from(bytes))
            }
        }

        impl<const N: usize> From<&[u8; N]> for $name {
            fn from(bytes: &[u8; N]) -> $name {
                $name(SmallBytes::copy_from(bytes))
            }
        }

        impl $name {
            /// Makes this handle one to a copy of `bytes`, in its own place if they are few: for makers of many.
            #[doc(hidden)]
            #[inline(always)]
            pub fn set(&mut self, bytes: &[u8]) {
                if !self.0.set_short(bytes) {
                    *self = $name::from(bytes);
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                $name(SmallBytes::copy_from(text.as_bytes()))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> $name {
                $name(SmallBytes::from_vec(text.into_bytes()))
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> $name {
                $name(SmallBytes::from_vec(bytes))
            }
        }

        impl From<Box<[u8]>> for $name {
            fn from(bytes: Box<[u8]>) -> $name {
                $name(SmallBytes::from_vec(bytes.into_vec()))
            }
        }

        impl From<Bytes> for $name {
            fn from(bytes: Bytes) -> $name {
                $name(SmallBytes::from_bytes(bytes))
            }
        }

        impl From<$name> for Bytes {
            fn from(handle: $name) -> Bytes {
                handle.0.into_bytes()
            }
        }
    };
}

handle!(Value);
handle!(Key);

impl Value {
    /// Puts a copy of `bytes` into `slot`, without moving it there if they are few.
    #[inline(always)]
    pub(crate) fn put_into(slot: &mut Option<Value>, bytes: &[u8]) {
        if slot.is_some() {
            *slot = None;
        }
        slot.insert(Value(SmallBytes::empty())).set(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;

    use super::*;

    fn hash_of(value: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn every_length_around_the_limit_comes_back_from_every_source() {
        for len in (0..=VALUE_INLINE_BYTES + 3).chain([1000]) {
            let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap() ^ 0xA5).collect();
            let mut roomy = Vec::with_capacity(len * 2 + 1);
            roomy.extend_from_slice(&bytes);
            let values = [
                Value::from(&bytes[..]),
                Value::from(bytes.clone()),
                Value::from(roomy),
                Value::from(bytes.clone().into_boxed_slice()),
                Value::from(Bytes::from(bytes.clone())),
            ];
            for value in values {
                assert_eq!(&*value, &bytes[..]);
                assert_eq!(value.clone(), value);
                assert_eq!(value.heap_bytes(), if len <= VALUE_INLINE_BYTES { 0 } else { len });
                assert_eq!(Bytes::from(value), &bytes[..]);
            }
        }
    }

    #[test]
    fn a_long_value_is_shared_and_a_short_one_copied() {
        let long = Value::from(vec![7; VALUE_INLINE_BYTES + 1]);
        assert_eq!(long.clone().as_ptr(), long.as_ptr());
        let short = Value::from(vec![7; VALUE_INLINE_BYTES]);
        assert_ne!(short.clone().as_ptr(), short.as_ptr());
    }

    #[test]
    fn a_short_part_of_a_large_buffer_does_not_keep_it_alive() {
        let buffer = Bytes::from(vec![1; 4096]);
        let short = Value::from(buffer.slice(..8));
        let long = Value::from(buffer.slice(..VALUE_INLINE_BYTES + 1));
        assert!(!buffer.is_unique());
        drop(long);
        assert!(buffer.is_unique());
        assert_eq!(short, &[1; 8]);
    }

    #[test]
    fn the_two_forms_compare_and_hash_as_slices() {
        let long_a = Value::from(vec![b'a'; 160]);
        assert!(Value::from("a") < long_a && long_a < Value::from("b"));
        let zero = Value::from(&[0]);
        assert!(Value::default() < zero);
        assert_eq!(hash_of(Value::from("abc")), hash_of(&b"abc"[..]));
        assert_eq!(hash_of(&long_a), hash_of(&[b'a'; 160][..]));
    }

    #[test]
    fn debug_shows_bytes_that_are_not_text() {
        assert_eq!(format!("{:?}", Value::from(b"a\"\n\xFF")), r#"b"a\"\n\xff""#);
    }
}
