//! Learned partners, kept over restarts: a section of the advice file. See `docs/format/advice.md`, "Learned partners".

use warp_core::{KEY_INLINE_BYTES, Key};
use warp_physics::{BELL_KEY_BYTES, BELL_STORED_BYTES, BELL_STORED_KEY_BYTES, Bell};

use super::{Known, NAME_BYTES};
use crate::learned::{BadSection, Learned};
use crate::shared::Shared;
use crate::types::KEY_BYTES_MAX;

/// How many names there are.
const COUNT_BYTES: usize = 4;
/// Keyspace and length of a name; the key follows.
const NAME_HEADER_BYTES: usize = 4 + 4;

/// A section of so many times as many keys as may be learned now is not read: what it says for each takes memory.
const KEYS_TIMES: usize = 8;

/// A key with its keyspace, in the bytes of the section.
type NameRef<'a> = (u32, &'a [u8]);

/// The part that keeps learned partners.
pub(crate) struct LearnedPartners<'a> {
    pub(crate) shared: &'a Shared,
}

impl Learned for LearnedPartners<'_> {
    fn name(&self) -> &'static str {
        "bell"
    }

    fn version(&self) -> u32 {
        1
    }

    fn save(&self, bytes_max: usize) -> Option<Vec<u8>> {
        // Writing it takes no more memory than what was learned.
        let for_keys = bytes_max
            .saturating_sub(COUNT_BYTES + BELL_STORED_BYTES)
            .min(self.shared.options.physics.learning_bytes);
        // The bytes are the copy: nothing else is done under the lock.
        let known = self.shared.learning.known.lock();
        encode(&known, for_keys, |keyspace| self.shared.floors.is_dropped(keyspace))
    }

    fn load(&self, bytes: &[u8]) -> Result<(), BadSection> {
        let Shared { floors, table, learning, options, .. } = self.shared;
        let most = options.physics.learning_bytes / (BELL_KEY_BYTES + NAME_BYTES);
        let (names, rest) = decode(bytes, KEYS_TIMES * most).ok_or(BadSection)?;
        // The learner takes as many of them as it has room for.
        let hash = |&(keyspace, key): &NameRef<'_>| {
            let is_left_out = key.len() > KEY_INLINE_BYTES || floors.is_dropped(keyspace);
            (!is_left_out).then(|| table.hash_of(keyspace, key))
        };
        let hashes: Vec<Option<u64>> = names.iter().map(hash).collect();
        let (bell, numbers) = Bell::from_bytes(learning.options, rest, &hashes).map_err(|_| BadSection)?;
        let name = |number: &u32| {
            let (keyspace, key) = names[*number as usize];
            Some((keyspace, Key::from(key)))
        };
        let names = numbers.iter().map(name).collect();
        let mut known = learning.known.lock();
        known.bell = bell;
        known.names = names;
        Ok(())
    }
}

/// The section, with as many of the most valuable keys as take `for_keys` bytes; `None` if there are none.
fn encode(known: &Known, for_keys: usize, is_dropped: impl Fn(u32) -> bool) -> Option<Vec<u8>> {
    let mut places = known.bell.most_read(for_keys / (NAME_HEADER_BYTES + BELL_STORED_KEY_BYTES));
    let mut left = for_keys;
    let mut out = vec![0; COUNT_BYTES];
    places.retain(|place| {
        let Some(Some((keyspace, key))) = known.names.get(*place as usize) else { return false };
        let Ok(length) = u32::try_from(key.len()) else { return false };
        let bytes = NAME_HEADER_BYTES + key.len() + BELL_STORED_KEY_BYTES;
        if bytes > left || is_dropped(*keyspace) {
            return false;
        }
        left -= bytes;
        out.extend_from_slice(&keyspace.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(key);
        true
    });
    if places.is_empty() {
        return None;
    }
    let count = u32::try_from(places.len()).ok()?;
    out[..COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
    out.append(&mut known.bell.to_bytes(&places));
    Some(out)
}

/// The names of a section, and what is behind them; `None` for what [`encode`] does not make, and for more than `most`.
fn decode(bytes: &[u8], most: usize) -> Option<(Vec<NameRef<'_>>, &[u8])> {
    let (count, mut rest) = split_number(bytes)?;
    if count as usize > most {
        return None;
    }
    // No more than there can be in so many bytes.
    let mut names = Vec::with_capacity((count as usize).min(rest.len() / NAME_HEADER_BYTES));
    for _ in 0..count {
        let (keyspace, behind) = split_number(rest)?;
        let (length, behind) = split_number(behind)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= KEY_BYTES_MAX)?;
        let (key, behind) = behind.split_at_checked(length)?;
        names.push((keyspace, key));
        rest = behind;
    }
    Some((names, rest))
}

fn split_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::Learning;
    use crate::options::Physics;

    /// Pairs that were read together, of two keyspaces; the second of a pair has a long name.
    fn learned(pairs: u64) -> Learning {
        let learning = Learning::new(&Physics { learning: true, ..Physics::default() });
        let mut known = learning.known.lock();
        for _ in 0..4 {
            for pair in 0..pairs {
                let keyspace = if pair.is_multiple_of(2) { 1 } else { 2 };
                known.learn(2 * pair, keyspace, Key::from(format!("first:{pair}").as_bytes()));
                known.learn(2 * pair + 1, keyspace, Key::from(format!("second:{pair:0>50}").as_bytes()));
                known.bell.interrupt();
            }
        }
        drop(known);
        learning
    }

    #[test]
    fn the_names_of_those_that_fit_are_written() {
        let learning = learned(100);
        let known = learning.known.lock();
        for for_keys in [0, 10, 100, 1_000, 5_000, 1 << 20] {
            let Some(bytes) = encode(&known, for_keys, |keyspace| keyspace == 2) else {
                assert!(for_keys < 100, "{for_keys}");
                continue;
            };
            assert!(bytes.len() <= COUNT_BYTES + BELL_STORED_BYTES + for_keys);
            let (names, rest) = decode(&bytes, usize::MAX).unwrap();
            assert!(!names.is_empty() && names.iter().all(|(keyspace, _)| *keyspace == 1));
            assert_eq!(names.len() == 100, for_keys == 1 << 20, "{} names in {for_keys}", names.len());
            let hashes: Vec<Option<u64>> = (0..).zip(&names).map(|(hash, _)| Some(hash)).collect();
            let (bell, numbers) = Bell::from_bytes(learning.options, rest, &hashes).unwrap();
            assert_eq!((bell.tracked(), numbers.len()), (names.len(), names.len()));
        }
        assert_eq!(encode(&known, 1 << 20, |_| true), None);
    }

    #[test]
    fn any_bytes_are_names_or_refused() {
        let learning = learned(2);
        let good = encode(&learning.known.lock(), 1 << 20, |_| false).unwrap();
        for place in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[place] = byte;
                if let Some((names, _)) = decode(&bytes, usize::MAX) {
                    assert!(names.len() <= good.len() / NAME_HEADER_BYTES);
                }
            }
        }
        for length in 0..COUNT_BYTES {
            assert_eq!(decode(&good[..length], usize::MAX), None);
            assert_eq!(decode(&good, 0), None, "too many");
        }
    }
}
