//! LZ4 for values, where it pays.

use crate::error::Corruption;
use crate::format::VALUE_BYTES_MAX;

/// A value is stored compressed only if that saves at least this part of it: less does not pay for decompressing.
const SAVING_MIN_DIVISOR: usize = 8;

/// No LZ4 sequence yields more than 255 bytes for one byte of input, so a longer claim is a lie.
/// Source: the LZ4 block format, where a length continues in bytes that are worth at most 255 each.
const RATIO_MAX: usize = 255;

/// The compressed form of `value` in `scratch`, if it saves enough.
pub(crate) fn compress<'a>(value: &[u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let enough = value.len() - value.len().div_ceil(SAVING_MIN_DIVISOR);
    let room = lz4_flex::block::get_maximum_output_size(value.len());
    if scratch.len() < room {
        scratch.resize(room, 0);
    }
    // With the largest output size as room, compressing cannot run out of it; an error only means "store as it is".
    let bytes = lz4_flex::block::compress_into(value, scratch).ok()?;
    (bytes <= enough).then(|| &scratch[..bytes])
}

/// Decompresses to exactly `raw_bytes` bytes.
pub(crate) fn decompress(stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, Corruption> {
    let limit = stored.len().saturating_mul(RATIO_MAX).min(VALUE_BYTES_MAX);
    if raw_bytes > limit {
        return Err(Corruption::LengthOutOfRange { length: raw_bytes as u64, limit: limit as u64 });
    }
    let mut raw = vec![0; raw_bytes];
    match lz4_flex::block::decompress_into(stored, &mut raw) {
        Ok(bytes) if bytes == raw_bytes => Ok(raw),
        _ => Err(Corruption::BadCompression),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compresses_comes_back() {
        let value = b"to and fro and ".repeat(100);
        let mut scratch = Vec::new();
        let stored = compress(&value, &mut scratch).unwrap().to_vec();
        assert!(stored.len() < value.len() / 8);
        assert_eq!(decompress(&stored, value.len()).unwrap(), value);
    }

    #[test]
    fn a_small_saving_is_not_taken() {
        // 16 bytes that repeat at the end of 240 that do not: a saving below one eighth.
        let mut value: Vec<u8> = (0..240u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        value.extend_from_within(..16);
        assert_eq!(compress(&value, &mut Vec::new()), None);
        assert_eq!(compress(b"", &mut Vec::new()), None);
    }

    #[test]
    fn a_wrong_length_is_refused_before_memory_is_asked_for() {
        let value = vec![7; 10_000];
        let mut scratch = Vec::new();
        let stored = compress(&value, &mut scratch).unwrap();
        for wrong in [0, 1, 9_999, 10_001] {
            assert!(decompress(stored, wrong).is_err(), "{wrong}");
        }
        assert!(matches!(decompress(stored, usize::MAX), Err(Corruption::LengthOutOfRange { .. })));
        let (length, limit) = (stored.len() as u64 * 255 + 1, stored.len() as u64 * 255);
        assert_eq!(
            decompress(stored, stored.len() * 255 + 1),
            Err(Corruption::LengthOutOfRange { length, limit })
        );
    }

    #[test]
    fn the_best_ratio_is_within_the_limit() {
        let value = vec![0; 4 << 20];
        let mut scratch = Vec::new();
        let stored = compress(&value, &mut scratch).unwrap();
        assert!(stored.len() * RATIO_MAX >= value.len());
        assert_eq!(decompress(stored, value.len()).unwrap(), value);
    }
}
