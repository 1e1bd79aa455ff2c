//! Reading a log while it is written to, from a sequence on, up to a bound that the caller gives.
//!
//! Up to the durable sequence, what is on the disk stays as it is. A file that is read from is held open, so that it
//! stays readable when it is removed; it may also become another segment meanwhile. So nothing is believed but whole
//! frames with the tag of the segment and the sequence that is due, and wherever there is none, the directory is asked
//! where the log goes on.

use std::io;
use std::sync::Arc;

use warp_io::Dir;

use crate::entry::Entry;
use crate::error::{Corruption, Error, Result};
use crate::format::{BLOCK_BYTES, FRAME_ALIGN_BYTES, align_block, align_frame};
use crate::frame::FrameKind;
use crate::log::Log;
use crate::options::Format;
use crate::outline::{Find, Outline, Target};
use crate::payload::{Values, decode};
use crate::reader::{Place, Segment, Window};

/// A frame with a larger payload than this gives its memory back once it is read, in bytes.
const WINDOW_KEPT_BYTES_MAX: u32 = 2 << 20;
/// How often a segment may be gone before it is opened. Each time the log has gone on by one at least.
const TRIES_MAX: u32 = 1000;

/// Reads the entries of a log in the order of their sequences, while it is written to.
///
/// It takes no lock that a writer takes, and holds at most one segment's file open. That stays readable when the segment is
/// removed, unless the log writes to it again: then what was not read yet is [`Error::Lagged`]. Its memory is that of the
/// largest frame that it reads: about 1 MiB, or one larger group. It follows one life of the log: after the log was opened
/// again, make another one.
///
/// ```
/// use warp_wal::{Entry, Log, LogOptions};
///
/// # fn main() -> warp_wal::Result<()> {
/// # let scratch = tempfile::tempdir().unwrap();
/// let log = Log::open(scratch.path(), LogOptions::default())?;
/// log.append(&[Entry::put(b"a", b"1")])?;
/// log.append(&[Entry::put(b"b", b"2"), Entry::delete(b"a")])?;
/// log.sync()?;
/// let mut follower = log.follow(2);
/// let mut keys = Vec::new();
/// while follower.read(log.durable_seq(), &mut |seq, entry| keys.push((seq, entry.key.to_vec())))? {}
/// assert_eq!(keys, [(2, b"b".to_vec()), (2, b"a".to_vec())]);
/// # log.close()
/// # }
/// ```
#[derive(Debug)]
pub struct Follower {
    dir: Arc<dyn Dir>,
    outline: Outline,
    at: Option<At>,
    /// The sequence that is handed out next, or a later one, if that one was never given.
    next: u64,
    window: Window,
    values: Values,
}

/// A place between two frames.
#[derive(Debug)]
struct At {
    segment: Segment,
    offset: u64,
    /// The sequence that the next frame begins with.
    expected: u64,
    /// The last sequence of the life, if a later one has begun.
    life_end: Option<u64>,
}

/// What a look at the present place gave.
enum Step {
    /// Entries were handed out.
    Entries,
    /// A frame without any that are wanted.
    Passed,
    /// There is not the frame that should be there; with what there is instead, unless it is blank.
    Stuck(Option<Corruption>),
}

impl Log {
    /// Reads this log's entries from the sequence `from` on, while it is written to. Costs nothing until it is read
    /// from, and may outlive the log.
    #[must_use]
    pub fn follow(&self, from: u64) -> Follower {
        Follower::new(&*self.dir, from)
    }
}

impl Follower {
    /// Reads the log in `dir` from the sequence `from` on. Touches no file yet.
    #[must_use]
    pub fn new(dir: &dyn Dir, from: u64) -> Follower {
        Follower {
            dir: dir.handle(),
            outline: Outline::default(),
            at: None,
            next: from.max(1),
            window: Window::default(),
            values: Values::default(),
        }
    }

    /// The sequence from which on [`Follower::read`] goes on. Every lower one, from the first that was asked for on, was
    /// handed out as a whole, or was never given.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Looks whether the entries that come next are there, as far as they are not above `durable`.
    ///
    /// # Errors
    /// As [`Follower::read`].
    pub fn find(&mut self, durable: u64) -> Result<()> {
        if self.at.is_none() && self.next <= durable { self.move_on(durable, None) } else { Ok(()) }
    }

    /// Hands out the entries of the next frame, as far as their sequences are not above `durable`; returns whether there
    /// were any. An answer of `false` means that everything up to `durable` was handed out.
    ///
    /// `durable` is a sequence that is known to be durable, as [`Log::durable_seq`] answers: what is asked for beyond it
    /// may be there in part, and is then called corrupt. Entries of one group come together, in their order.
    ///
    /// # Errors
    /// [`Error::Lagged`] if segments with entries that come next were removed; [`Error::Corrupt`] if they are damaged,
    /// or were lost to damage before; [`Error::Io`]; [`Error::Unsupported`]. Entries that `apply` was given by a call that
    /// fails are whole groups, or the beginning of one.
    pub fn read(&mut self, durable: u64, apply: &mut dyn FnMut(u64, &Entry<'_>)) -> Result<bool> {
        while self.next <= durable {
            match self.step(durable, apply)? {
                Step::Entries => return Ok(true),
                Step::Passed => {}
                Step::Stuck(found) => self.move_on(durable, found)?,
            }
        }
        Ok(false)
    }

    fn step(&mut self, durable: u64, apply: &mut dyn FnMut(u64, &Entry<'_>)) -> Result<Step> {
        let step = self.look(durable, apply)?;
        if !matches!(step, Step::Stuck(_)) {
            return Ok(step);
        }
        // What was read ahead may be older than the bound that was given.
        self.window = Window::default();
        self.look(durable, apply)
    }

    /// Reads the frame at the present place, and goes behind it.
    fn look(&mut self, durable: u64, apply: &mut dyn FnMut(u64, &Entry<'_>)) -> Result<Step> {
        let next = self.next;
        let Some(at) = self.at.as_mut().filter(|at| at.life_end.is_none_or(|end| next <= end)) else {
            return Ok(Step::Stuck(None));
        };
        let mut place = at.segment.place(&mut self.window, at.offset)?;
        let block = align_block(at.offset);
        if place == Place::Blank && block != at.offset {
            place = at.segment.place(&mut self.window, block)?;
        }
        let header = match place {
            Place::Frame(header) => header,
            Place::Blank => return Ok(Step::Stuck(None)),
            Place::Damaged(found) => return Ok(Step::Stuck(Some(found))),
        };
        let follows = header.first_seq == at.expected
            // What is missing in between is not wanted.
            || (header.first_seq > at.expected && header.first_seq <= next);
        if !follows {
            let found = Corruption::MissingSequence { expected: at.expected, found: header.first_seq };
            return Ok(Step::Stuck(Some(found)));
        }
        let is_wanted = header.kind == FrameKind::Data && header.next_seq() > next;
        if is_wanted {
            let payload = match at.segment.payload(&mut self.window, &header)? {
                Ok(payload) => payload,
                Err(found) => return Ok(Step::Stuck(Some(found))),
            };
            let payload_at = at.segment.end_of(&header) - u64::from(header.payload_bytes);
            let format = at.segment.identity.map_or(Format::Binary, |(format, _)| format);
            let mut hand_out = |seq: u64, entry: &Entry<'_>| {
                if (next..=durable).contains(&seq) {
                    apply(seq, entry);
                }
            };
            decode(format, payload, header.first_seq, header.groups, &mut self.values, &mut hand_out)
                .map_err(|bad| bad.error(&at.segment.name, payload_at))?;
            self.next = header.next_seq().min(durable.saturating_add(1));
        }
        if !is_wanted || self.next >= header.next_seq() {
            at.offset = align_frame(at.segment.end_of(&header));
            at.expected = header.next_seq();
            if header.payload_bytes > WINDOW_KEPT_BYTES_MAX {
                self.window = Window::default();
                self.values = Values::default();
            }
        }
        Ok(if is_wanted { Step::Entries } else { Step::Passed })
    }

    /// Goes to where the log goes on, which is not the present place.
    fn move_on(&mut self, durable: u64, found: Option<Corruption>) -> Result<()> {
        for attempt in 0..TRIES_MAX {
            // What is known first, then what came since, then everything anew. The last once more: between listing and
            // opening segments some may go, which looks like a hole.
            match attempt {
                0 => {}
                1 => self.outline.extend(&*self.dir)?,
                _ => self.outline = Outline::read(&*self.dir)?,
            }
            match self.outline.find(self.next) {
                Find::Gone(oldest) if attempt > 1 => {
                    return Err(Error::Lagged { oldest: oldest.unwrap_or(durable.saturating_add(1)) });
                }
                Find::Gone(_) => {}
                Find::In(target) if self.at.as_ref().is_some_and(|at| at.segment.number == target.number) => {
                    if attempt > 2 {
                        return self.pass_damage(durable, found);
                    }
                }
                Find::In(target) => {
                    let entered = enter(&*self.dir, &target)?;
                    let seq = target.seq;
                    if let Some(at) = entered {
                        (self.at, self.next, self.window) = (Some(at), seq, Window::default());
                        return Ok(());
                    }
                }
            }
        }
        let source = io::Error::from(io::ErrorKind::NotFound);
        Err(Error::Io { file: String::new(), offset: 0, source })
    }

    /// Goes on behind damage with which nothing is missing.
    fn pass_damage(&mut self, durable: u64, found: Option<Corruption>) -> Result<()> {
        let Some(at) = &mut self.at else { return Ok(()) };
        if found.is_some() {
            let behind = at.offset + FRAME_ALIGN_BYTES as u64;
            let rest = at.segment.search(&mut Window::default(), behind, u64::MAX, at.expected)?;
            let is_missing = |first_seq: u64| first_seq > at.expected && first_seq > self.next;
            if let Some(header) = rest.next.filter(|header| !is_missing(header.first_seq)) {
                (at.offset, at.expected) = (header.offset, header.first_seq);
                return Ok(());
            }
        }
        let found = found.unwrap_or(Corruption::EndsEarly { expected: self.next, durable });
        Err(Error::corrupt(&at.segment.name, at.offset, found))
    }
}

/// The beginning of a segment; `None` if it is not there any more.
fn enter(dir: &dyn Dir, target: &Target<'_>) -> Result<Option<At>> {
    let segment = match Segment::open(dir, target.name.to_owned(), &mut Window::default()) {
        Ok(segment) => segment,
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_same = segment.first.is_some_and(|first| first.first_seq == target.first_seq);
    Ok(is_same.then_some(At {
        segment,
        offset: BLOCK_BYTES,
        expected: target.first_seq,
        life_end: target.life_end,
    }))
}
