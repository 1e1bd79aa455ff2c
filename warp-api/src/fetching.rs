//! Fetching: bringing the partners of a key that was read from the disk into memory before they are read.
//!
//! Partners are learned ones, and where reads wait for the disk also those that are declared or made by rules. The first use of a
//! value that was brought in like that has its own partners brought in: so a sequence comes in step by step, as long as it is followed.
//!
//! What is asked for is marked, and a mark says whether it was of use. Learned partners are throttled by what the learner itself has
//! foretold right, all others by how many of their kind were used.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use serde::Serialize;
use warp_core::{Key, KeyRef};
use warp_io::Clock;
use warp_physics::{
    Edge, KIND_LEARNED, Origin, PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT, StoredLinks, Usefulness,
};

use crate::counters::Counter;
use crate::keyspace::SYSTEM;
use crate::learning::Name;
use crate::links::{Declared, with_links_key};
use crate::marks::{Mark, Marks, Stage};
use crate::options::Physics;
use crate::shared::Shared;

/// Keys that may wait to be brought in, and uses that may wait to be counted.
const WAITING_MAX: usize = 512;
/// Keys that were asked for, and whose use is yet to be seen: so many at most.
const MARKS_MAX: usize = 4096;
/// Longer keys are not fetched, so that those that wait take little memory.
const NAME_BYTES_MAX: usize = 256;
/// What is read of the disk at once, which a value counts at least of the bytes that are allowed.
const PAGE_BYTES: usize = 4096;

/// What is asked of the background.
enum Wanted {
    Value(Name),
    /// The partners that are declared of a key, whose links are not in memory.
    PartnersOf(Name),
}

/// A partner that may be brought in.
struct Partner {
    name: Name,
    kind: u32,
}

/// What is to be brought in, and what came of it.
pub(crate) struct Fetching {
    /// The most bytes that are brought in.
    bytes_per_second: u64,
    /// Whether declared partners and those by rule are brought in.
    with_related: bool,
    /// Whether anybody brings something in. Of an engine that only reads the disk is asked, and that is all.
    has_worker: bool,
    throttle: Mutex<Throttle>,
    wanted: (Sender<Wanted>, Receiver<Wanted>),
    /// Kinds of which a value was used.
    uses: (Sender<u32>, Receiver<u32>),
    /// Keys that were asked for and not used since. Made when the first is.
    marks: OnceLock<Marks>,
    reads: Counter,
    fetched: Counter,
    fetched_bytes: Counter,
    fetched_used: Counter,
    related: Counter,
    related_used: Counter,
    related_late: Counter,
    related_withheld: Counter,
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetching").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

/// What limits fetching. Held for moments only, and not while anything is waited for.
#[derive(Debug)]
struct Throttle {
    /// When bytes to bring in were last allowed, and how many are left.
    allowed: (Duration, f64),
    /// Of declared partners, and of those by rule.
    related: Usefulness,
    /// Of looking up declared links, by keyspace.
    look_ups: Usefulness,
}

/// Fetching: partners that were brought into memory before they were read.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct FetchMetrics {
    /// Values of partners that were read from layers: those that then found no room in memory, too. `cold_hits` has none of them.
    pub reads: u64,
    /// Partners that were brought into memory before they were read.
    pub fetched: u64,
    /// Bytes of their values.
    pub fetched_bytes: u64,
    /// Those that were read from memory afterwards, by any read, as far as that is known: of the latest 4,000 or so.
    pub fetched_seen_used: u64,
    /// Declared partners and those by rule that were ordered from the background, when a key was read from the disk, or a value that was
    /// brought in was used.
    pub related: u64,
    /// Those of them that were then read, once they had come in or the disk had been asked for them.
    pub related_used: u64,
    /// Those that were read before the background came to it: for nothing.
    pub related_late: u64,
    /// Those that were not ordered, since of their kind (a partner of a rule, or declared links of about the same strength) less than 30 %
    /// were used.
    pub related_withheld: u64,
}

impl Fetching {
    pub(crate) fn new(physics: &Physics, has_worker: bool) -> Fetching {
        Fetching {
            has_worker,
            bytes_per_second: physics.prefetch_bytes,
            with_related: physics.entanglement,
            throttle: Mutex::new(Throttle {
                allowed: (Duration::ZERO, physics.prefetch_bytes as f64),
                related: Usefulness::new(),
                look_ups: Usefulness::new(),
            }),
            wanted: bounded(WAITING_MAX),
            uses: bounded(WAITING_MAX),
            marks: OnceLock::new(),
            reads: Counter::default(),
            fetched: Counter::default(),
            fetched_bytes: Counter::default(),
            fetched_used: Counter::default(),
            related: Counter::default(),
            related_used: Counter::default(),
            related_late: Counter::default(),
            related_withheld: Counter::default(),
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let marks = self.marks.get().map_or(0, Marks::bytes);
        let places = WAITING_MAX * (size_of::<Wanted>() + size_of::<u32>() + 2 * size_of::<usize>());
        let names = self.wanted.1.len() * NAME_BYTES_MAX;
        let throttle = self.throttle.lock();
        (marks + places + names + throttle.related.bytes() + throttle.look_ups.bytes()) as u64
    }

    fn take_mark(&self, hash: u64) -> Option<Mark> {
        self.marks.get()?.take(hash)
    }

    fn mark_of(&self, hash: u64) -> Option<Mark> {
        self.marks.get()?.get(hash)
    }

    fn advance(&self, hash: u64, stage: Stage) {
        if let Some(marks) = self.marks.get() {
            marks.advance(hash, stage);
        }
    }

    /// Takes note of the first read of a value in memory. `true` if it was asked for as a partner.
    fn note_use(&self, hash: u64) -> bool {
        let Some(mark) = self.take_mark(hash) else { return false };
        if mark.stage == Stage::In {
            self.fetched_used.add(1);
        }
        self.note_read(mark);
        true
    }

    /// Takes note of a read from the layers.
    pub(crate) fn note_cold_read(&self, hash: u64) {
        // What came in has left before it was of use.
        if let Some(mark) = self.take_mark(hash).filter(|mark| mark.stage != Stage::In) {
            self.note_read(mark);
        }
    }

    /// Takes note of a read of what was asked for, which is a use if the disk was, too: otherwise it came too late.
    fn note_read(&self, mark: Mark) {
        if mark.kind == KIND_LEARNED {
            return;
        }
        if mark.stage == Stage::Ordered {
            return self.related_late.add(1);
        }
        self.related_used.add(1);
        // A reader waits for nobody; of very many at a time some are not counted.
        let _ = self.uses.0.try_send(mark.kind);
    }

    /// Counts the uses that were seen.
    fn count_uses(&self, throttle: &mut Throttle) {
        self.uses.1.try_iter().take(WAITING_MAX).for_each(|kind| throttle.related.used(kind));
    }

    /// Partners that were brought in, the bytes of their values, and those that were then read from memory.
    pub(crate) fn worth(&self) -> (u64, u64, u64) {
        // Before what it is a part of.
        let used = self.fetched_used.sum();
        (self.fetched.sum(), self.fetched_bytes.sum(), used)
    }

    pub(crate) fn metrics(&self) -> FetchMetrics {
        let (related_used, related_late) = (self.related_used.sum(), self.related_late.sum());
        let (fetched, fetched_bytes, fetched_seen_used) = self.worth();
        FetchMetrics {
            reads: self.reads.sum(),
            fetched,
            fetched_bytes,
            fetched_seen_used,
            related: self.related.sum(),
            related_used,
            related_late,
            related_withheld: self.related_withheld.sum(),
        }
    }
}

impl Throttle {
    /// Whether a value may be brought in now, which is counted as a page until it is known how long it is.
    fn takes_page(&mut self, now: Duration, per_second: u64) -> bool {
        let is_allowed = self.allows(now, per_second);
        if is_allowed {
            self.takes(PAGE_BYTES);
        }
        is_allowed
    }

    /// Counts bytes that are brought in.
    fn takes(&mut self, bytes: usize) {
        self.allowed.1 -= bytes as f64;
    }

    /// Whether bytes may be brought in now.
    fn allows(&mut self, now: Duration, per_second: u64) -> bool {
        let (then, left) = self.allowed;
        let gained = now.saturating_sub(then).as_secs_f64() * per_second as f64;
        // Who asks may have looked at the clock before another one who came first.
        self.allowed = (now.max(then), (left + gained).min(per_second as f64));
        self.allowed.1 > 0.0
    }
}

impl Shared {
    /// Takes note of a use of what may have been brought in before it was asked for. `true` if it came as a partner and was
    /// not read since: then it is gone on with its own partners, by [`Shared::want_partners`] once nothing is pinned.
    ///
    /// Without this every few keys of a sequence would be read from the layers, since partners reach only so far. Partners of
    /// what is brought in could be brought in with it, but what is foretold from what was foretold comes true less often; a use
    /// says for certain that the sequence goes on. That it is the first use is seen where heat is told, which an entry that is
    /// read all the time comes to once a tick: so other reads pay nothing for it, and all first uses are seen, sampled or not.
    #[inline(never)] // What a get compiles to stays small, so that the processor gets to the next one while it waits.
    pub(crate) fn note_use_of_brought(&self, hash: u64) -> bool {
        self.warm.note_use(hash);
        self.fetching.note_use(hash)
    }

    /// Asks that the partners of a key that was not in memory, or would not have been, be brought in: of the disk, too, so not in the
    /// middle of a read of the table.
    #[cold]
    pub(crate) fn want_partners(&self, key: KeyRef<'_>) {
        let fetching = &self.fetching;
        if fetching.bytes_per_second == 0 {
            return;
        }
        let with_related = self.may_fetch_related();
        if !with_related && !self.learning.is_on() {
            return;
        }
        let Some(mut throttle) = fetching.throttle.try_lock() else { return };
        fetching.count_uses(&mut throttle);
        if !throttle.allows(self.time.monotonic(), fetching.bytes_per_second) {
            return;
        }
        let learned = self.learning.worth_fetching(key.hash, &*self.advice).into_iter();
        let mut partners: Vec<Partner> = learned.map(|name| Partner { name, kind: KIND_LEARNED }).collect();
        let mut looks_up = false;
        if with_related {
            let mut room = Vec::new();
            let declared = self.declared_in_memory(key.keyspace, key.bytes, &mut room);
            self.add_related(key, &room, |_| true, &mut partners);
            looks_up = matches!(declared, Declared::Elsewhere) && self.want_links(key, &mut throttle);
        }
        let ordered = self.order_values(partners, &mut throttle);
        drop(throttle);
        if !fetching.has_worker {
            self.prefetch_cold(&ordered);
        } else if looks_up || !ordered.is_empty() {
            // Asking the disk takes longer than to wake somebody who does.
            self.order_fetch();
        }
    }

    /// Whether partners may be brought in that are declared or made by rules: only where there may be any, and reads wait for the
    /// disk, since a page that the system has in memory is read sooner than anybody could be asked for it.
    fn may_fetch_related(&self) -> bool {
        let may_have_any =
            || self.may_have_links.load(Ordering::Acquire) || !self.entanglement.load().rules().is_empty();
        self.fetching.with_related && may_have_any() && self.advice.fetch_related(self.cold_reads.recent())
    }

    /// Adds those of the partners that are `chosen`: declared ones, in these stored links, and those that rules make. Links that cannot
    /// be read are reported to whoever asks for them.
    fn add_related(
        &self,
        key: KeyRef<'_>,
        declared: &[u8],
        chosen: impl Fn(Origin) -> bool,
        partners: &mut Vec<Partner>,
    ) {
        let add = |edge: Edge<'_>| {
            let Edge { keyspace, key, kind, origin, .. } = edge;
            if chosen(origin) && key.iter().map(|part| part.len()).sum::<usize>() <= NAME_BYTES_MAX {
                partners.push(Partner { name: (keyspace, Key::from(key.concat())), kind });
            }
        };
        let graph = self.entanglement.load();
        let (limit, strength_min) = (PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT);
        let declared = StoredLinks::new(declared).unwrap_or_default();
        graph.each_partner(key.keyspace, key.bytes, declared, limit, strength_min, add);
    }

    /// Has the background look up what is declared of a key, as long as something is found often enough.
    fn want_links(&self, key: KeyRef<'_>, throttle: &mut Throttle) -> bool {
        let fetching = &self.fetching;
        if !fetching.has_worker
            || key.bytes.len() > NAME_BYTES_MAX
            || !throttle.look_ups.is_worth(key.keyspace)
        {
            return false;
        }
        let name = (key.keyspace, Key::from(key.bytes));
        let is_waiting = fetching.wanted.0.try_send(Wanted::PartnersOf(name)).is_ok();
        if is_waiting {
            throttle.look_ups.ordered(key.keyspace);
        }
        is_waiting
    }

    /// Has the background bring in those of the partners that are not in memory, nobody has ordered, and whose kind is worth it. Returns
    /// their hashes.
    fn order_values(&self, partners: Vec<Partner>, throttle: &mut Throttle) -> Vec<u64> {
        let fetching = &self.fetching;
        let mut ordered = Vec::with_capacity(partners.len());
        for Partner { name, kind } in partners {
            let partner = self.key(name.0, &name.1);
            let hash = partner.hash;
            let is_ordered = fetching.mark_of(hash).is_some_and(|mark| mark.stage != Stage::In);
            if is_ordered || self.table.with(partner, |_| ()).is_some() {
                continue;
            }
            if kind != KIND_LEARNED && !throttle.related.is_worth(kind) {
                fetching.related_withheld.add(1);
                continue;
            }
            let marks = fetching.marks.get_or_init(|| Marks::new(MARKS_MAX));
            if fetching.has_worker {
                // Marked before the background looks for that.
                marks.mark(hash, Mark::ordered(kind));
                if fetching.wanted.0.try_send(Wanted::Value(name)).is_err() {
                    marks.take(hash);
                    continue;
                }
            } else {
                throttle.takes(PAGE_BYTES);
                marks.mark(hash, Mark { kind, stage: Stage::Asked });
            }
            if kind != KIND_LEARNED {
                throttle.related.ordered(kind);
                fetching.related.add(1);
            }
            ordered.push(hash);
        }
        ordered
    }

    /// Brings in what was ordered, as far as the bytes that are allowed a second go. Called by the background.
    pub(crate) fn fetch_wanted(&self) {
        // The second time what was found to be declared.
        for _ in 0..2 {
            let (mut values, mut keys): (Vec<Name>, Vec<Name>) = Default::default();
            for wanted in self.fetching.wanted.1.try_iter().take(WAITING_MAX) {
                match wanted {
                    Wanted::Value(name) => values.push(name),
                    Wanted::PartnersOf(name) => keys.push(name),
                }
            }
            self.fetch_values(&values);
            if keys.is_empty() {
                return;
            }
            self.look_up_partners(&keys);
        }
        // What came meanwhile waits for nobody else's turn.
        self.order_fetch();
    }

    fn fetch_values(&self, names: &[Name]) {
        if names.is_empty() {
            return;
        }
        let fetching = &self.fetching;
        let mut allowed = Vec::with_capacity(names.len());
        let mut throttle = fetching.throttle.lock();
        fetching.count_uses(&mut throttle);
        let now = self.time.monotonic();
        for (keyspace, name) in names {
            let key = self.key(*keyspace, name);
            // Whoever has read it meanwhile has taken its mark.
            let Some(Mark { kind, .. }) = fetching.mark_of(key.hash) else { continue };
            if throttle.takes_page(now, fetching.bytes_per_second) {
                allowed.push(key);
            } else if fetching.take_mark(key.hash).is_some() {
                throttle.related.cancelled(kind);
            }
        }
        drop(throttle);
        // The disk is asked for all of them before the first is waited for.
        let hashes: Vec<u64> = allowed.iter().map(|key| key.hash).collect();
        if self.prefetch_cold(&hashes) {
            hashes.iter().for_each(|hash| fetching.advance(*hash, Stage::Asked));
        }
        let is_wanted = |key: &KeyRef<'_>| fetching.mark_of(key.hash).is_some();
        for key in allowed.into_iter().filter(is_wanted).take_while(|_| !self.is_ending()) {
            self.fetch(key);
        }
    }

    fn fetch(&self, key: KeyRef<'_>) {
        let fetching = &self.fetching;
        if self.table.with(key, |_| ()).is_some() {
            return;
        }
        let Ok(Some((bytes, is_in))) = self.fetch_cold(key) else {
            // There is nothing, or nothing that can be read, whose use could be seen.
            fetching.take_mark(key.hash);
            return;
        };
        fetching.reads.add(1);
        fetching.throttle.lock().takes(bytes.saturating_sub(PAGE_BYTES));
        if is_in {
            fetching.fetched.add(1);
            fetching.fetched_bytes.add(bytes as u64);
            fetching.advance(key.hash, Stage::In);
        }
    }

    /// Looks up what is declared of keys that were read, and orders those partners.
    fn look_up_partners(&self, keys: &[Name]) {
        let fetching = &self.fetching;
        let links =
            |(keyspace, key): &Name| with_links_key(*keyspace, key, |name| self.key(SYSTEM, name).hash);
        let hashes: Vec<u64> = keys.iter().map(links).collect();
        fetching.throttle.lock().takes(keys.len() * PAGE_BYTES);
        self.prefetch_cold(&hashes);
        let mut room = Vec::new();
        for (keyspace, name) in keys.iter().take_while(|_| !self.is_ending()) {
            let key = self.key(*keyspace, name);
            let Ok(Some(declared)) = self.declared(*keyspace, name, &mut room) else { continue };
            let mut partners = Vec::new();
            // Those by rule were ordered when the key was read.
            self.add_related(key, declared, |origin| origin == Origin::Declared, &mut partners);
            let mut throttle = fetching.throttle.lock();
            throttle.look_ups.used(*keyspace);
            self.order_values(partners, &mut throttle);
        }
    }
}
