//! What was learned, kept over restarts: gathered from the parts that learn, written to the advice file, and handed back
//! after an open. See `docs/format/advice.md`.
//!
//! ```text
//!   parts that learn --save--> sections --write_advice--> advice-<n>.warp --newest_advice--> load --> the same parts
//! ```
//!
//! A part takes part by implementing [`Learned`] and standing in [`Shared::learned_parts`]; nothing else has to change.
//!
//! **Invariant:** nothing here fails an open, a checkpoint or a close; what went wrong is reported, and learned again.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use warp_checkpoint::{ADVICE_BYTES_MAX, Advice, AdviceSection, LoadedAdvice};
use warp_io::Clock;

use crate::error::{Result, chain};
use crate::from_crates::checkpoint_error;
use crate::home::Home;
use crate::hot_list::HotList;
use crate::learning::LearnedPartners;
use crate::pull::KeptLaw;
use crate::shared::Shared;
use crate::wormholes::KeptTraffic;
use crate::worth::KeptWorth;

/// What was learned is written this long after the last time, if anything was read or written since.
const WRITE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// After a checkpoint it is written sooner, but never sooner than this after the last time.
const WRITE_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// What header, directory and checksums of the file may take of its bytes.
const HEAD_BYTES: usize = 1 << 20;

/// A part of the engine that learns, and whose learned state may be kept in a section of the advice file.
pub(crate) trait Learned {
    /// The name of its section: at most [`ADVICE_NAME_BYTES_MAX`](warp_checkpoint::ADVICE_NAME_BYTES_MAX) bytes, and never
    /// that of another part.
    fn name(&self) -> &'static str;

    /// The version of what [`Learned::save`] makes. A section of another version is left alone.
    fn version(&self) -> u32;

    /// What was learned, in at most `bytes_max` bytes, the most valuable first where there is more; `None` if nothing was.
    fn save(&self, bytes_max: usize) -> Option<Vec<u8>>;

    /// Takes back what [`Learned::save`] made. The bytes are those that were written, but who wrote them is not known: they
    /// are validated like any input.
    fn load(&self, bytes: &[u8]) -> std::result::Result<(), BadSection>;
}

/// A section of the advice file whose structure is not what its part writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadSection;

/// How it stands with the advice file.
#[derive(Debug, Default)]
pub(crate) struct LearnedState(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    metrics: LearnedMetrics,
    is_read: bool,
    /// Whether the newest file has more than what the parts were worth.
    has_learned: bool,
    /// When the file was last read or written, by the monotonic clock.
    last: Duration,
    /// Reads and writes that had been counted by then.
    operations: u64,
    /// Checkpoints that had been taken by then.
    checkpoints: u64,
}

/// What was learned and kept: the file beside the checkpoints that holds it.
///
/// It is read in the background after an open, and written at some of the checkpoints, every few minutes, and at a close.
/// That it is missing or damaged costs speed until the engine has learned anew, and nothing else.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct LearnedMetrics {
    /// The number of the file that was read after the open, or written since; `None` if there is none yet.
    pub number: Option<u64>,
    /// Names of the parts that got back what they had learned.
    pub restored: Vec<String>,
    /// What was wrong with files, or parts of files, that could not be used.
    pub problems: Vec<String>,
    /// Files that were written since the open.
    pub written: u64,
    /// Attempts to write one that failed.
    pub failed: u64,
    /// Bytes of the last one that was written.
    pub bytes: u64,
}

impl Shared {
    /// The parts whose learned state is kept, as far as they are switched on. A new one is added here.
    fn learned_parts(&self) -> Vec<Box<dyn Learned + '_>> {
        let mut parts: Vec<Box<dyn Learned + '_>> = Vec::new();
        if self.options.physics.warm_start {
            parts.push(Box::new(HotList { shared: self }));
        }
        if self.options.physics.gravity && self.options.physics.horizon {
            parts.push(Box::new(KeptLaw { shared: self }));
        }
        if self.network.learns() {
            parts.push(Box::new(KeptTraffic { shared: self }));
        }
        if self.has_worth() {
            parts.push(Box::new(KeptWorth { shared: self }));
        }
        if self.learning.is_on() {
            // The last, since it may want more room than the others leave each other.
            parts.push(Box::new(LearnedPartners { shared: self }));
        }
        parts
    }

    /// Whether what was learned was read, or need not be.
    fn is_learned_read(&self) -> bool {
        self.home.is_none() || self.learned.0.lock().is_read
    }

    /// Hands what was learned before the open back to the parts that had learned it; once.
    pub(crate) fn load_learned(&self) {
        if self.is_learned_read() {
            return;
        }
        let Some(home) = &self.home else { return };
        let parts = self.learned_parts();
        let mut metrics = LearnedMetrics::default();
        // What cannot be looked at may have it.
        let mut has_learned = true;
        if !parts.is_empty() {
            match warp_checkpoint::newest_advice(&*home.dir, home.current.load().database_id) {
                Ok(found) => {
                    has_learned = found.loaded.as_ref().is_some_and(has_more_than_worth);
                    restore(&parts, found, &mut metrics);
                }
                Err(error) => metrics.problems.push(chain(&error)),
            }
        }
        for problem in &metrics.problems {
            tracing::warn!(%problem, "what was learned cannot be used, and is learned again");
        }
        if !metrics.restored.is_empty() {
            tracing::info!(parts = ?metrics.restored, number = ?metrics.number, "what was learned is back");
        }
        if self.has_worth() {
            self.worth.settle();
        }
        let mut state = self.learned.0.lock();
        *state = Written {
            has_learned,
            metrics,
            is_read: true,
            last: self.time.monotonic(),
            operations: self.operations(),
            checkpoints: self.counters.checkpoints.sum(),
        };
    }

    /// Writes what was learned if that is due.
    pub(crate) fn keep_learned_if_due(&self) {
        let (elapsed, has_worked, has_checkpoint) = {
            let state = self.learned.0.lock();
            if !state.is_read {
                return;
            }
            (
                self.time.monotonic().saturating_sub(state.last),
                state.operations != self.operations(),
                state.checkpoints != self.counters.checkpoints.sum(),
            )
        };
        let interval = if has_checkpoint { WRITE_INTERVAL_MIN } else { WRITE_INTERVAL };
        if has_worked && elapsed >= interval {
            self.keep_learned();
        }
    }

    /// Writes what was learned. Nothing is written by an engine that may not write, or that has yet to read what was learned
    /// before; a failure is reported, and tried again when it is due.
    pub(crate) fn keep_learned(&self) {
        let Some(home) = &self.home else { return };
        if !self.is_learned_read() || self.journal.log().is_none() || self.check_writable().is_err() {
            return;
        }
        let sections = self.learned_sections();
        let mut state = self.learned.0.lock();
        state.last = self.time.monotonic();
        state.operations = self.operations();
        state.checkpoints = self.counters.checkpoints.sum();
        let has_learned = sections.iter().any(|section| section.name != KeptWorth::NAME);
        if sections.is_empty() || (state.has_learned && !has_learned) {
            // What an earlier run has learned is better than nothing.
            return;
        }
        match self.write_learned(home, sections) {
            Ok((number, bytes)) => {
                state.has_learned = has_learned;
                state.metrics.number = Some(number);
                state.metrics.written += 1;
                state.metrics.bytes = bytes;
            }
            Err(error) => {
                state.metrics.failed += 1;
                tracing::warn!(%error, "what was learned could not be written");
            }
        }
    }

    fn learned_sections(&self) -> Vec<AdviceSection> {
        let parts = self.learned_parts();
        let mut left = ADVICE_BYTES_MAX - HEAD_BYTES;
        let mut sections = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            // What one part leaves is for those behind it.
            let bytes_max = left / (parts.len() - index);
            // A part that keeps to no bound is left out, rather than that it costs the others their place.
            let Some(bytes) = part.save(bytes_max).filter(|bytes| bytes.len() <= bytes_max) else { continue };
            left -= bytes.len();
            sections.push(AdviceSection { name: part.name().to_owned(), version: part.version(), bytes });
        }
        sections
    }

    fn write_learned(&self, home: &Home, sections: Vec<AdviceSection>) -> Result<(u64, u64)> {
        let newest = warp_checkpoint::list_advice(&*home.dir).map_err(checkpoint_error)?.pop().unwrap_or(0);
        let number = newest.saturating_add(1);
        let advice = Advice {
            number,
            database_id: home.current.load().database_id,
            time: self.time.unix_millis(),
            sections,
        };
        let bytes = warp_checkpoint::write_advice(&*home.dir, &advice).map_err(checkpoint_error)?;
        // Where somebody copies or reads files that may go, the next one that is written takes them away.
        let removed = home.lock_out_readers().and_then(|nobody_reads| match nobody_reads {
            Some(_nobody_reads) => {
                warp_checkpoint::remove_advice(&*home.dir, number).map(|_| ()).map_err(checkpoint_error)
            }
            None => Ok(()),
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "an old file of what was learned could not be removed");
        }
        Ok((number, bytes))
    }

    /// Reads and writes that were counted.
    fn operations(&self) -> u64 {
        self.counters.reads.sums().0 + self.counters.changes()
    }

    pub(crate) fn learned_metrics(&self) -> Option<LearnedMetrics> {
        self.home.as_ref().map(|_| self.learned.0.lock().metrics.clone())
    }
}

/// Whether a file has more than what the parts were worth, be it damaged, of another version, or of a part that is switched off:
/// another open, or another program, may make use of it.
fn has_more_than_worth(loaded: &LoadedAdvice) -> bool {
    let sections = loaded.advice.sections.iter().map(|section| &section.name);
    let damaged = loaded.damaged.iter().map(|section| &section.name);
    sections.chain(damaged).any(|name| name != KeptWorth::NAME)
}

/// Hands each part the section that is its own.
fn restore(
    parts: &[Box<dyn Learned + '_>],
    found: warp_checkpoint::FoundAdvice,
    metrics: &mut LearnedMetrics,
) {
    metrics.problems.extend(found.rejected.iter().map(|rejected| chain(&rejected.error)));
    let Some(loaded) = found.loaded else { return };
    metrics.number = Some(loaded.advice.number);
    for damaged in &loaded.damaged {
        metrics.problems.push(format!("{}: {}", damaged.name, chain(&damaged.error)));
    }
    for part in parts {
        let own = loaded.advice.sections.iter().find(|section| section.name == part.name());
        let Some(section) = own.filter(|section| section.version == part.version()) else { continue };
        match part.load(&section.bytes) {
            Ok(()) => metrics.restored.push(section.name.clone()),
            Err(BadSection) => metrics.problems.push(format!("{}: not what that part writes", section.name)),
        }
    }
}
