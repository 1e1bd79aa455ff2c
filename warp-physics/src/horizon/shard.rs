//! A part of the cache under a lock of its own: entries, what is remembered of them, and of those that left.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a shard has fewer entries than 2^32, which admitting checks"
)]

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::RwLock;

use super::builder::Cause;
use super::flight::Flight;
use super::orbit::Orbit;
use super::policy::{Candidate, Choice, Horizon, SAMPLE_CANDIDATES, SAMPLE_RECENT, Waiting};
use super::remnants::Remnants;

/// A deadline that never comes. Deadlines are nanoseconds on the cache's clock.
pub(crate) const NEVER: u64 = u64::MAX;
/// Residents, and remnants, that are shown to the law at a time.
const WAITING_DRAWN: usize = 2048;
/// A place of no entry.
const NOWHERE: u32 = u32::MAX;

/// What left, for the listener, which runs once the lock is free.
pub(crate) type Departures<K, V> = Vec<(K, V, Cause)>;

/// Counters that hits write, apart from those that only the holder of the lock writes; on a line of its own, so that
/// shards do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard<K, V> {
    hits: AtomicU64,
    misses: AtomicU64,
    /// Newcomers so far. With the hits they are the accesses, which are the shard's time: a miss counts once it is
    /// followed by an insert.
    newcomers: AtomicU64,
    inner: RwLock<Inner<K, V>>,
}

#[derive(Debug)]
pub(crate) struct Inner<K, V> {
    /// Places of entries, by the hash of their keys.
    table: HashTable<u32>,
    entries: Vec<(K, V)>,
    /// One a place.
    orbits: Vec<AtomicU64>,
    /// One a place, once any entry has a weight other than 1.
    weights: Vec<u32>,
    /// One a place, once any entry has a deadline.
    deadlines: Vec<u64>,
    remnants: Remnants,
    recent: [u32; SAMPLE_RECENT],
    next_recent: usize,
    weight: u64,
    capacity: u64,
    flights: Vec<Arc<Flight<K, V>>>,
    random: u64,
    pub(crate) counts: Counts,
}

/// Counts that are changed under the lock alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) evaporated: u64,
    pub(crate) expired: u64,
    pub(crate) recaptured: u64,
}

/// An entry that wants to come in.
#[derive(Debug)]
pub(crate) struct Newcomer<K, V> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) weight: u32,
    pub(crate) deadline: u64,
}

impl<K: Hash + Eq, V: Clone> Shard<K, V> {
    pub(crate) fn new(capacity: u64, remnants: usize, seed: u64) -> Shard<K, V> {
        let inner = Inner {
            table: HashTable::new(),
            entries: Vec::new(),
            orbits: Vec::new(),
            weights: Vec::new(),
            deadlines: Vec::new(),
            remnants: Remnants::new(remnants),
            recent: [NOWHERE; SAMPLE_RECENT],
            next_recent: 0,
            weight: 0,
            capacity,
            flights: Vec::new(),
            random: seed | 1,
            counts: Counts::default(),
        };
        let zero = || AtomicU64::new(0);
        Shard { hits: zero(), misses: zero(), newcomers: zero(), inner: RwLock::new(inner) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.hits.load(Ordering::Relaxed) + self.newcomers.load(Ordering::Relaxed)
    }

    pub(crate) fn lookups(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Finds a value, and counts the look-up; a value past its deadline is taken out.
    pub(crate) fn get(
        &self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) -> Option<V> {
        let inner = self.inner.read();
        let Some(place) = inner.find(hash, &is) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        if inner.is_due(place, time) {
            drop(inner);
            self.misses.fetch_add(1, Ordering::Relaxed);
            let mut inner = self.inner.write();
            if let Some(place) = inner.find(hash, &is).filter(|&place| inner.is_due(place, time)) {
                inner.expire(place, self.now(), horizon, hasher, gone);
            }
            return None;
        }
        let now = self.hits.fetch_add(1, Ordering::Relaxed) + self.newcomers.load(Ordering::Relaxed);
        inner.touch(place, now, horizon);
        Some(inner.entries[place].1.clone())
    }

    /// Puts an entry in if it is worth it; tells whether it came in.
    pub(crate) fn insert(
        &self,
        newcomer: Newcomer<K, V>,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) -> bool {
        let mut inner = self.inner.write();
        // A load that is under way started before this value was known.
        inner.flights.retain(|flight| *flight.key() != newcomer.key);
        self.insert_locked(&mut inner, newcomer, time, horizon, hasher, gone)
    }

    fn insert_locked(
        &self,
        inner: &mut Inner<K, V>,
        newcomer: Newcomer<K, V>,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) -> bool {
        let newcomers = self.newcomers.load(Ordering::Relaxed) + 1;
        self.newcomers.store(newcomers, Ordering::Relaxed);
        let now = self.hits.load(Ordering::Relaxed) + newcomers;
        match inner.find(newcomer.hash, |key| *key == newcomer.key) {
            Some(place) => inner.replace(place, newcomer, now, time, horizon, hasher, gone),
            None => inner.admit(newcomer, now, time, horizon, hasher, gone),
        }
    }

    /// Takes an entry out and forgets it.
    pub(crate) fn remove(
        &self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        hasher: &impl BuildHasher,
    ) -> Option<(K, V)> {
        let mut inner = self.inner.write();
        inner.flights.retain(|flight| !is(flight.key()));
        inner.remnants.take(hash);
        let place = inner.find(hash, is)?;
        Some(inner.take(place, hasher).0)
    }

    /// Takes all entries out, and forgets all that is remembered of keys.
    pub(crate) fn clear(&self) -> Vec<(K, V)> {
        let mut inner = self.inner.write();
        let remnants = inner.remnants.capacity();
        inner.flights.clear();
        inner.table.clear();
        inner.orbits.clear();
        inner.weights.clear();
        inner.deadlines.clear();
        inner.remnants = Remnants::new(remnants);
        inner.recent = [NOWHERE; SAMPLE_RECENT];
        inner.weight = 0;
        std::mem::take(&mut inner.entries)
    }

    /// Joins the load of a key: the flight, and whether the caller is the one to load.
    pub(crate) fn join(&self, key: &K) -> (Arc<Flight<K, V>>, bool)
    where
        K: Clone,
    {
        let mut inner = self.inner.write();
        if let Some(flight) = inner.flights.iter().find(|flight| flight.key() == key) {
            return (Arc::clone(flight), false);
        }
        let flight = Arc::new(Flight::new(key.clone()));
        inner.flights.push(Arc::clone(&flight));
        (flight, true)
    }

    /// Puts in what a flight brought, unless the key was written or removed in the meantime.
    pub(crate) fn insert_loaded(
        &self,
        flight: &Arc<Flight<K, V>>,
        newcomer: Newcomer<K, V>,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) {
        let mut inner = self.inner.write();
        if inner.end(flight) {
            self.insert_locked(&mut inner, newcomer, time, horizon, hasher, gone);
        }
    }

    /// Strikes a flight from the list.
    pub(crate) fn end(&self, flight: &Arc<Flight<K, V>>) {
        self.inner.write().end(flight);
    }

    /// Reads something of all that is under the lock.
    pub(crate) fn read<R>(&self, reader: impl FnOnce(&Inner<K, V>) -> R) -> R {
        reader(&self.inner.read())
    }

    /// Remembers a key as if it had left, so that its uses count when it comes in.
    pub(crate) fn remember(&self, hash: u64, orbit: Orbit, horizon: &Horizon) {
        let now = self.now();
        self.inner.write().remnants.put(hash, orbit, |orbit| horizon.age(orbit, now));
    }

    /// Residents and remnants, drawn at random; each stands for `shards` times as many as in this shard.
    pub(crate) fn waiting(&self, shards: usize) -> Vec<Waiting> {
        let inner = self.inner.read();
        let mut random = inner.random ^ self.now().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut waiting = Vec::with_capacity(2 * WAITING_DRAWN);
        let mut draw = |among: usize, orbit: &dyn Fn(usize) -> Option<Orbit>| {
            let drawn = among.min(WAITING_DRAWN);
            let count = (shards * among) as f32 / drawn.max(1) as f32;
            for place in 0..drawn {
                let place = if drawn < among { below(&mut random, among) } else { place };
                waiting.extend(orbit(place).map(|orbit| Waiting { orbit, count }));
            }
        };
        draw(inner.entries.len(), &|place| Some(inner.orbit(place)));
        draw(inner.remnants.capacity(), &|place| inner.remnants.at(place));
        waiting
    }
}

impl<K: Hash + Eq, V> Inner<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// How many entries would fit, if all weighed as those that are in do; `None` while there are none.
    pub(crate) fn entries_that_fit(&self) -> Option<u64> {
        let entries = self.entries.len() as u128;
        let fit = u128::from(self.capacity) * entries / u128::from(self.weight.max(1));
        (entries > 0).then(|| u64::try_from(fit).unwrap_or(u64::MAX))
    }

    /// Every entry with what is known of it.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&K, &V, Candidate, u64)> {
        self.entries.iter().enumerate().map(|(place, (key, value))| {
            (key, value, self.candidate(place), self.deadlines.get(place).copied().unwrap_or(NEVER))
        })
    }

    /// A value that is not past its deadline, without counting the use.
    pub(crate) fn peek(&self, hash: u64, key: &K, time: u64) -> Option<V>
    where
        V: Clone,
    {
        let place = self.find(hash, |other| other == key).filter(|&place| !self.is_due(place, time))?;
        Some(self.entries[place].1.clone())
    }

    fn find(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<usize> {
        self.table.find(hash, |&place| is(&self.entries[place as usize].0)).map(|&place| place as usize)
    }

    fn orbit(&self, place: usize) -> Orbit {
        Orbit::from_bits(self.orbits[place].load(Ordering::Relaxed))
    }

    fn touch(&self, place: usize, now: u64, horizon: &Horizon) {
        let orbit = horizon.touch(self.orbit(place), now);
        self.orbits[place].store(orbit.to_bits(), Ordering::Relaxed);
    }

    fn candidate(&self, place: usize) -> Candidate {
        let weight = self.weights.get(place).copied().unwrap_or(1);
        Candidate { orbit: self.orbit(place), weight: weight.into() }
    }

    fn is_due(&self, place: usize, time: u64) -> bool {
        self.deadlines.get(place).is_some_and(|&deadline| deadline <= time)
    }

    fn end(&mut self, flight: &Arc<Flight<K, V>>) -> bool {
        let before = self.flights.len();
        self.flights.retain(|other| !Arc::ptr_eq(other, flight));
        self.flights.len() < before
    }

    #[expect(clippy::too_many_arguments, reason = "the cache's parts are lent for one call")]
    fn replace(
        &mut self,
        place: usize,
        newcomer: Newcomer<K, V>,
        now: u64,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) -> bool {
        self.touch(place, now, horizon);
        let due = self.is_due(place, time);
        let cause = if due { Cause::Expired } else { Cause::Replaced };
        self.counts.expired += u64::from(due);
        let weight = self.weight - self.candidate(place).weight + u64::from(newcomer.weight);
        if weight > self.capacity {
            // It must stand up to the others as if it were new, but with its history.
            let orbit = self.orbit(place);
            let ((key, value), _) = self.take(place, hasher);
            gone.push((key, value, cause));
            return self.enter(newcomer, orbit, now, time, horizon, hasher, gone);
        }
        self.weight = weight;
        self.set_weight(place, newcomer.weight);
        self.set_deadline(place, newcomer.deadline);
        let (key, value) = std::mem::replace(&mut self.entries[place], (newcomer.key, newcomer.value));
        gone.push((key, value, cause));
        true
    }

    fn admit(
        &mut self,
        newcomer: Newcomer<K, V>,
        now: u64,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) -> bool {
        let remnant = self.remnants.take(newcomer.hash);
        self.counts.recaptured += u64::from(remnant.is_some());
        let orbit = remnant.map_or_else(|| horizon.born(now), |orbit| horizon.touch(orbit, now));
        self.enter(newcomer, orbit, now, time, horizon, hasher, gone)
    }

    /// Makes room, unless the newcomer is worth less than what would have to go.
    #[expect(clippy::too_many_arguments, reason = "the cache's parts are lent for one call")]
    fn enter(
        &mut self,
        newcomer: Newcomer<K, V>,
        orbit: Orbit,
        now: u64,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) -> bool {
        let candidate = Candidate { orbit, weight: newcomer.weight.into() };
        let mut fits = candidate.weight <= self.capacity && self.entries.len() < NOWHERE as usize;
        while fits && self.weight + candidate.weight > self.capacity {
            fits = self.evict(candidate, now, time, horizon, hasher, gone);
        }
        if !fits {
            self.counts.refused += 1;
            self.bury(newcomer.hash, orbit, now, horizon);
            gone.push((newcomer.key, newcomer.value, Cause::Refused));
            return false;
        }
        self.counts.admitted += 1;
        let (place, index) = (self.entries.len(), self.entries.len() as u32);
        let entries = &self.entries;
        self.table.insert_unique(newcomer.hash, index, |&place| hasher.hash_one(&entries[place as usize].0));
        self.entries.push((newcomer.key, newcomer.value));
        self.orbits.push(AtomicU64::new(orbit.to_bits()));
        if !self.weights.is_empty() {
            self.weights.push(1);
        }
        if !self.deadlines.is_empty() {
            self.deadlines.push(NEVER);
        }
        self.set_weight(place, newcomer.weight);
        self.set_deadline(place, newcomer.deadline);
        self.weight += candidate.weight;
        self.recent[self.next_recent % SAMPLE_RECENT] = index;
        self.next_recent = (self.next_recent + 1) % SAMPLE_RECENT;
        true
    }

    /// Lets one entry go, the one that is worth least of those drawn. False if the newcomer is worth less than all,
    /// or if there is nothing to let go.
    fn evict(
        &mut self,
        newcomer: Candidate,
        now: u64,
        time: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) -> bool {
        let mut places = [NOWHERE; SAMPLE_RECENT + SAMPLE_CANDIDATES];
        let drawn = self.draw(&mut places);
        let drawn = &places[..drawn];
        if let Some(&due) = drawn.iter().find(|&&place| self.is_due(place as usize, time)) {
            self.expire(due as usize, now, horizon, hasher, gone);
            return true;
        }
        let candidates = drawn.iter().map(|&place| self.candidate(place as usize));
        let Choice::Evict(choice) = horizon.choose(now, candidates, Some(newcomer)) else { return false };
        let place = drawn[choice] as usize;
        let orbit = self.orbit(place);
        let ((key, value), hash) = self.take(place, hasher);
        self.bury(hash, orbit, now, horizon);
        self.counts.evaporated += 1;
        gone.push((key, value, Cause::Evicted));
        true
    }

    /// Fills in places to choose from, and tells how many.
    fn draw(&mut self, places: &mut [u32; SAMPLE_RECENT + SAMPLE_CANDIDATES]) -> usize {
        let entries = self.entries.len();
        if entries <= places.len() {
            (0..entries).zip(places.iter_mut()).for_each(|(place, drawn)| *drawn = place as u32);
            return entries;
        }
        let mut drawn = 0;
        for &place in self.recent.iter().filter(|&&place| place != NOWHERE) {
            places[drawn] = place;
            drawn += 1;
        }
        for place in &mut places[drawn..drawn + SAMPLE_CANDIDATES] {
            *place = below(&mut self.random, entries) as u32;
        }
        drawn + SAMPLE_CANDIDATES
    }

    fn expire(
        &mut self,
        place: usize,
        now: u64,
        horizon: &Horizon,
        hasher: &impl BuildHasher,
        gone: &mut Departures<K, V>,
    ) {
        let orbit = self.orbit(place);
        let ((key, value), hash) = self.take(place, hasher);
        self.bury(hash, orbit, now, horizon);
        self.counts.expired += 1;
        gone.push((key, value, Cause::Expired));
    }

    /// Leaves a remnant.
    fn bury(&mut self, hash: u64, orbit: Orbit, now: u64, horizon: &Horizon) {
        if let Some(lost) = self.remnants.put(hash, orbit, |orbit| horizon.age(orbit, now)) {
            horizon.lost(lost, now);
        }
    }

    /// Takes out the entry at a place, which the last one fills. Returns it and the hash of its key.
    fn take(&mut self, place: usize, hasher: &impl BuildHasher) -> ((K, V), u64) {
        let last = self.entries.len() - 1;
        let hash = hasher.hash_one(&self.entries[place].0);
        if let Ok(slot) = self.table.find_entry(hash, |&other| other as usize == place) {
            slot.remove();
        }
        if place != last {
            let moved = hasher.hash_one(&self.entries[last].0);
            if let Some(slot) = self.table.find_mut(moved, |&other| other as usize == last) {
                *slot = place as u32;
            }
        }
        for recent in &mut self.recent {
            if *recent as usize == place {
                *recent = NOWHERE;
            }
            if *recent as usize == last {
                *recent = place as u32;
            }
        }
        self.weight -= self.candidate(place).weight;
        self.orbits.swap_remove(place);
        if !self.weights.is_empty() {
            self.weights.swap_remove(place);
        }
        if !self.deadlines.is_empty() {
            self.deadlines.swap_remove(place);
        }
        (self.entries.swap_remove(place), hash)
    }

    fn set_weight(&mut self, place: usize, weight: u32) {
        if self.weights.is_empty() && weight != 1 {
            self.weights = vec![1; self.entries.len()];
        }
        if let Some(known) = self.weights.get_mut(place) {
            *known = weight;
        }
    }

    fn set_deadline(&mut self, place: usize, deadline: u64) {
        if self.deadlines.is_empty() && deadline != NEVER {
            self.deadlines = vec![NEVER; self.entries.len()];
        }
        if let Some(known) = self.deadlines.get_mut(place) {
            *known = deadline;
        }
    }
}

/// A number below `limit`: a step of xorshift64 (Marsaglia 2003), scaled.
fn below(random: &mut u64, limit: usize) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    ((u128::from(*random) * limit as u128) >> 64) as usize
}
