//! Learned entanglement: which keys are read together, from the order of reads, in bounded memory.

mod index;
mod stored;

pub use stored::{BELL_STORED_BYTES, BELL_STORED_KEY_BYTES, BadBell};

use crate::space_saving::SpaceSaving;
use crate::usefulness::{Probes, UseShare};
use index::Index;

/// A read counts for the reads up to so many places before it.
const WINDOW: usize = 8;
/// Partners that are remembered of a key.
const LINKS: usize = 4;
/// Weights are counted in this part of 1, in which the largest gain is a whole number.
const WEIGHT_UNIT: f32 = 7.5;
/// What a read at a distance of 1, 2, .. adds: `1 / (1 + d / 4)`, in units.
const GAINS: [u8; WINDOW] = [6, 5, 4, 4, 3, 3, 3, 2];
/// When a key has been read so often, its count and the weights of its links are halved, so that what is old fades.
const READS_HALVED_AT: u8 = 32;
/// What a use adds to the weight of a link that foretold it.
const USED_WEIGHT: u8 = 2;
/// Counts of a cell are halved here, so that what is old fades.
const CELL_HALVED_AT: f32 = 256.0;
/// The most keys that are tracked: numbers of links have 24 bits.
const TRACKED_MAX: usize = 1 << 24;
/// Those bits, which say the place.
const PLACE_BITS: u32 = 0x00FF_FFFF;
/// Keys whose share of all reads is known: the heaviest. Others are so rare that no link to them is by chance.
const FREQUENT: usize = 256;
/// One in so many reads is counted for that.
/// A prime, so that a program that repeats itself does not have the same keys counted each time.
const FREQUENT_ONE_IN: u64 = 17;
/// After so many reads the shares of the heaviest are worked out anew.
const SHARES_EVERY: u64 = 4096;
/// What is left of their counts then: some 30,000 reads are remembered.
const SHARES_KEPT: f64 = 0.9;
/// How much more often than by chance a partner is read for it to be shown as one.
const LIFT_MIN: f64 = 4.0;

/// Bytes that a tracked key takes, its place in the index included.
pub const BELL_KEY_BYTES: usize = size_of::<Tracked>() + 2 * size_of::<u32>();
// 32 bytes a key, and its place in the index.
const _: () = assert!(size_of::<Tracked>() == 32);

/// How a [`Bell`] learns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BellOptions {
    /// The most memory it takes, in bytes; a tracked key takes 40. Those that were not read for long leave.
    pub bytes: usize,
    /// After how many reads a prediction that has not come true counts as wrong; `None`: whoever acts on predictions tells
    /// what came of each, by [`Bell::settle`].
    pub horizon: Option<u32>,
}

/// Co-access learner: which keys are read soon after a key, how sure that is, and whether acting on it pays.
///
/// Shown the reads in their order, as hashes, it keeps up to four partners a key, each with a decayed weight. What it foretells is
/// calibrated by what came of earlier predictions of the same confidence: see [`Bell::predict`].
///
/// ```
/// use warp_physics::{Bell, BellOptions};
///
/// let mut bell = Bell::new(BellOptions { bytes: 1 << 20, horizon: Some(32) });
/// let mut noise = 1_000_u64;
/// for _ in 0..20 {
///     for key in [1, 2, noise, noise + 1, noise + 2, noise + 3, noise + 4, noise + 5, noise + 6] {
///         bell.observe(key); // 2 always follows 1
///     }
///     noise += 7;
/// }
/// let mut found = Vec::new();
/// bell.partners(1, &mut found);
/// assert_eq!(found[0].hash, 2);
/// assert!(found[0].confidence > 0.7);
/// ```
#[derive(Clone, Debug)]
pub struct Bell {
    capacity: usize,
    horizon: Option<u32>,
    tracked: Vec<Tracked>,
    index: Index,
    /// Where the search for a key that may leave goes on.
    hand: usize,
    /// The latest reads, the last one at the end.
    window: [u32; WINDOW],
    /// How many of them there are.
    filled: usize,
    /// What became of predictions, by confidence and reads.
    cells: [[UseShare; 4]; 10],
    /// Predictions that are yet to come true, oldest first.
    waiting: std::collections::VecDeque<Waiting>,
    frequent: SpaceSaving,
    /// How many reads it has counted, decayed alike.
    counted: f64,
    /// The share of all reads of the most frequent keys, by hash.
    shares: Vec<(u64, f64)>,
    observed: u64,
    probes: Probes,
    stats: BellStats,
}

/// What is known of a key.
#[derive(Clone, Debug, Default)]
struct Tracked {
    /// In two halves, so that a key takes no more than its fields.
    hash: [u32; 2],
    /// The partner's place in `tracked` in the lower 24 bits, and the number of the key that was there then.
    links: [u32; LINKS],
    weights: [u8; LINKS],
    reads: u8,
    /// Tells the keys apart that were in this place one after the other.
    number: u8,
    /// Whether it was read since the hand passed.
    is_recent: bool,
    /// Whether a prediction that names it waits.
    is_foretold: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    until: u64,
    prediction: Prediction,
}

/// A key that is likely to be read soon, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The place of the key, below [`Bell::tracked`]; a key has it until it leaves.
    pub place: u32,
    /// The hash of the key.
    pub hash: u64,
    /// The decayed share of the reads of the other key that this one followed, nearer ones counting more; in `0.0..=1.0`.
    pub confidence: f64,
    /// Whose partner it is.
    from: u32,
    from_number: u8,
    link: u32,
    cell: (u8, u8),
}

/// What was learned, and what came of predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct BellStats {
    /// Reads that were shown.
    pub observed: u64,
    /// Predictions that were made.
    pub predicted: u64,
    /// Those that came true.
    pub used: u64,
    /// Those that did not.
    pub unused: u64,
    /// Keys that had to leave for others.
    pub forgotten: u64,
}

impl Bell {
    /// One that has learned nothing.
    #[must_use]
    pub fn new(options: BellOptions) -> Bell {
        Bell {
            capacity: (options.bytes / BELL_KEY_BYTES).clamp(2 * WINDOW, TRACKED_MAX),
            horizon: options.horizon,
            tracked: Vec::new(),
            index: Index::default(),
            hand: 0,
            window: [0; WINDOW],
            filled: 0,
            cells: [[UseShare::default(); 4]; 10],
            waiting: std::collections::VecDeque::new(),
            frequent: SpaceSaving::new(FREQUENT),
            counted: 0.0,
            shares: Vec::new(),
            observed: 0,
            probes: Probes::new(),
            stats: BellStats::default(),
        }
    }

    /// How many keys are tracked; their places lie below it.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.tracked.len()
    }

    /// Bytes that it takes, up to what was allowed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tracked.capacity() * size_of::<Tracked>() + self.index.bytes()
    }

    /// What was learned, and what came of predictions.
    #[must_use]
    pub fn stats(&self) -> BellStats {
        BellStats { observed: self.observed, ..self.stats }
    }

    /// Says that the next read does not follow the last one: another thread's, or after a gap. What waits is not judged by it.
    pub fn interrupt(&mut self) {
        self.filled = 0;
        self.forget_waiting();
    }

    fn forget_waiting(&mut self) {
        while let Some(waiting) = self.waiting.pop_front() {
            self.tracked[waiting.prediction.place as usize].is_foretold = false;
        }
    }

    /// Learns from a read. Returns the place of the key, which is a new one if [`Bell::tracked`] has grown or the key of that
    /// place has left.
    pub fn observe(&mut self, hash: u64) -> u32 {
        self.observed += 1;
        if self.observed.is_multiple_of(FREQUENT_ONE_IN) {
            self.frequent.add(hash, 1.0);
            self.counted += 1.0;
        }
        if self.observed.is_multiple_of(SHARES_EVERY) {
            self.take_shares();
        }
        let place = self.find(hash).unwrap_or_else(|| self.track(hash));
        if self.horizon.is_some() {
            self.judge(place);
        }
        let window = self.window;
        for (&before, gain) in window[..self.filled].iter().rev().zip(GAINS) {
            if before == place {
                break;
            }
            self.link(before, place, gain);
        }
        let key = &mut self.tracked[place as usize];
        key.is_recent = true;
        key.reads += 1;
        if key.reads >= READS_HALVED_AT {
            key.reads /= 2;
            key.weights.iter_mut().for_each(|weight| *weight /= 2);
        }
        if self.filled == WINDOW {
            self.window.rotate_left(1);
            self.filled -= 1;
        }
        self.window[self.filled] = place;
        self.filled += 1;
        place
    }

    /// What is likely to be read soon after the key in this place, as far as acting on it pays: predictions of the same confidence,
    /// about keys read about as often, came true in at least 30 % of cases. One in 128 of the others is among them, so that
    /// it is noticed when they become better.
    pub fn predict(&mut self, place: u32, found: &mut Vec<Prediction>) {
        found.clear();
        for at in 0..LINKS {
            let Some(prediction) = self.prediction(place, at) else { continue };
            if self.is_worth(&prediction) || self.probes.is_turn() {
                self.stats.predicted += u64::from(self.horizon.is_none());
                found.push(prediction);
            }
        }
    }

    /// As [`Bell::predict`], for the key with this hash, without counting.
    pub fn worth_fetching(&self, hash: u64, found: &mut Vec<Prediction>) {
        found.clear();
        let Some(place) = self.find(hash) else { return };
        let links = (0..LINKS).filter_map(|at| self.prediction(place, at));
        found.extend(links.filter(|prediction| self.is_worth(prediction)));
    }

    /// The partners of a key, most confident first, that are read after it at least four times as often as by chance: or else
    /// the key that is read most would be everybody's partner.
    pub fn partners(&self, hash: u64, found: &mut Vec<Prediction>) {
        found.clear();
        let Some(place) = self.find(hash) else { return };
        let certain = 1.0 - 0.5 / f64::from(self.tracked[place as usize].reads.max(1));
        found.extend((0..LINKS).filter_map(|at| self.prediction(place, at)));
        found.retain(|partner| {
            let known = self.shares.binary_search_by_key(&partner.hash, |(hash, _)| *hash);
            let share = known.map_or(0.0, |at| self.shares[at].1);
            let in_window = 1.0 - (1.0 - share.min(1.0)).powf(WINDOW as f64);
            // By odds, since of a large share no multiple can be reached; after few reads nothing is certain.
            let confidence = partner.confidence.min(certain);
            confidence * (1.0 - in_window) >= LIFT_MIN * in_window * (1.0 - confidence)
        });
        found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    }

    /// Tells what came of a prediction: a link whose prediction was not used loses half of its weight, one whose was gains some.
    pub fn settle(&mut self, prediction: &Prediction, used: bool) {
        self.count(prediction, used);
        let key = &mut self.tracked[prediction.from as usize];
        let at = key.links.iter().position(|link| *link == prediction.link);
        if let Some(at) = at.filter(|_| key.number == prediction.from_number) {
            let weight = &mut key.weights[at];
            *weight = if used { weight.saturating_add(USED_WEIGHT) } else { *weight / 2 };
        }
    }

    /// Counts whether a prediction came true among those of the same confidence.
    fn count(&mut self, prediction: &Prediction, used: bool) {
        let cell = &mut self.cells[usize::from(prediction.cell.0)][usize::from(prediction.cell.1)];
        cell.count_made(CELL_HALVED_AT);
        if used {
            cell.count_used();
        }
        self.stats.used += u64::from(used);
        self.stats.unused += u64::from(!used);
    }

    fn take_shares(&mut self) {
        let share = |(hash, count): (u64, f64)| (hash, count / self.counted.max(1.0));
        self.shares = self.frequent.heaviest().into_iter().map(share).collect();
        self.shares.sort_unstable_by_key(|(hash, _)| *hash);
        self.frequent.fade(SHARES_KEPT);
        self.counted *= SHARES_KEPT;
    }

    fn find(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |place| self.tracked[place as usize].hash())
    }

    /// Gives a key a place: a new one, or that of a key that was not read for long.
    fn track(&mut self, hash: u64) -> u32 {
        if self.tracked.len() < self.capacity {
            return self.append(hash);
        }
        let mut looked = 0;
        loop {
            looked += 1;
            if looked > 2 * self.tracked.len() {
                // Few places, and all of them foretold or just read: predictions are worth less than a read that was made.
                self.forget_waiting();
            }
            let at = self.hand;
            self.hand = (self.hand + 1) % self.tracked.len();
            let place = low(at as u64);
            let key = &mut self.tracked[at];
            if std::mem::take(&mut key.is_recent)
                || key.is_foretold
                || self.window[..self.filled].contains(&place)
            {
                continue;
            }
            let (former, number) = (key.hash(), key.number.wrapping_add(1));
            let tracked = &self.tracked;
            self.index.remove(former, |place| tracked[place as usize].hash());
            self.tracked[at] = Tracked { hash: halves(hash), number, ..Tracked::default() };
            let tracked = &self.tracked;
            self.index.insert(hash, place, tracked.len(), |place| tracked[place as usize].hash());
            self.stats.forgotten += 1;
            return place;
        }
    }

    /// Gives a key a new place, where there is room for one more.
    fn append(&mut self, hash: u64) -> u32 {
        let place = low(self.tracked.len() as u64);
        if self.tracked.len() == self.tracked.capacity() {
            // By halves, and never beyond what is allowed.
            let room = self.capacity - self.tracked.len();
            self.tracked.reserve_exact(room.min(64 + self.tracked.len() / 2));
        }
        self.tracked.push(Tracked { hash: halves(hash), ..Tracked::default() });
        let tracked = &self.tracked;
        self.index.insert(hash, place, tracked.len(), |place| tracked[place as usize].hash());
        place
    }

    /// Counts that `after` was read soon after `before`: Misra-Gries over the links of `before`.
    fn link(&mut self, before: u32, after: u32, gain: u8) {
        let link = self.name(after);
        let key = &mut self.tracked[before as usize];
        if let Some(at) = key.links.iter().zip(key.weights).position(|(l, w)| *l == link && w > 0) {
            key.weights[at] = key.weights[at].saturating_add(gain);
            return;
        }
        let weakest = (0..LINKS).min_by_key(|at| key.weights[*at]).unwrap_or(0);
        if key.weights[weakest] <= gain {
            key.links[weakest] = link;
            key.weights[weakest] = gain;
        } else {
            key.weights[weakest] -= gain / 2;
        }
    }

    /// Place and number of a key in one, as links have them.
    fn name(&self, place: u32) -> u32 {
        place | u32::from(self.tracked[place as usize].number) << 24
    }

    /// What one link of a key foretells; `None` if it has none there, or the partner has left.
    fn prediction(&self, from: u32, at: usize) -> Option<Prediction> {
        let key = &self.tracked[from as usize];
        let (link, weight) = (key.links[at], key.weights[at]);
        let place = link & PLACE_BITS;
        if weight == 0 || key.reads == 0 || self.name(place) != link {
            return None;
        }
        let confidence = (f32::from(weight) / WEIGHT_UNIT / (f32::from(key.reads) - 0.5)).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0.0..=10.0")]
        let by_confidence = ((confidence * 10.0) as u8).min(9);
        let by_reads = match key.reads {
            0..=2 => 0,
            3..=5 => 1,
            6..=12 => 2,
            _ => 3,
        };
        Some(Prediction {
            place,
            hash: self.tracked[place as usize].hash(),
            confidence: f64::from(confidence),
            from,
            from_number: key.number,
            link,
            cell: (by_confidence, by_reads),
        })
    }

    fn is_worth(&self, prediction: &Prediction) -> bool {
        self.cells[usize::from(prediction.cell.0)][usize::from(prediction.cell.1)].is_worth(0.0)
    }

    /// Tells which waiting predictions come true by a read of this key, and which have waited too long; and makes new ones.
    fn judge(&mut self, place: u32) {
        while self.waiting.front().is_some_and(|waiting| waiting.until < self.observed) {
            if let Some(Waiting { prediction, .. }) = self.waiting.pop_front() {
                self.tracked[prediction.place as usize].is_foretold = false;
                self.count(&prediction, false);
            }
        }
        if std::mem::take(&mut self.tracked[place as usize].is_foretold)
            && let Some(at) = self.waiting.iter().position(|waiting| waiting.prediction.place == place)
            && let Some(Waiting { prediction, .. }) = self.waiting.remove(at)
        {
            self.count(&prediction, true);
        }
        let until = self.observed + u64::from(self.horizon.unwrap_or(0));
        for at in 0..LINKS {
            let Some(prediction) = self.prediction(place, at) else { continue };
            let foretold = &mut self.tracked[prediction.place as usize].is_foretold;
            if prediction.place != place && !std::mem::replace(foretold, true) {
                self.stats.predicted += 1;
                self.waiting.push_back(Waiting { until, prediction });
            }
        }
    }
}

impl Tracked {
    fn hash(&self) -> u64 {
        u64::from(self.hash[1]) << 32 | u64::from(self.hash[0])
    }
}

fn halves(hash: u64) -> [u32; 2] {
    [low(hash), low(hash >> 32)]
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn low(bits: u64) -> u32 {
    bits as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = *state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits ^ (bits >> 27)
    }

    fn bell(bytes: usize, horizon: Option<u32>) -> Bell {
        Bell::new(BellOptions { bytes, horizon })
    }

    #[test]
    fn a_key_that_follows_always_is_found_and_noise_is_not() {
        let (mut bell, mut state) = (bell(1 << 20, Some(32)), 1);
        for _ in 0..2_000 {
            let group = next(&mut state) % 50 * 1_000;
            for key in 0..3 {
                bell.observe(group + key);
            }
            for _ in 0..4 {
                bell.observe(1_000_000 + next(&mut state) % 300);
            }
        }
        let mut found = Vec::new();
        for group in 0..50 {
            bell.partners(group * 1_000, &mut found);
            let keys: Vec<u64> = found.iter().take(2).map(|partner| partner.hash % 1_000).collect();
            assert_eq!(keys, [1, 2], "of group {group}");
        }
        bell.partners(1_000_000, &mut found);
        assert!(found.iter().all(|partner| partner.confidence < 0.7), "{found:?}");
        let stats = bell.stats();
        assert!(stats.used > 0 && stats.predicted >= stats.used + stats.unused);
    }

    #[test]
    fn memory_is_bounded_and_what_has_left_is_nobodys_partner() {
        let mut bell = bell(40 * 100, None);
        for key in 0..10_000_u64 {
            bell.observe(key * 7);
        }
        assert_eq!((bell.tracked(), bell.stats().forgotten), (100, 9_900));
        assert!(bell.bytes() <= 100 * 32 + 256 * 4, "{}", bell.bytes());
        let mut found = Vec::new();
        for key in 0..10_000 {
            bell.partners(key * 7, &mut found);
            assert!(found.iter().all(|partner| partner.hash >= 9_800 * 7), "key {key}: {found:?}");
        }
    }

    /// Each key foretells others, and few have a place: the search for a place comes to an end all the same.
    #[test]
    fn the_least_memory_takes_predictions() {
        for places in [16, 17, 24, 40] {
            let (mut bell, mut state) = (bell(places * BELL_KEY_BYTES, Some(32)), 5);
            for round in 0..20_000_u64 {
                let key = if round % 8 < 6 { next(&mut state) % places as u64 } else { 1_000 + round };
                bell.observe(key);
            }
            assert_eq!(bell.tracked(), places);
            assert!(bell.stats().predicted > 0);
        }
    }

    #[test]
    fn predictions_that_do_not_come_true_are_made_no_more() {
        let (mut bell, mut state) = (bell(1 << 20, None), 3);
        let mut found = Vec::new();
        let mut made = Vec::new();
        for _ in 0..4 {
            let mut count = 0;
            for _ in 0..20_000 {
                let place = bell.observe(next(&mut state) % 200);
                bell.predict(place, &mut found);
                count += found.len();
                found.iter().for_each(|prediction| bell.settle(prediction, false));
            }
            made.push(count);
        }
        assert!(made[3] < 20_000 * LINKS / 64, "{made:?}");
        // And again once they do.
        for _ in 0..200_000 {
            let key = next(&mut state) % 200;
            for key in [key, key + 1_000] {
                let place = bell.observe(key);
                bell.predict(place, &mut found);
                found.iter().for_each(|prediction| bell.settle(prediction, true));
            }
        }
        bell.worth_fetching(5, &mut found);
        assert!(found.iter().any(|partner| partner.hash == 1_005), "{found:?}");
    }

    #[test]
    fn the_key_that_all_read_is_not_everybodys_partner() {
        let (mut bell, mut state) = (bell(1 << 20, Some(32)), 9);
        for _ in 0..20_000 {
            bell.observe(7);
            bell.observe(100 + next(&mut state) % 300);
        }
        let mut found = Vec::new();
        bell.partners(150, &mut found);
        assert!(found.iter().all(|partner| partner.hash != 7), "{found:?}");
        // Nor that of a key that was read a few times only.
        for _ in 0..3 {
            bell.observe(50);
            bell.observe(7);
            bell.partners(50, &mut found);
            assert!(found.iter().all(|partner| partner.hash != 7), "{found:?}");
        }
    }

    #[test]
    fn a_key_that_is_read_much_is_the_partner_of_those_that_it_follows_always() {
        let (mut bell, mut state) = (bell(1 << 20, Some(32)), 9);
        for round in 0..40_000 {
            let key = 100 + next(&mut state) % 300;
            bell.observe(key);
            // After one in eighteen keys, always; it is one in 25 of all reads.
            if key.is_multiple_of(18) {
                bell.observe(7);
            }
            if round % 3 == 0 {
                bell.observe(1_000 + next(&mut state) % 300);
            }
        }
        let mut found = Vec::new();
        bell.partners(162, &mut found);
        assert_eq!(found.first().map(|partner| partner.hash), Some(7), "{found:?}");
        bell.partners(163, &mut found);
        assert!(found.iter().all(|partner| partner.hash != 7), "{found:?}");
    }

    #[test]
    fn an_interruption_ends_what_follows() {
        let mut bell = bell(1 << 20, Some(32));
        for _ in 0..20 {
            bell.observe(1);
            bell.interrupt();
            bell.observe(2);
            bell.interrupt();
        }
        let mut found = Vec::new();
        bell.partners(1, &mut found);
        assert!(found.is_empty());
    }
}
