//! The size classes of small pieces.

use super::UNIT_BYTES;

/// Larger pieces are runs of pages.
pub(super) const PIECE_BYTES_MAX: usize = 4096;

/// Classes step by 8 bytes up to 512, and by an eighth of a power of two up to 4,096: at most an eighth is wasted, and
/// classes that are multiples of 64 are so exactly.
pub(super) const FINE_BYTES_MAX: usize = 512;
pub(super) const FINE_CLASSES: usize = FINE_BYTES_MAX / UNIT_BYTES;
pub(super) const STEPS: usize = 8;
pub(super) const CLASSES: usize = FINE_CLASSES + 3 * STEPS;
const _: () = assert!(class_bytes(CLASSES - 1) == PIECE_BYTES_MAX);

/// The class of a piece; `None` if it is a run of pages.
pub(super) fn class_of(bytes: usize) -> Option<usize> {
    debug_assert!(bytes > 0);
    if bytes <= FINE_BYTES_MAX {
        Some(bytes.div_ceil(UNIT_BYTES) - 1)
    } else if bytes <= PIECE_BYTES_MAX {
        // 513..=1024 is the first doubling, in steps of 64.
        let doubling = (usize::BITS - (bytes - 1).leading_zeros()) as usize - 10;
        let base = FINE_BYTES_MAX << doubling;
        let step = base / STEPS;
        Some(FINE_CLASSES + doubling * STEPS + (bytes - base).div_ceil(step) - 1)
    } else {
        None
    }
}

/// The bytes that a piece of a class has.
pub(super) const fn class_bytes(class: usize) -> usize {
    if class < FINE_CLASSES {
        (class + 1) * UNIT_BYTES
    } else {
        let (doubling, step) = ((class - FINE_CLASSES) / STEPS, (class - FINE_CLASSES) % STEPS);
        let base = FINE_BYTES_MAX << doubling;
        base + base / STEPS * (step + 1)
    }
}
