//! Scans: keys and values in the order of the keys, from both ends.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::vec::IntoIter;

use warp_core::{Key, Value};

use crate::budget::Budget;
use crate::error::Result;
use crate::order::{Item, Space, Values};
use crate::shared::Shared;

/// Blocks of the order that a long scan reads at once, about 400 keys: enough that what it costs to begin a chunk no
/// longer counts. A scan begins with one block and doubles, so that a short one reads little in vain.
const CHUNK_BLOCKS_MAX: usize = 8;

/// An iterator over keys and values in the order of the keys, from both ends.
///
/// It is not a snapshot: each key is there at most once, keys that are present throughout are all there, and what is
/// written meanwhile may be. It reads a few hundred keys at a time, a chunk, and waits for no writer; a value is one that
/// its key had since its chunk was read. Values that are not in memory are read from their files, and not brought in.
/// An error in that comes as an item, once, and ends the scan; so does a close of the engine.
///
/// # What it costs
/// The first scan of a keyspace puts its keys in order, before its first item: 0.3 to 0.6 microseconds a key, so some
/// seconds for ten million, during which writers go on and other scans of the keyspace
/// wait. It takes up to 18 bytes a key while it works, of at most 16 million keys at a time, and no more than an eighth of
/// the memory budget: with less memory it takes several rounds. From then on the order is kept up, for 9 to 13 bytes a key:
/// each new key is noted when it is put, and put in its place in the background or by the next scan, in about a microsecond. A program that never scans pays nothing. The order goes when the
/// engine closes, and once all orders have come to take more than half of the memory budget: a scan that has begun goes on
/// with it, and the next one needs a new one.
///
/// A chunk is held until all of it was taken, up to two by each scan. Its values that are in memory are shared with that; copies of
/// others take no more than a 64th of the memory budget, and those of all scans together a 32nd: what goes beyond is read one by
/// one when it is its turn, which costs a look-up each. Its keys take what they are long, of 512 at most.
///
/// All that is part of the memory budget, and values leave memory for it. Where that has no room, since what is in memory
/// cannot leave it or others take it as fast, or since the orders would take more than half of it, those that scans still
/// hold among them, the scan's first item is the error `Full`.
///
/// ```
/// # fn main() -> warp_api::Result<()> {
/// let engine = warp_api::WarpEngine::in_memory();
/// for key in ["b:1", "a:2", "a:1"] {
///     engine.put(key, "value")?;
/// }
/// let keys: Vec<_> = engine.scan_prefix("a:").rev().map(|item| item.map(|(key, _)| key)).collect::<Result<_, _>>()?;
/// assert_eq!(keys, ["a:2", "a:1"].map(warp_api::Key::from));
/// # Ok(())
/// # }
/// ```
pub struct Scan {
    shared: Arc<Shared>,
    keyspace: u32,
    /// The keyspace's order, once the scan has begun; and the sequence below which entries are known to it.
    begun: Option<(Arc<Space>, u64)>,
    /// What is yet to be read: from a key on, to before another. `None` when all is read.
    left: Option<(Key, Option<Key>)>,
    front: Side,
    back: Side,
}

/// What was read for one end, in ascending order, with the memory that it takes, and how much the next chunk of that end is.
struct Side {
    items: IntoIter<Item>,
    bytes: u64,
    blocks: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Front,
    Back,
}

impl Scan {
    /// Of the keys of a keyspace between two bounds; where they cross, there are none.
    pub(crate) fn new(
        shared: Arc<Shared>,
        keyspace: u32,
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
    ) -> Scan {
        let low = match start {
            Bound::Unbounded => Key::default(),
            Bound::Included(key) => Key::from(key),
            Bound::Excluded(key) => Key::from(after(key)),
        };
        let high = match end {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(Key::from(after(key))),
            Bound::Excluded(key) => Some(Key::from(key)),
        };
        let is_empty = high.as_ref().is_some_and(|high| *high <= low);
        let side = || Side { items: Vec::new().into_iter(), bytes: 0, blocks: 1 };
        let left = (!is_empty).then_some((low, high));
        Scan { shared, keyspace, begun: None, left, front: side(), back: side() }
    }

    /// The next item from one end.
    fn step(&mut self, end: End) -> Option<Result<(Key, Value)>> {
        loop {
            let item = match self.take(end) {
                Some(item) => item,
                // A closed engine is told of where there would be more to read.
                None if self.left.is_some() => match self.read(end) {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(self.fail(error))),
                },
                None => return None,
            };
            let found = self
                .shared
                .check_keyspace(self.keyspace)
                .and_then(|()| self.shared.present(self.keyspace, item));
            match found {
                // A key that was deleted since is passed over.
                Ok(None) => {}
                Ok(Some(found)) => return Some(Ok(found)),
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
    }

    /// The next item that was read: for this end, or, where nothing is left between the two, for the other.
    fn take(&mut self, end: End) -> Option<Item> {
        let is_all_read = self.left.is_none();
        match end {
            End::Front => {
                let other = || is_all_read.then(|| self.back.items.next()).flatten();
                self.front.items.next().or_else(other)
            }
            End::Back => {
                let other = || is_all_read.then(|| self.front.items.next_back()).flatten();
                self.back.items.next_back().or_else(other)
            }
        }
    }

    /// Reads the next chunk for one end.
    fn read(&mut self, end: End) -> Result<()> {
        self.shared.check_keyspace(self.keyspace)?;
        let Some((low, high)) = &self.left else { return Ok(()) };
        let (space, clean_below) = match &self.begun {
            Some(begun) => begun,
            None => {
                let clean_below = self.shared.known_below();
                self.begun.insert((self.shared.ordered(self.keyspace)?, clean_below))
            }
        };
        let side = if end == End::Front { &mut self.front } else { &mut self.back };
        let chunk = match end {
            End::Front => space.keys().forwards(low, high.as_deref(), side.blocks),
            End::Back => space.keys().backwards(low, high.as_deref(), side.blocks),
        };
        side.blocks = CHUNK_BLOCKS_MAX.min(side.blocks * 2);
        let budget = &self.shared.budget;
        side.hold(budget, Vec::new(), 0);
        // Counted before it is read: others read ahead at the same time.
        side.bytes = budget.take_for_scan();
        let gathered = self.shared.gather(self.keyspace, &chunk, *clean_below, Values::Take(side.bytes));
        if let Some((_, error)) = gathered.unreadable.into_iter().next() {
            return Err(error);
        }
        side.hold(budget, gathered.items, gathered.bytes);
        self.left = match end {
            End::Front => {
                chunk.high.filter(|next| Some(next) != high.as_ref()).map(|next| (next, high.clone()))
            }
            End::Back => (chunk.low != *low).then(|| (low.clone(), Some(chunk.low))),
        };
        if self.left.is_none() {
            // An order that was let go meanwhile has no other use.
            self.begun = None;
        }
        Ok(())
    }

    fn fail(&mut self, error: crate::error::Error) -> crate::error::Error {
        self.left = None;
        self.begun = None;
        self.let_go();
        error
    }

    /// Lets go of what was read.
    fn let_go(&mut self) {
        for side in [&mut self.front, &mut self.back] {
            side.hold(&self.shared.budget, Vec::new(), 0);
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Side {
    /// Holds these items, which take so many bytes, in the place of those before.
    fn hold(&mut self, budget: &Budget, items: Vec<Item>, bytes: u64) {
        self.items = items.into_iter();
        budget.scan_holds(std::mem::replace(&mut self.bytes, bytes), bytes);
    }
}

impl Iterator for Scan {
    type Item = Result<(Key, Value)>;

    fn next(&mut self) -> Option<Result<(Key, Value)>> {
        self.step(End::Front)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Result<(Key, Value)>> {
        self.step(End::Back)
    }
}

impl std::iter::FusedIterator for Scan {}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("keyspace", &self.keyspace)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// The bounds of the keys that begin with `prefix`.
pub(crate) fn prefix_bounds(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    // The first key behind them is the prefix with its last byte one higher; bytes of 255 have none, and go first.
    let end = prefix.iter().rposition(|byte| *byte < u8::MAX).map_or(Bound::Unbounded, |last| {
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        Bound::Excluded(end)
    });
    (Bound::Included(prefix.to_vec()), end)
}

/// The first key after this one.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Background, Environment};
    use crate::options::{Options, Physics};

    #[test]
    fn the_bounds_of_a_prefix_hold_what_begins_with_it() {
        let bound = |key: &[u8]| Bound::Excluded(key.to_vec());
        assert_eq!(prefix_bounds(b"ab").1, bound(b"ac"));
        assert_eq!(prefix_bounds(b"a\xFF\xFF").1, bound(b"b"));
        assert_eq!(prefix_bounds(b"\xFF\xFF").1, Bound::Unbounded);
        assert_eq!(prefix_bounds(b""), (Bound::Included(Vec::new()), Bound::Unbounded));
    }

    #[test]
    fn a_scan_can_go_to_another_thread() {
        fn check<T: Send + 'static>() {}
        check::<Scan>();
    }

    /// Values in files, more of them than the chunks of all these scans together may hold.
    #[test]
    fn what_scans_have_read_ahead_is_counted_and_bounded() {
        const KEYS: u64 = 1_000;
        const SCANS: usize = 12;
        let disk = warp_io::SimDisk::new(1);
        let open = || {
            let environment = Environment { background: Background::Stepped, ..Environment::default() };
            let physics = Physics { warm_start: false, ..Physics::default() };
            let options = Options::new().memory_budget(24 << 20).log_buffer_bytes(1 << 20).physics(physics);
            options.open_in(&disk.root(), environment).unwrap()
        };
        let value = |number: u64| vec![u8::try_from(number % 251).unwrap(); 8_000];
        let engine = open();
        for number in 0..KEYS {
            engine.put(format!("{number:04}"), value(number)).unwrap();
        }
        engine.close().unwrap();
        let engine = open();
        let budget = &engine.space().shared.budget;
        let before = engine.cosmic_metrics().memory.held_bytes;
        let mut scans: Vec<Scan> = (0..SCANS).map(|_| engine.iter()).collect();
        for number in 0..KEYS / 2 {
            for scan in &mut scans {
                assert_eq!(scan.next().unwrap().unwrap().1, &value(number)[..]);
            }
        }
        let items = (SCANS * 512 * size_of::<Item>()) as u64;
        let held = budget.scanned();
        assert!(held > budget.limit() / 128 && held <= budget.limit() / 32 + items, "{held} bytes");
        assert!(engine.cosmic_metrics().memory.held_bytes >= before + held);
        for mut scan in scans {
            assert_eq!(scan.next_back().unwrap().unwrap().1, &value(KEYS - 1)[..]);
        }
        assert_eq!(budget.scanned(), 0);
    }
}
