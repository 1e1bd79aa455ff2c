//! Worth, kept over restarts: a section of the advice file. See `docs/format/advice.md`, "Worth".

use parking_lot::Mutex;

use super::Worth;
use crate::error::chain;
use crate::learned::{BadSection, Learned};
use crate::shared::Shared;

/// Figures of one time, of eight bytes each.
const FIGURES: usize = 17;
const FIGURE_BYTES: usize = size_of::<u64>();
const WORTH_BYTES: usize = FIGURES * FIGURE_BYTES;
/// Since the database was created, and of the last session.
const SECTION_BYTES: usize = 2 * WORTH_BYTES;

/// What the file had when it was read; `None` before.
#[derive(Debug, Default)]
pub(crate) struct WorthKept(Mutex<Option<Kept>>);

/// The worth of what was before this open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kept {
    /// Since the database was created.
    pub(super) total: Worth,
    /// Of the session that wrote it.
    pub(super) last: Worth,
}

impl WorthKept {
    pub(super) fn get(&self) -> Option<Kept> {
        *self.0.lock()
    }

    /// The file was read: what it did not have is nothing.
    pub(crate) fn settle(&self) {
        self.0.lock().get_or_insert_default();
    }
}

/// The part that keeps the worth of all others.
pub(crate) struct KeptWorth<'a> {
    pub(crate) shared: &'a Shared,
}

impl KeptWorth<'_> {
    pub(crate) const NAME: &'static str = "worth";
    const VERSION: u32 = 1;
}

impl Learned for KeptWorth<'_> {
    fn name(&self) -> &'static str {
        KeptWorth::NAME
    }

    fn version(&self) -> u32 {
        KeptWorth::VERSION
    }

    fn save(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let last = self.shared.session_worth();
        let total = self.shared.worth.get()?.total.plus(&last);
        (total != Worth::default() && bytes_max >= SECTION_BYTES).then(|| encode(&Kept { total, last }))
    }

    fn load(&self, bytes: &[u8]) -> Result<(), BadSection> {
        let kept = decode(bytes).ok_or(BadSection)?;
        *self.shared.worth.0.lock() = Some(kept);
        Ok(())
    }
}

impl Shared {
    /// Reads the worth that was kept, for an engine that only reads and so has nobody to read the rest of the file in the background.
    pub(crate) fn load_worth(&self) {
        let Some(home) = self.home.as_ref().filter(|_| self.has_worth()) else { return };
        let database = home.current.load().database_id;
        let part = KeptWorth { shared: self };
        match warp_checkpoint::newest_advice_section(&*home.dir, database, part.name()) {
            Ok(Some(section)) if section.version == part.version() => {
                if part.load(&section.bytes).is_err() {
                    tracing::warn!("what physics was worth cannot be used");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = chain(&error), "what physics was worth cannot be read"),
        }
        self.worth.settle();
    }
}

fn encode(kept: &Kept) -> Vec<u8> {
    let figures = figures(&kept.total).into_iter().chain(figures(&kept.last));
    figures.flat_map(u64::to_le_bytes).collect()
}

/// `None` for what [`encode`] does not make.
fn decode(bytes: &[u8]) -> Option<Kept> {
    let (figures, rest) = bytes.as_chunks::<FIGURE_BYTES>();
    if !rest.is_empty() || figures.len() != 2 * FIGURES {
        return None;
    }
    let (total, last) = figures.split_at(FIGURES);
    Some(Kept { total: worth(total)?, last: worth(last)? })
}

fn figures(worth: &Worth) -> [u64; FIGURES] {
    [
        worth.reads,
        worth.hits,
        worth.lru_hits,
        worth.packed,
        worth.packed_saved_bytes,
        worth.partners_requested,
        worth.partners_found,
        worth.fetched,
        worth.fetched_bytes,
        worth.fetched_used,
        worth.warm_entries,
        worth.warm_bytes,
        worth.warm_used,
        worth.rebalances,
        worth.slots_moved,
        worth.imbalance_removed.to_bits(),
        worth.max_over_mean_removed.to_bits(),
    ]
}

/// `None` where a part is more than the whole, or a number is none.
fn worth(figures: &[[u8; FIGURE_BYTES]]) -> Option<Worth> {
    let mut figures = figures.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let mut next = || figures.next();
    let worth = Worth {
        reads: next()?,
        hits: next()?,
        lru_hits: next()?,
        packed: next()?,
        packed_saved_bytes: next()?,
        partners_requested: next()?,
        partners_found: next()?,
        fetched: next()?,
        fetched_bytes: next()?,
        fetched_used: next()?,
        warm_entries: next()?,
        warm_bytes: next()?,
        warm_used: next()?,
        rebalances: next()?,
        slots_moved: next()?,
        imbalance_removed: f64::from_bits(next()?),
        max_over_mean_removed: f64::from_bits(next()?),
        ..Worth::default()
    };
    let is_whole = worth.hits.max(worth.lru_hits) <= worth.reads
        && worth.partners_found <= worth.partners_requested
        && worth.fetched_used <= worth.fetched
        && worth.imbalance_removed.is_finite()
        && worth.max_over_mean_removed.is_finite();
    is_whole.then(|| worth.completed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(from: u64) -> Worth {
        let numbers: Vec<[u8; FIGURE_BYTES]> =
            (0..FIGURES as u64).map(|n| (1_000 + from - n).to_le_bytes()).collect();
        let worth = worth(&numbers).unwrap();
        Worth { imbalance_removed: 0.25, max_over_mean_removed: 3.5, ..worth }
    }

    #[test]
    fn what_was_written_comes_back_and_adds_up() {
        let kept = Kept { total: some(100), last: some(0) };
        let bytes = encode(&kept);
        assert_eq!(bytes.len(), SECTION_BYTES);
        assert_eq!(decode(&bytes), Some(kept));
        assert_eq!(kept.last.hits_gained, 1);
        let both = kept.total.plus(&kept.last);
        assert_eq!((both.reads, both.slots_moved), (2_100, 2_072));
        assert_eq!((both.hits_gained, both.hit_share_gained), (2, Some(2.0 / 2_100.0)));
        assert_eq!((both.imbalance_removed, both.max_over_mean_removed), (0.5, 7.0));
    }

    /// Counts are read one after the other, while others count.
    #[test]
    fn what_was_counted_meanwhile_does_not_make_it_unreadable() {
        let torn = Worth {
            partners_requested: 2,
            partners_found: 3,
            fetched: 4,
            fetched_used: 5,
            warm_entries: 6,
            warm_used: 8,
            ..Worth::default()
        }
        .completed();
        assert_eq!((torn.partners_found, torn.fetched_used, torn.warm_used), (2, 4, 6));
        let kept = Kept { total: torn.plus(&torn), last: torn };
        assert_eq!(decode(&encode(&kept)), Some(kept));
    }

    #[test]
    fn what_cannot_have_been_written_is_refused() {
        let good = encode(&Kept { total: some(100), last: some(0) });
        let with = |figure: usize, number: u64| {
            let mut bytes = good.clone();
            bytes[figure * FIGURE_BYTES..][..FIGURE_BYTES].copy_from_slice(&number.to_le_bytes());
            decode(&bytes)
        };
        for (figure, number) in
            [(0, 0), (1, 5_000), (2, 5_000), (6, 5_000), (9, 5_000), (15, f64::NAN.to_bits())]
        {
            assert_eq!(with(figure, number), None, "figure {figure}");
            assert_eq!(with(FIGURES + figure, number), None, "figure {figure}");
        }
        assert_eq!(with(16, f64::INFINITY.to_bits()), None);
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), None);
        }
        assert_eq!(decode(&[good.clone(), vec![0; FIGURE_BYTES]].concat()), None);
    }
}
