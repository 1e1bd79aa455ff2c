//! Where the bytes of a key or a value are: in the handle itself, or shared on the heap.

use bytes::Bytes;

/// The longest bytes that a handle holds itself, without an allocation.
///
/// One byte of the handle says which form it is and one the length; with 38 more it is 40 bytes long, which is also
/// what the shared form takes with its tag. A shorter limit would make no handle smaller.
pub(crate) const INLINE_BYTES_MAX: usize = 38;

const _: () = assert!(size_of::<SmallBytes>() == INLINE_BYTES_MAX + 2);
// The tag has room for "none", so that an optional value costs nothing.
const _: () = assert!(size_of::<Option<SmallBytes>>() == size_of::<SmallBytes>());
const _: () = assert!(INLINE_BYTES_MAX <= u8::MAX as usize);

/// Immutable bytes that are cheap to clone.
#[derive(Clone)]
pub(crate) enum SmallBytes {
    /// The first `len` of `bytes`; the rest are zeros.
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    /// Longer than [`INLINE_BYTES_MAX`].
    Shared(Bytes),
}

impl SmallBytes {
    pub(crate) const EMPTY: SmallBytes = SmallBytes::Inline { len: 0, bytes: [0; INLINE_BYTES_MAX] };

    pub(crate) fn copy_from(source: &[u8]) -> SmallBytes {
        SmallBytes::inline(source).unwrap_or_else(|| SmallBytes::Shared(Bytes::copy_from_slice(source)))
    }

    /// Takes over a vector's memory if it is long. Capacity beyond the length is given back, since it would be
    /// held for as long as the value.
    pub(crate) fn from_vec(source: Vec<u8>) -> SmallBytes {
        SmallBytes::inline(&source)
            .unwrap_or_else(|| SmallBytes::Shared(Bytes::from(source.into_boxed_slice())))
    }

    /// Keeps the buffer that `source` is part of alive, unless it is short enough to be copied.
    pub(crate) fn from_bytes(source: Bytes) -> SmallBytes {
        SmallBytes::inline(&source).unwrap_or(SmallBytes::Shared(source))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            SmallBytes::Inline { len, bytes } => &bytes[..usize::from(*len)],
            SmallBytes::Shared(shared) => shared,
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            SmallBytes::Inline { .. } => Bytes::copy_from_slice(self.as_slice()),
            SmallBytes::Shared(shared) => shared,
        }
    }

    /// How many bytes this keeps on the heap: none, or all.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            SmallBytes::Inline { .. } => 0,
            SmallBytes::Shared(shared) => shared.len(),
        }
    }

    fn inline(source: &[u8]) -> Option<SmallBytes> {
        if source.len() > INLINE_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..source.len()].copy_from_slice(source);
        Some(SmallBytes::Inline { len: u8::try_from(source.len()).ok()?, bytes })
    }
}
