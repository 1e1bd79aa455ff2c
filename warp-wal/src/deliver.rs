//! Handing out what a replay reads: in order on the caller's thread, or by several threads at once.
//!
//! ```text
//!                          +--> bounded channel --> thread: decode, apply
//!   walk: read, checksum --+                        thread: decode, apply
//!                          +--> decode and apply itself, while the channel is full
//! ```

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::options::Format;
use crate::payload::{Values, decode};

/// Frames that wait for each thread at most, so that little memory is held.
const WAITING_FRAMES: usize = 2;
/// A larger payload is not copied, but applied by who has read it.
const COPIED_BYTES_MAX: usize = 2 << 20;

/// What one thread of a replay does with the entries that come to it.
pub type Worker<'a> = Box<dyn FnMut(u64, &Entry<'_>) + 'a>;

/// How a replay hands out entries.
pub enum Apply<'a> {
    /// On the calling thread, in the order of sequences.
    InOrder(&'a mut dyn FnMut(u64, &Entry<'_>)),
    /// On so many threads, the calling one among them, as fast as they can.
    ///
    /// Entries come in any order. Whoever keeps the one with the highest sequence of each key ends up with what the
    /// order would have given, since the log holds states and never operations.
    Spread {
        /// How many; 0 is taken for 1.
        threads: usize,
        /// Makes what a thread does with its entries. It is dropped, by its thread, before the replay returns.
        worker: &'a (dyn Fn() -> Worker<'a> + Sync),
    },
}

impl std::fmt::Debug for Apply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Apply::InOrder(_) => f.write_str("InOrder"),
            Apply::Spread { threads, .. } => f.debug_struct("Spread").field("threads", threads).finish(),
        }
    }
}

/// The payload of a frame, whose checksum was found right.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'p> {
    pub(crate) format: Format,
    pub(crate) first_seq: u64,
    pub(crate) groups: u32,
    pub(crate) bytes: &'p [u8],
    /// Where it is.
    pub(crate) file: &'p str,
    pub(crate) offset: u64,
}

impl Payload<'_> {
    /// Hands out the entries with a sequence that is wanted; returns how many.
    fn apply(
        &self,
        wanted: &RangeInclusive<u64>,
        values: &mut Values,
        apply: &mut dyn FnMut(u64, &Entry<'_>),
    ) -> Result<u64> {
        let mut entries = 0;
        let mut hand_out = |seq: u64, entry: &Entry<'_>| {
            if wanted.contains(&seq) {
                entries += 1;
                apply(seq, entry);
            }
        };
        decode(self.format, self.bytes, self.first_seq, self.groups, values, &mut hand_out)
            .map_err(|bad| bad.error(self.file, self.offset))?;
        Ok(entries)
    }
}

/// Where the payloads that a walk reads go to.
pub(crate) struct Delivery<'a> {
    wanted: RangeInclusive<u64>,
    values: Values,
    entries: u64,
    way: Way<'a>,
}

enum Way<'a> {
    InOrder(&'a mut dyn FnMut(u64, &Entry<'_>)),
    Spread { frames: Sender<Copied>, crew: &'a Crew, worker: Worker<'a> },
}

impl Delivery<'_> {
    /// Hands out the entries of a frame, now or soon.
    pub(crate) fn frame(&mut self, payload: &Payload<'_>) -> Result<()> {
        match &mut self.way {
            Way::InOrder(apply) => {
                self.entries += payload.apply(&self.wanted, &mut self.values, apply)?;
                Ok(())
            }
            Way::Spread { frames, crew, worker } => {
                crew.check()?;
                if payload.bytes.len() <= COPIED_BYTES_MAX && !frames.is_full() {
                    match frames.try_send(crew.copy(payload)) {
                        Ok(()) => return Ok(()),
                        Err(TrySendError::Full(copied) | TrySendError::Disconnected(copied)) => {
                            crew.spare.lock().push(copied.bytes);
                        }
                    }
                }
                crew.apply(payload, &mut self.values, worker)
            }
        }
    }
}

/// A payload that waits for a thread.
struct Copied {
    format: Format,
    first_seq: u64,
    groups: u32,
    bytes: Vec<u8>,
    file: String,
    offset: u64,
}

/// What the threads of a replay share.
struct Crew {
    wanted: RangeInclusive<u64>,
    entries: AtomicU64,
    /// Buffers that are not in use.
    spare: Mutex<Vec<Vec<u8>>>,
    has_failed: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Crew {
    fn copy(&self, payload: &Payload<'_>) -> Copied {
        let mut bytes = self.spare.lock().pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(payload.bytes);
        let Payload { format, first_seq, groups, offset, .. } = *payload;
        Copied { format, first_seq, groups, bytes, file: payload.file.to_owned(), offset }
    }

    fn apply(&self, payload: &Payload<'_>, values: &mut Values, worker: &mut Worker<'_>) -> Result<()> {
        let entries = payload.apply(&self.wanted, values, worker)?;
        self.entries.fetch_add(entries, Ordering::Relaxed);
        Ok(())
    }

    /// Applies what comes until nothing more will.
    fn work(&self, frames: &Receiver<Copied>, mut worker: Worker<'_>) {
        let mut values = Values::default();
        for copied in frames {
            let Copied { format, first_seq, groups, offset, .. } = copied;
            let payload =
                Payload { format, first_seq, groups, bytes: &copied.bytes, file: &copied.file, offset };
            if let Err(error) = self.apply(&payload, &mut values, &mut worker) {
                self.error.lock().get_or_insert(error);
                self.has_failed.store(true, Ordering::Release);
            }
            self.spare.lock().push(copied.bytes);
        }
    }

    /// Fails if a thread has.
    fn check(&self) -> Result<()> {
        if !self.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        // Only the thread that walks takes it, and stops then.
        self.error.lock().take().map_or(Ok(()), Err)
    }
}

/// Runs a walk whose frames go where `apply` says. Returns its answer, and how many entries were handed out.
pub(crate) fn deliver<R>(
    wanted: RangeInclusive<u64>,
    apply: Apply<'_>,
    walk: impl FnOnce(&mut Delivery<'_>) -> Result<R>,
) -> Result<(R, u64)> {
    match apply {
        Apply::InOrder(apply) => in_order(wanted, apply, walk),
        Apply::Spread { threads: 0 | 1, worker } => in_order(wanted, &mut worker(), walk),
        Apply::Spread { threads, worker } => spread(wanted, threads, worker, walk),
    }
}

fn in_order<R>(
    wanted: RangeInclusive<u64>,
    apply: &mut dyn FnMut(u64, &Entry<'_>),
    walk: impl FnOnce(&mut Delivery<'_>) -> Result<R>,
) -> Result<(R, u64)> {
    let mut delivery = Delivery { wanted, values: Values::default(), entries: 0, way: Way::InOrder(apply) };
    let answer = walk(&mut delivery)?;
    Ok((answer, delivery.entries))
}

fn spread<'a, R>(
    wanted: RangeInclusive<u64>,
    threads: usize,
    worker: &'a (dyn Fn() -> Worker<'a> + Sync),
    walk: impl FnOnce(&mut Delivery<'_>) -> Result<R>,
) -> Result<(R, u64)> {
    let crew = Crew {
        wanted: wanted.clone(),
        entries: AtomicU64::new(0),
        spare: Mutex::default(),
        has_failed: AtomicBool::new(false),
        error: Mutex::default(),
    };
    let answer = thread::scope(|scope| {
        let (frames, inbox) = crossbeam_channel::bounded(WAITING_FRAMES * threads);
        for number in 1..threads {
            let (crew, inbox) = (&crew, inbox.clone());
            let builder = thread::Builder::new().name(format!("warp-replay-{number}"));
            // With fewer threads it takes longer: the walking one does what nobody takes.
            let _ = builder.spawn_scoped(scope, move || crew.work(&inbox, worker()));
        }
        drop(inbox);
        let way = Way::Spread { frames, crew: &crew, worker: worker() };
        // Dropped at the end, and the channel with it, so that the threads end.
        let mut delivery = Delivery { wanted, values: Values::default(), entries: 0, way };
        walk(&mut delivery)
    })?;
    crew.check()?;
    Ok((answer, crew.entries.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content that does not decode although its checksum is right is an error that names the place, whichever thread
    /// has met it, and the walk is stopped.
    #[test]
    fn what_a_thread_cannot_decode_is_an_error() {
        let (name, garbage) = ("segment", [7; 40]);
        for threads in 1..4 {
            let payload = |offset| Payload {
                format: Format::Binary,
                first_seq: 1,
                groups: 1,
                bytes: &garbage,
                file: name,
                offset,
            };
            let mut frames = 0;
            let apply = Apply::Spread { threads, worker: &|| Box::new(|_, _| panic!("there is no entry")) };
            let answer = deliver(1..=u64::MAX, apply, |delivery| {
                for frame in 0..100_000 {
                    delivery.frame(&payload(frame * 64))?;
                    frames += 1;
                }
                Ok(())
            });
            let error = answer.unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(frames < 100_000, "the walk went on to its end");
        }
    }

    #[test]
    fn a_failure_in_the_last_frame_is_not_missed() {
        for _ in 0..100 {
            let apply = Apply::Spread { threads: 2, worker: &|| Box::new(|_, _| {}) };
            let answer = deliver(1..=u64::MAX, apply, |delivery| {
                let bytes = &[7; 40][..];
                let format = Format::Json;
                delivery.frame(&Payload {
                    format,
                    first_seq: 1,
                    groups: 1,
                    bytes,
                    file: "last",
                    offset: 4096,
                })
            });
            assert!(answer.is_err());
        }
    }
}
