//! An engine, and the maps that it must agree with.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, RangeBounds};
use std::time::{Duration, SystemTime};

use warp_api::{
    CasOutcome, ErrorKind, Expected, Keyspace, LogFormat, PutOptions, Scan, Seq, Ttl, Update, WarpEngine,
    WriteBatch,
};
use warp_io::Clock;

use super::calls::{BatchWrite, Call, Place, SPACES, Wanted, key};
use super::common::{Machine, small};

/// What a key must have.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Held {
    value: Vec<u8>,
    seq: Seq,
    /// In Unix milliseconds; 0 for none.
    deadline: u64,
}

pub(crate) struct Tested {
    machine: Machine,
    format: LogFormat,
    /// `None` only while it is opened again.
    engine: Option<WarpEngine>,
    /// What has a value at this moment, in each keyspace.
    spaces: [BTreeMap<Vec<u8>, Held>; SPACES.len()],
}

fn millis(millis: u16) -> Duration {
    Duration::from_millis(u64::from(millis))
}

impl Tested {
    pub(crate) fn new(format: LogFormat) -> Tested {
        let mut tested =
            Tested { machine: Machine::new(1), format, engine: None, spaces: Default::default() };
        tested.open();
        tested
    }

    fn open(&mut self) {
        let options = small().log_format(self.format).compress_values_from(1_000);
        self.engine = Some(self.machine.open(options));
    }

    pub(crate) fn engine(&self) -> &WarpEngine {
        self.engine.as_ref().unwrap()
    }

    fn space(&self, space: usize) -> Keyspace {
        self.engine().keyspace(SPACES[space]).unwrap()
    }

    fn held(&self, place: Place) -> Option<&Held> {
        self.spaces[place.space].get(&key(place.key))
    }

    fn now(&self) -> u64 {
        self.machine.clock.unix_millis()
    }

    fn deadline(&self, ttl: Option<u16>) -> u64 {
        ttl.map_or(0, |ttl| self.now() + u64::from(ttl))
    }

    /// Gives a key what it must have from now on.
    fn hold(&mut self, place: Place, value: Vec<u8>, seq: Seq, deadline: u64) {
        self.spaces[place.space].insert(key(place.key), Held { value, seq, deadline });
    }

    fn drop_held(&mut self, place: Place) -> Option<Held> {
        self.spaces[place.space].remove(&key(place.key))
    }

    /// Lets go of what has expired.
    fn expire_held(&mut self) {
        let now = self.now();
        for space in &mut self.spaces {
            space.retain(|_, held| held.deadline == 0 || now < held.deadline);
        }
    }

    /// Makes a call of the engine and of the model.
    pub(crate) fn make(&mut self, call: Call) {
        match call {
            Call::Put(place, value, ttl) => self.put(place, value, ttl),
            Call::PutIfAbsent(place, value) => {
                let outcome = self.space(place.space).put_if_absent(key(place.key), [value]).unwrap();
                let is_absent = self.held(place).is_none();
                self.swapped(place, outcome, is_absent, Some(vec![value]));
            }
            Call::Get(place) => self.get(place),
            Call::MultiGet { space, keys } => self.multi_get(space, &keys),
            Call::Delete(place) => {
                let existed = self.space(place.space).delete(key(place.key)).unwrap();
                assert_eq!(existed, self.drop_held(place).is_some());
            }
            Call::Take(place) => {
                let taken = self.space(place.space).take(key(place.key)).unwrap();
                let held = self.drop_held(place);
                assert_eq!(taken.as_deref(), held.as_ref().map(|held| &held.value[..]));
            }
            Call::Swap { place, holds, old, new } => self.swap(place, holds, old, new),
            Call::SwapSeq { place, is_stale, new } => self.swap_seq(place, is_stale, new),
            Call::Increment(place, by) => self.increment(place, i64::from(by)),
            Call::Update(place, to) => self.update(place, to),
            Call::Expire(place, ttl) => {
                let is_set = self.space(place.space).expire(key(place.key), millis(ttl)).unwrap();
                let deadline = self.deadline(Some(ttl));
                assert_eq!(is_set, self.set_deadline(place, |_| Some(deadline)));
            }
            Call::Persist(place) => {
                let is_taken = self.space(place.space).persist(key(place.key)).unwrap();
                assert_eq!(is_taken, self.set_deadline(place, |present| (present != 0).then_some(0)));
            }
            Call::Batch { required, writes } => self.batch(&required, &writes),
            Call::Range { space, from, to, ends } => self.range(space, from.map(key), to.map(key), ends),
            Call::Prefix { place, bytes, ends } => self.prefix(place, bytes, ends),
            Call::Len(space) => {
                let (found, held) = (self.space(space), &self.spaces[space]);
                assert_eq!(found.len().unwrap(), held.len() as u64);
                assert_eq!(found.is_empty().unwrap(), held.is_empty());
            }
            Call::Clear(space) => {
                self.space(space).clear().unwrap();
                self.spaces[space].clear();
            }
            Call::DropKeyspace(space) => self.drop_keyspace(space),
            Call::Checkpoint => drop(self.engine().checkpoint().unwrap()),
            Call::Pass(time) => self.machine.pass(self.engine(), millis(time)),
            Call::Sleep(time) => {
                self.machine.clock.advance(millis(time));
                self.engine().step();
            }
            Call::Reopen { closes, after } => self.reopen(closes, after),
        }
        self.expire_held();
    }

    fn put(&mut self, place: Place, value: Vec<u8>, ttl: Option<u16>) {
        let space = self.space(place.space);
        let seq = match ttl {
            None => space.put(key(place.key), &value).unwrap(),
            Some(ttl) => space.put_with(key(place.key), &value, &PutOptions::new().ttl(millis(ttl))).unwrap(),
        };
        let deadline = self.deadline(ttl);
        self.hold(place, value, seq, deadline);
    }

    /// Reads a key in every way.
    fn get(&self, place: Place) {
        let (space, key, held) = (self.space(place.space), key(place.key), self.held(place));
        let value = held.map(|held| &held.value[..]);
        assert_eq!(space.contains_key(&key).unwrap(), held.is_some());
        assert_eq!(space.get(&key).unwrap().as_deref(), value);
        assert_eq!(space.with_value(&key, <[u8]>::to_vec).unwrap().as_deref(), value);
        let ttl = match held.map(|held| held.deadline) {
            None => Ttl::Missing,
            Some(0) => Ttl::Forever,
            Some(deadline) => Ttl::Left(Duration::from_millis(deadline - self.now())),
        };
        assert_eq!(space.ttl(&key).unwrap(), ttl);
        self.check_entry(&space, &key, held);
    }

    fn check_entry(&self, space: &Keyspace, key: &[u8], held: Option<&Held>) {
        let entry = space.get_entry(key).unwrap().map(|entry| {
            let since_start = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let deadline = entry.expires_at.map_or(0, |at| since_start(at).as_millis() as u64);
            Held { value: entry.value.to_vec(), seq: entry.seq, deadline }
        });
        assert_eq!(entry.as_ref(), held);
    }

    fn multi_get(&self, space: usize, keys: &[u8]) {
        let keys: Vec<Vec<u8>> = keys.iter().map(|number| key(*number)).collect();
        let found = self.space(space).multi_get(&keys).unwrap();
        let expected = keys.iter().map(|key| self.spaces[space].get(key).map(|held| &held.value[..]));
        assert!(found.iter().map(Option::as_deref).eq(expected));
    }

    fn swap(&mut self, place: Place, holds: bool, old: Option<u8>, new: Option<u8>) {
        let held = self.held(place).map(|held| held.value.clone());
        let old = if holds { held.clone() } else { old.map(|byte| vec![byte]) };
        let new = new.map(|byte| vec![byte]);
        let space = self.space(place.space);
        let outcome = space.compare_and_swap(key(place.key), old.as_deref(), new.as_deref()).unwrap();
        self.swapped(place, outcome, held == old, new);
    }

    fn swap_seq(&mut self, place: Place, is_stale: bool, new: Option<u8>) {
        let held = self.held(place).map(|held| held.seq);
        let expected = if is_stale { Some(Seq(held.map_or(1, |seq| seq.0 - 1))) } else { held };
        let new = new.map(|byte| vec![byte]);
        let space = self.space(place.space);
        let outcome = space.compare_and_swap_seq(key(place.key), expected, new.as_deref()).unwrap();
        self.swapped(place, outcome, held == expected, new);
    }

    /// Checks the outcome of a swap, and follows it.
    fn swapped(&mut self, place: Place, outcome: CasOutcome, holds: bool, new: Option<Vec<u8>>) {
        match outcome {
            CasOutcome::Swapped(seq) => {
                assert!(holds, "the expectation did not hold");
                match new {
                    Some(value) => self.hold(place, value, seq, 0),
                    None => drop(self.drop_held(place)),
                }
            }
            CasOutcome::Conflict(found) => {
                assert!(!holds, "the expectation held");
                assert_eq!(found.as_deref(), self.held(place).map(|held| &held.value[..]));
            }
        }
    }

    fn increment(&mut self, place: Place, by: i64) {
        let sum = self.space(place.space).increment(key(place.key), by);
        let (value, deadline) =
            self.held(place).map_or((b"0".to_vec(), 0), |held| (held.value.clone(), held.deadline));
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
        match number {
            None => assert_eq!(sum.unwrap_err().kind(), ErrorKind::Invalid),
            Some(number) => {
                assert_eq!(sum.unwrap(), number + by);
                let seq = self.engine().last_seq();
                self.hold(place, (number + by).to_string().into_bytes(), seq, deadline);
            }
        }
    }

    fn update(&mut self, place: Place, to: Option<Option<u8>>) {
        let held = self.held(place).cloned();
        let after = self.space(place.space).update(key(place.key), |value| {
            assert_eq!(value, held.as_ref().map(|held| &held.value[..]));
            match to {
                None => Update::Keep,
                Some(None) => Update::Delete,
                Some(Some(byte)) => Update::Put(vec![byte]),
            }
        });
        match to {
            None => {}
            Some(None) => drop(self.drop_held(place)),
            Some(Some(byte)) => {
                let seq = self.engine().last_seq();
                self.hold(place, vec![byte], seq, held.map_or(0, |held| held.deadline));
            }
        }
        assert_eq!(after.unwrap().as_deref(), self.held(place).map(|held| &held.value[..]));
    }

    /// Follows a call that gives a key another deadline, if `other` says which; returns whether it did.
    fn set_deadline(&mut self, place: Place, other: impl Fn(u64) -> Option<u64>) -> bool {
        let Some(Held { value, deadline, .. }) = self.held(place).cloned() else { return false };
        let Some(deadline) = other(deadline) else { return false };
        let seq = self.engine().last_seq();
        self.hold(place, value, seq, deadline);
        true
    }

    fn batch(&mut self, required: &[(Place, Wanted)], writes: &[BatchWrite]) {
        let mut batch = WriteBatch::new();
        let mut holds = true;
        for (place, wanted) in required {
            holds &= self.require(&mut batch, *place, *wanted);
        }
        for (place, write) in writes {
            let space = self.space(place.space);
            match write {
                Some((byte, Some(ttl))) => {
                    let options = PutOptions::new().ttl(millis(*ttl));
                    batch.put_in_with(&space, key(place.key), [*byte], &options)
                }
                Some((byte, None)) => batch.put_in(&space, key(place.key), [*byte]),
                None => batch.delete_in(&space, key(place.key)),
            };
        }
        let last = self.engine().last_seq();
        match self.engine().write(&batch) {
            Ok(seq) => {
                assert!(holds, "a requirement did not hold");
                self.written(writes, seq);
            }
            Err(error) => {
                assert_eq!((error.kind(), holds), (ErrorKind::Conflict, false), "{error}");
                assert_eq!(self.engine().last_seq(), last, "nothing was written");
            }
        }
    }

    /// Adds a requirement to a batch; returns whether it holds.
    fn require(&self, batch: &mut WriteBatch, place: Place, wanted: Wanted) -> bool {
        let (space, key, held) = (self.space(place.space), key(place.key), self.held(place));
        let value;
        let (expected, holds) = match (wanted, held) {
            (Wanted::Absent, _) => (Expected::Absent, held.is_none()),
            (Wanted::Present, _) | (_, None) => (Expected::Present, held.is_some()),
            (Wanted::Same, Some(held)) => (Expected::Value(&held.value), true),
            (Wanted::Value(byte), Some(held)) => {
                value = [byte];
                (Expected::Value(&value), held.value == value)
            }
            (Wanted::Seq { is_stale }, Some(held)) => {
                (Expected::Seq(Seq(held.seq.0 - u64::from(is_stale))), !is_stale)
            }
        };
        batch.require_in(&space, key, expected);
        holds
    }

    /// Follows a batch that was written.
    fn written(&mut self, writes: &[BatchWrite], seq: Seq) {
        for (place, write) in writes {
            match write {
                Some((byte, ttl)) => {
                    let deadline = self.deadline(*ttl);
                    self.hold(*place, vec![*byte], seq, deadline);
                }
                None => drop(self.drop_held(*place)),
            }
        }
    }

    fn range(&self, space: usize, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, ends: u32) {
        let range = (from, to);
        self.walk(self.space(space).range(range.clone()), ends, space, |key| range.contains(key));
    }

    fn prefix(&self, place: Place, bytes: usize, ends: u32) {
        let mut prefix = key(place.key);
        prefix.truncate(bytes);
        let scan = self.space(place.space).scan_prefix(&prefix);
        self.walk(scan, ends, place.space, |key| key.starts_with(&prefix));
    }

    /// Takes a scan's items from both ends, as the bits of `ends` say.
    fn walk(&self, mut scan: Scan, ends: u32, space: usize, is_in: impl Fn(&Vec<u8>) -> bool) {
        let held = self.spaces[space].iter().filter(|(key, _)| is_in(key));
        let mut expected: VecDeque<(&[u8], &[u8])> =
            held.map(|(key, held)| (&key[..], &held.value[..])).collect();
        for step in 0.. {
            let (found, expected) = match ends.rotate_right(step) & 1 {
                0 => (scan.next(), expected.pop_front()),
                _ => (scan.next_back(), expected.pop_back()),
            };
            let found = found.map(Result::unwrap);
            assert_eq!(found.as_ref().map(|(key, value)| (&key[..], &value[..])), expected);
            if expected.is_none() {
                break;
            }
        }
    }

    fn drop_keyspace(&mut self, space: usize) {
        let dropped = self.space(space);
        assert!(self.engine().drop_keyspace(SPACES[space]).unwrap());
        assert_eq!(dropped.get("key").unwrap_err().kind(), ErrorKind::NotFound);
        self.spaces[space].clear();
    }

    fn reopen(&mut self, closes: bool, after: u16) {
        let engine = self.engine.take().unwrap();
        if closes {
            engine.close().unwrap();
        } else {
            drop(engine);
        }
        self.machine.clock.advance(millis(after));
        self.expire_held();
        self.open();
        self.check();
    }

    /// Compares everything.
    pub(crate) fn check(&self) {
        for (at, held) in self.spaces.iter().enumerate() {
            let space = self.space(at);
            let found = space.iter().map(Result::unwrap);
            assert!(found.map(|(key, _)| key.to_vec()).eq(held.keys().cloned()), "{held:?}");
            for (key, held) in held {
                self.check_entry(&space, key, Some(held));
            }
        }
    }
}
