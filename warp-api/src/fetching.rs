//! Fetching: bringing the partners of a key that was read from the disk into memory before they are read.
//!
//! Partners are learned ones, and where reads wait for the disk also those that are declared or made by rules. The first use of a
//! value that was brought in like that has its own partners brought in: so a sequence comes in step by step, as long as it is followed.
//!
//! What is asked for is marked, and a mark says whether it was of use. Learned partners are throttled by what the learner itself has
//! foretold right, all others by how many of their kind were used.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use serde::Serialize;
use warp_core::{Key, KeyRef};
use warp_io::Clock;
use warp_physics::{Edge, PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT, StoredLinks, Usefulness};

use crate::counters::Counter;
use crate::learning::Name;
use crate::links::Declared;
use crate::marks::{Mark, Marks};
use crate::options::Physics;
use crate::shared::Shared;

/// Keys that may wait to be brought in, and uses that may wait to be counted.
const WAITING_MAX: usize = 1024;
/// Keys that were asked for, and whose use is yet to be seen: so many at most.
const MARKS_MAX: usize = 4096;
/// Longer keys are not fetched, so that those that wait take little memory.
const KEY_BYTES_MAX: usize = 256;
/// What asking the disk for a value counts, of the bytes that are allowed.
const PAGE_BYTES: usize = 4096;
/// The kind of learned partners, of which the learner knows by itself what came of them.
const LEARNED: u32 = 0;
/// Keys whose declared links are looked up are all of one kind.
const LOOK_UP: u32 = 0;

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
    related_withheld: Counter,
}

impl std::fmt::Debug for Fetching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetching").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

/// What limits fetching.
#[derive(Debug)]
struct Throttle {
    /// When bytes to bring in were last allowed, and how many are left.
    allowed: (Duration, f64),
    /// Of declared partners, and of those by rule.
    related: Usefulness,
    /// Of looking up declared links.
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
    /// Declared partners and those by rule that were asked for, when a key was read from the disk.
    pub related: u64,
    /// Those of them that were then read, whether they had come in by then or were still on their way.
    pub related_used: u64,
    /// Those that were not asked for, since of their kind (a partner of a rule, or declared links of about the same strength) less than
    /// 30 % were used.
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
            related_withheld: Counter::default(),
        }
    }

    /// Bytes that it takes beside what waits.
    pub(crate) fn bytes(&self) -> u64 {
        self.marks.get().map_or(0, |marks| marks.bytes() as u64)
    }

    fn take_mark(&self, hash: u64) -> Option<Mark> {
        self.marks.get()?.take(hash)
    }

    fn has_mark(&self, hash: u64) -> bool {
        self.marks.get().is_some_and(|marks| marks.get(hash).is_some())
    }

    fn came_in(&self, hash: u64) {
        if let Some(marks) = self.marks.get() {
            marks.came_in(hash);
        }
    }

    /// Takes note of the first read of a value in memory. `true` if it was asked for as a partner.
    fn note_use(&self, hash: u64) -> bool {
        let Some(mark) = self.take_mark(hash) else { return false };
        if mark.is_in {
            self.fetched_used.add(1);
        }
        self.has_come_true(mark.kind);
        true
    }

    /// Takes note of a read from the layers. What came in unasked has left before it was of use; what is still on its way is of use
    /// already, since the disk was asked for it.
    pub(crate) fn note_cold_read(&self, hash: u64) {
        if let Some(Mark { kind, is_in: false }) = self.take_mark(hash) {
            self.has_come_true(kind);
        }
    }

    fn has_come_true(&self, kind: u32) {
        if kind != LEARNED {
            self.related_used.add(1);
            // A reader waits for nobody; of very many at a time some are not counted.
            let _ = self.uses.0.try_send(kind);
        }
    }

    /// Partners that were brought in, the bytes of their values, and those that were then read from memory.
    pub(crate) fn worth(&self) -> (u64, u64, u64) {
        // Before what it is a part of.
        let used = self.fetched_used.sum();
        (self.fetched.sum(), self.fetched_bytes.sum(), used)
    }

    pub(crate) fn metrics(&self) -> FetchMetrics {
        let related_used = self.related_used.sum();
        let (fetched, fetched_bytes, fetched_seen_used) = self.worth();
        FetchMetrics {
            reads: self.reads.sum(),
            fetched,
            fetched_bytes,
            fetched_seen_used,
            related: self.related.sum(),
            related_used,
            related_withheld: self.related_withheld.sum(),
        }
    }
}

impl Throttle {
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
        let with_related = self.may_fetch_related();
        if fetching.bytes_per_second == 0 || !(with_related || self.learning.is_on()) {
            return;
        }
        let Some(mut throttle) = fetching.throttle.try_lock() else { return };
        if !throttle.allows(self.time.monotonic(), fetching.bytes_per_second) {
            return;
        }
        let learned = self.learning.worth_fetching(key.hash, &*self.advice).into_iter();
        let mut partners: Vec<Partner> = learned.map(|name| Partner { name, kind: LEARNED }).collect();
        let mut looks_up = false;
        if with_related {
            fetching.uses.1.try_iter().for_each(|kind| throttle.related.used(kind));
            let mut room = Vec::new();
            match self.declared_in_memory(key.keyspace, key.bytes, &mut room) {
                Declared::Here => self.add_related(key, &room, &mut partners),
                Declared::None => self.add_related(key, &[], &mut partners),
                Declared::Elsewhere => {
                    self.add_related(key, &[], &mut partners);
                    looks_up = self.want_links(key, &mut throttle);
                }
            }
        }
        let ordered = self.order_values(partners, &mut throttle);
        drop(throttle);
        if !fetching.has_worker {
            self.ask_disk(&ordered);
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

    /// Adds partners that are declared, in these stored links, and those that rules make. Links that cannot be read are reported to
    /// whoever asks for them.
    fn add_related(&self, key: KeyRef<'_>, declared: &[u8], partners: &mut Vec<Partner>) {
        let declared =
            if declared.is_empty() { Ok(StoredLinks::default()) } else { StoredLinks::new(declared) };
        let add = |edge: Edge<'_>| {
            let Edge { keyspace, key, kind, .. } = edge;
            if key.iter().map(|part| part.len()).sum::<usize>() <= KEY_BYTES_MAX {
                partners.push(Partner { name: (keyspace, Key::from(key.concat())), kind });
            }
        };
        let graph = self.entanglement.load();
        let (limit, strength_min) = (PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT);
        let declared = declared.unwrap_or_default();
        graph.each_partner(key.keyspace, key.bytes, declared, limit, strength_min, add);
    }

    /// Has the background look up what is declared of a key, as long as something is found often enough.
    fn want_links(&self, key: KeyRef<'_>, throttle: &mut Throttle) -> bool {
        if !self.fetching.has_worker
            || key.bytes.len() > KEY_BYTES_MAX
            || !throttle.look_ups.is_worth_fetching(LOOK_UP)
        {
            return false;
        }
        throttle.look_ups.fetched(LOOK_UP);
        let name = (key.keyspace, Key::from(key.bytes));
        self.fetching.wanted.0.try_send(Wanted::PartnersOf(name)).is_ok()
    }

    /// Has the background bring in those of the partners that are not in memory and whose kind is worth it. Returns their hashes.
    fn order_values(&self, partners: Vec<Partner>, throttle: &mut Throttle) -> Vec<u64> {
        let fetching = &self.fetching;
        let mut ordered = Vec::with_capacity(partners.len());
        for Partner { name, kind } in partners {
            let partner = self.key(name.0, &name.1);
            let hash = partner.hash;
            if self.table.with(partner, |_| ()).is_some() {
                continue;
            }
            if kind != LEARNED {
                if !throttle.related.is_worth_fetching(kind) {
                    fetching.related_withheld.add(1);
                    continue;
                }
                throttle.related.fetched(kind);
                fetching.related.add(1);
            }
            // Marked before the background looks for that.
            let marks = fetching.marks.get_or_init(|| Marks::new(MARKS_MAX));
            marks.mark(hash, Mark { kind, is_in: false });
            if !fetching.has_worker || fetching.wanted.0.try_send(Wanted::Value(name)).is_ok() {
                ordered.push(hash);
            }
        }
        ordered
    }

    /// Asks the disk for values, where reads wait for it.
    fn ask_disk(&self, hashes: &[u64]) {
        if !hashes.is_empty() && self.prefetch_cold(hashes) {
            self.fetching.throttle.lock().allowed.1 -= (hashes.len() * PAGE_BYTES) as f64;
        }
    }

    /// Brings in what was asked for, as far as the bytes that are allowed a second go. Called by the background.
    pub(crate) fn fetch_wanted(&self) {
        let mut names: Vec<Name> = Vec::new();
        for wanted in self.fetching.wanted.1.try_iter().take(WAITING_MAX) {
            match wanted {
                Wanted::Value(name) => names.push(name),
                Wanted::PartnersOf((keyspace, name)) => self.want_declared(self.key(keyspace, &name)),
            }
        }
        // The disk is asked for all of them before the first is waited for. Whoever has read one meanwhile has taken its mark.
        let keys = || names.iter().map(|(keyspace, name)| self.key(*keyspace, name));
        let keys: Vec<KeyRef<'_>> = keys().filter(|key| self.fetching.has_mark(key.hash)).collect();
        let hashes: Vec<u64> = keys.iter().map(|key| key.hash).collect();
        self.ask_disk(&hashes);
        keys.into_iter().for_each(|key| self.fetch(key));
    }

    fn fetch(&self, key: KeyRef<'_>) {
        let fetching = &self.fetching;
        let now = self.time.monotonic();
        // Whoever has read it meanwhile has taken its mark.
        if !fetching.throttle.lock().allows(now, fetching.bytes_per_second)
            || !fetching.has_mark(key.hash)
            || self.table.with(key, |_| ()).is_some()
        {
            return;
        }
        let Ok(Some((bytes, is_in))) = self.fetch_cold(key) else { return };
        fetching.reads.add(1);
        fetching.throttle.lock().allowed.1 -= bytes as f64;
        if is_in {
            fetching.fetched.add(1);
            fetching.fetched_bytes.add(bytes as u64);
            fetching.came_in(key.hash);
        }
    }

    /// Looks up what is declared of a key that was read, and asks for those partners.
    fn want_declared(&self, key: KeyRef<'_>) {
        let mut room = Vec::new();
        let Ok(Some(declared)) = self.declared(key.keyspace, key.bytes, &mut room) else { return };
        let mut partners = Vec::new();
        self.add_related(key, declared, &mut partners);
        let mut throttle = self.fetching.throttle.lock();
        throttle.look_ups.used(LOOK_UP);
        // Brought in when the worker comes to it, which is at once: it was woken for this.
        self.order_values(partners, &mut throttle);
        drop(throttle);
        self.order_fetch();
    }
}
