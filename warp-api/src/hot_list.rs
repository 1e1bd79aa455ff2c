//! The hot list: which entries were used most, as a section of the advice file. See `docs/format/advice.md`, "The hot list".

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use warp_core::{EntryRef, SLOTS};

use crate::learned::{BadSection, Learned};
use crate::shared::Shared;

/// Most entries of a hot list: 8 MiB of hashes.
pub(crate) const HOT_LIST_ENTRIES_MAX: usize = 1 << 20;
/// A hot list has an entry for each so many bytes of the budget at most: writing or reading it takes some copies of its hashes
/// for a moment, which then stay within some hundredths of the budget.
const BUDGET_BYTES_PER_ENTRY: u64 = 1 << 10;
/// Masses are below this.
const MASSES: usize = 128;
/// With more entries than this in memory, how many have which mass is estimated from a part of the slots, each of which holds a
/// random part of all keys: one walk instead of two.
const EXACT_ENTRIES_MAX: usize = 1 << 18;
/// That part.
const SAMPLED_SLOT_ONE_IN: usize = 16;
/// What a section takes beside its hashes, with a group for each mass.
const SECTION_OVERHEAD: usize = 4096;

/// Hashes of keys whose entries have one mass, in ascending order.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HotGroup {
    /// A decayed count of the uses of each.
    pub(crate) mass: u32,
    pub(crate) hashes: Vec<u64>,
}

/// The archive: groups in descending order of mass.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
struct Groups {
    groups: Vec<HotGroup>,
}

const _: () = assert!(size_of::<ArchivedHotGroup>() == 12);
const _: () = assert!(size_of::<ArchivedGroups>() == 8);

/// The part that keeps the hot list.
pub(crate) struct HotList<'a> {
    pub(crate) shared: &'a Shared,
}

impl Learned for HotList<'_> {
    fn name(&self) -> &'static str {
        "hot"
    }

    fn version(&self) -> u32 {
        1
    }

    fn save(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let count_max = bytes_max.saturating_sub(SECTION_OVERHEAD) / size_of::<u64>();
        let within_budget =
            usize::try_from(self.shared.budget.limit() / BUDGET_BYTES_PER_ENTRY).unwrap_or(usize::MAX);
        let groups = self.shared.hottest(count_max.min(HOT_LIST_ENTRIES_MAX).min(within_budget));
        (!groups.is_empty()).then(|| encode(groups))
    }

    fn load(&self, bytes: &[u8]) -> Result<(), BadSection> {
        self.shared.warm.begin(decode(bytes)?);
        Ok(())
    }
}

fn encode(groups: Vec<HotGroup>) -> Vec<u8> {
    rkyv::to_bytes::<rancor::Error>(&Groups { groups })
        .expect("plain structs always fit in memory")
        .into_vec()
}

fn decode(bytes: &[u8]) -> Result<Vec<HotGroup>, BadSection> {
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    let archived = rkyv::access::<ArchivedGroups, rancor::Error>(&aligned).map_err(|_| BadSection)?;
    // Groups of a made-up archive may share their hashes, and be more than the bytes: counted before they are copied.
    let count = archived.groups.iter().fold(0_usize, |sum, group| sum.saturating_add(group.hashes.len()));
    if count > HOT_LIST_ENTRIES_MAX || archived.groups.len() > MASSES {
        return Err(BadSection);
    }
    let copy = |group: &ArchivedHotGroup| HotGroup {
        mass: group.mass.to_native(),
        hashes: group.hashes.iter().map(|hash| hash.to_native()).collect(),
    };
    Ok(archived.groups.iter().map(copy).collect())
}

impl Shared {
    /// The entries in memory of the highest mass, and those that an unfinished warm start has yet to bring in: at most
    /// `count_max`. What has no mass is not hot. Counts masses first, so that no more than the answer is ever held.
    fn hottest(&self, count_max: usize) -> Vec<HotGroup> {
        let mut waiting = self.warm.waiting();
        let mut counts = [0_usize; MASSES];
        let every = if self.table.len() > EXACT_ENTRIES_MAX { SAMPLED_SLOT_ONE_IN } else { 1 };
        // A little more where it is an estimate: what is wanted is not left out for having been underestimated.
        let weight = if every == 1 { 1 } else { every + 1 };
        self.each_hot(every, |mass, _| counts[mass] += weight);
        for group in &waiting {
            counts[(group.mass as usize).min(MASSES - 1)] += group.hashes.len();
        }
        let mut groups = Vec::new();
        let mut left = count_max;
        let mut wanted: Vec<Vec<u64>> = counts.iter().map(|_| Vec::new()).collect();
        let mut limits = [0_usize; MASSES];
        for (limit, count) in limits.iter_mut().zip(counts).rev() {
            *limit = count.min(left);
            left -= *limit;
        }
        self.each_hot(1, |mass, hash| {
            if wanted[mass].len() < limits[mass] {
                wanted[mass].push(hash);
            }
        });
        for group in &mut waiting {
            let mass = (group.mass as usize).min(MASSES - 1);
            group.hashes.truncate(limits[mass].saturating_sub(wanted[mass].len()));
            wanted[mass].append(&mut group.hashes);
        }
        for (mass, mut hashes) in wanted.into_iter().enumerate().rev() {
            hashes.sort_unstable();
            hashes.dedup();
            if mass > 0 && !hashes.is_empty() {
                groups.push(HotGroup { mass: u32::try_from(mass).unwrap_or(u32::MAX), hashes });
            }
        }
        groups
    }

    /// Shows mass and hash of all values that have any mass in one slot of so many.
    fn each_hot(&self, every: usize, mut f: impl FnMut(usize, u64)) {
        for slot in (0..SLOTS).step_by(every) {
            self.table.for_each_in(slot, |entry: EntryRef<'_>| {
                let mass = (entry.mass() as usize).min(MASSES - 1);
                if mass > 0 && self.is_visible(entry.keyspace(), entry) {
                    f(mass, self.table.hash_of(entry.keyspace(), entry.key()));
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<HotGroup> {
        vec![
            HotGroup { mass: 15, hashes: vec![0x1111_1111_1111_1111] },
            HotGroup { mass: 1, hashes: vec![0x2222_2222_2222_2222, 0x3333_3333_3333_3333] },
        ]
    }

    #[test]
    fn groups_come_back_and_are_what_the_document_shows() {
        let document = include_str!("../../docs/format/advice.md");
        let fence = "```hex hot-list\n";
        let text = &document[document.find(fence).unwrap() + fence.len()..];
        let lines = text[..text.find("```").unwrap()].lines();
        let digits = lines.flat_map(|line| line.split('#').next().unwrap().split_whitespace());
        let example: Vec<u8> = digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let bytes = encode(groups());
        let lines: Vec<String> =
            bytes.chunks(16).map(|line| format!("{line:02x?}").replace(',', "")).collect();
        assert!(example == bytes, "it is\n{}", lines.join("\n"));
        assert_eq!(decode(&bytes).unwrap(), groups());
    }

    #[test]
    fn any_bytes_are_groups_or_refused() {
        let good = encode(groups());
        for place in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[place] = byte;
                if let Ok(groups) = decode(&bytes) {
                    assert!(groups.iter().map(|group| group.hashes.len()).sum::<usize>() <= 64);
                }
            }
            assert!(decode(&good[..place]).is_err() || place > 0);
        }
        assert_eq!(decode(&[]), Err(BadSection));
    }

    #[test]
    fn a_list_beyond_the_bound_is_refused() {
        let long = vec![HotGroup { mass: 1, hashes: vec![7; HOT_LIST_ENTRIES_MAX + 1] }];
        assert_eq!(decode(&encode(long)), Err(BadSection));
    }
}
