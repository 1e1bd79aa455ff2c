//! Where the bytes of a key or a value are: in the handle itself, or shared on the heap.
#![expect(
    unsafe_code,
    reason = "a handle's room beyond its bytes is not written: each store takes room in the processor"
)]

use std::mem::MaybeUninit;

use bytes::Bytes;

// One byte says which form it is and one the length; the shared form takes 40 bytes with its tag, and more bytes than
// that are a multiple of eight.
const _: () = assert!(size_of::<SmallBytes<38>>() == 40);
const _: () = assert!(size_of::<SmallBytes<118>>() == 120);
// The tag has room for "none", so that an optional value costs nothing.
const _: () = assert!(size_of::<Option<SmallBytes<38>>>() == size_of::<SmallBytes<38>>());

/// Immutable bytes that are cheap to clone; up to `N` of them without an allocation.
#[derive(Clone)]
pub(crate) enum SmallBytes<const N: usize> {
    /// The first `len` of `bytes`; the rest may be anything.
    Inline { len: u8, bytes: MaybeUninit<[u8; N]> },
    /// Longer than `N`.
    Shared(Bytes),
}

impl<const N: usize> SmallBytes<N> {
    /// No bytes. Writes the length alone.
    #[inline(always)]
    pub(crate) fn empty() -> SmallBytes<N> {
        SmallBytes::Inline { len: 0, bytes: MaybeUninit::uninit() }
    }

    pub(crate) fn copy_from(source: &[u8]) -> SmallBytes<N> {
        SmallBytes::inline(source).unwrap_or_else(|| SmallBytes::Shared(Bytes::copy_from_slice(source)))
    }

    /// Takes over a vector's memory if it is long. Capacity beyond the length is given back, since it would be
    /// held for as long as the value.
    pub(crate) fn from_vec(source: Vec<u8>) -> SmallBytes<N> {
        SmallBytes::inline(&source)
            .unwrap_or_else(|| SmallBytes::Shared(Bytes::from(source.into_boxed_slice())))
    }

    /// Keeps the buffer that `source` is part of alive, unless it is short enough to be copied.
    pub(crate) fn from_bytes(source: Bytes) -> SmallBytes<N> {
        SmallBytes::inline(&source).unwrap_or(SmallBytes::Shared(source))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            SmallBytes::Inline { len, bytes } => {
                // SAFETY: whoever sets the length has written so many bytes, and there is room for them.
                unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), usize::from(*len)) }
            }
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

    /// Makes itself a copy of `source` if that is short, in its own place: to move one takes twenty instructions, and the
    /// processor gets to the next cache miss only if few lie before it.
    #[inline(always)]
    pub(crate) fn set_short(&mut self, source: &[u8]) -> bool {
        if let SmallBytes::Shared(_) = self {
            *self = SmallBytes::empty();
        }
        match (self, u8::try_from(source.len())) {
            (SmallBytes::Inline { len, bytes }, Ok(source_len)) if source.len() <= N => {
                // SAFETY: the source is no longer than the destination, which is borrowed mutably.
                unsafe {
                    std::ptr::copy_nonoverlapping(source.as_ptr(), bytes.as_mut_ptr().cast(), source.len())
                };
                *len = source_len;
                true
            }
            _ => false,
        }
    }

    fn inline(source: &[u8]) -> Option<SmallBytes<N>> {
        (source.len() <= N).then(|| {
            let mut inline = SmallBytes::empty();
            inline.set_short(source);
            inline
        })
    }
}
