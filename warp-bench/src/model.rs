//! What a database must hold after a number of steps, and whether it does.

use std::collections::HashSet;

use warp_api::WarpEngine;

use crate::corpus::Corpus;
use crate::plan::THREADS;
use crate::run::Outcome;
use crate::storm::{self, SYNC_ONE_IN, Step};
use crate::wire::Ack;

/// Steps behind the last known one that are looked for all the same: acknowledgements that were not told yet, and
/// a step that was under way.
const STEPS_BEYOND: u64 = 4096;

/// The state that the steps of all rounds so far have led to.
#[derive(Debug)]
pub(crate) struct Model {
    /// Who wrote each record last: thread and step; `None` for the value it was loaded with.
    records: Vec<Option<(u64, u64)>>,
    /// The keys that steps created and none deleted: thread, step, and the record whose value they have.
    created: HashSet<(u64, u64, usize)>,
}

/// What was found after one kill.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Writes that the process said had returned.
    pub(crate) acknowledged: u64,
    /// How many of them were Sync.
    pub(crate) synced: u64,
    /// Writes of the round whose effect is there.
    pub(crate) found: u64,
    /// Acknowledged writes whose effect is not there.
    pub(crate) lost: u64,
    /// How many of them were Sync.
    pub(crate) lost_synced: u64,
    /// The first thing that is as it must not be.
    pub(crate) wrong: Option<String>,
}

impl Verdict {
    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.wrong.get_or_insert_with(what);
    }
}

impl Model {
    /// The state after loading: every record with its own value, and nothing else.
    pub(crate) fn new(records: usize) -> Model {
        Model { records: vec![None; records], created: HashSet::new() }
    }

    /// Finds out how many steps of a round are there, checks that they are a prefix, and compares everything.
    /// The round began with step `from`; `last_seq` is the last sequence number that the recovery found.
    ///
    /// # Errors
    /// What the engine answers.
    pub(crate) fn check(
        &mut self,
        seed: u64,
        engine: &WarpEngine,
        corpus: &Corpus,
        from: u64,
        acks: &[Ack],
        last_seq: u64,
    ) -> Outcome<Verdict> {
        let round = Round { seed, engine, corpus, from };
        let mut verdict = Verdict::default();
        let mut ends = Vec::new();
        for thread in 0..THREADS as u64 {
            let told = acks.iter().filter(|ack| ack.thread == thread).count() as u64;
            let end = round.end(thread, told)?;
            for number in from..end {
                self.apply(&round, thread, number);
            }
            verdict.found += end - from;
            ends.push(end);
        }
        judge_order(acks, &ends, last_seq, &mut verdict)?;
        self.compare(&round, &mut verdict)?;
        Ok(verdict)
    }

    fn apply(&mut self, round: &Round<'_>, thread: u64, number: u64) {
        match round.step(thread, number) {
            Step::Create { record } | Step::CreateSync { record } => {
                self.created.insert((thread, number, record));
            }
            Step::Overwrite { record } => self.records[record] = Some((thread, number)),
            Step::Replace { record, deleted } => {
                self.created.insert((thread, number, record));
                if let Step::Create { record } = round.step(thread, deleted) {
                    self.created.remove(&(thread, deleted, record));
                }
            }
        }
    }

    /// Compares every key, and that there are no others.
    fn compare(&self, round: &Round<'_>, verdict: &mut Verdict) -> Outcome<()> {
        let engine = round.engine;
        for (record, last) in self.records.iter().enumerate() {
            let (key, loaded) = round.corpus.record(record);
            let same = match last {
                None => engine.get(key)?.as_deref() == Some(loaded),
                Some((thread, number)) => round.holds(key, record, *thread, *number)?,
            };
            if !same {
                verdict.wrong(|| format!("{} has not the value of {last:?}", String::from_utf8_lossy(key)));
            }
        }
        for &(thread, number, record) in &self.created {
            let key = storm::key(thread, number);
            if !round.holds(key.as_bytes(), record, thread, number)? {
                verdict.wrong(|| format!("{key} is not there with its value"));
            }
        }
        let (expected, found) = ((self.records.len() + self.created.len()) as u64, engine.len()?);
        if expected != found {
            verdict.wrong(|| format!("{found} entries instead of {expected}"));
        }
        Ok(())
    }
}

/// One round on one database.
#[derive(Clone, Copy, Debug)]
struct Round<'a> {
    seed: u64,
    engine: &'a WarpEngine,
    corpus: &'a Corpus,
    from: u64,
}

impl Round<'_> {
    fn step(&self, thread: u64, number: u64) -> Step {
        storm::step(self.seed, thread, number, self.corpus.len())
    }

    /// Whether a key has the value that a step gave it.
    fn holds(&self, key: &[u8], record: usize, thread: u64, number: u64) -> Outcome<bool> {
        let expected = storm::value(self.corpus, record, thread, number);
        Ok(self.engine.get(key)?.is_some_and(|found| *found == *expected))
    }

    /// The number behind the last step of a thread whose effect can be seen, whatever lies between. A hole below
    /// it then shows as a difference from the model.
    fn end(&self, thread: u64, told: u64) -> Outcome<u64> {
        for number in (self.from..self.from + told + STEPS_BEYOND).rev() {
            let seen = match self.step(thread, number) {
                Step::Overwrite { record } => self.holds(self.corpus.key(record), record, thread, number)?,
                _ => self.engine.contains_key(storm::key(thread, number))?,
            };
            if seen {
                return Ok(number + 1);
            }
        }
        Ok(self.from)
    }
}

/// Across the threads: no write that is missing may come, in the order of all writes, before one that is there.
fn judge_order(acks: &[Ack], ends: &[u64], last_seq: u64, verdict: &mut Verdict) -> Outcome<()> {
    let mut before = [0; THREADS];
    for ack in acks {
        let synced = ack.step.is_multiple_of(SYNC_ONE_IN);
        verdict.acknowledged += 1;
        verdict.synced += u64::from(synced);
        let thread = usize::try_from(ack.thread)?;
        let (Some(&end), Some(before)) = (ends.get(thread), before.get_mut(thread)) else {
            return Err("an acknowledgement names no thread".into());
        };
        if ack.step >= end {
            verdict.lost += 1;
            verdict.lost_synced += u64::from(synced);
            if ack.seq <= last_seq {
                verdict.wrong(|| format!("{ack:?} is missing, and sequence {last_seq} is there"));
            }
        } else if ack.seq > last_seq {
            verdict.wrong(|| format!("{ack:?} is there, above the last sequence {last_seq}"));
        }
        if ack.seq <= *before {
            verdict.wrong(|| format!("{ack:?} has not a higher sequence than the thread's write before it"));
        }
        *before = ack.seq;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 5;
    const RECORDS: usize = 101;
    const STEPS: u64 = 1100;

    fn corpus() -> Corpus {
        let mut corpus = Corpus::default();
        for record in 0..RECORDS {
            corpus.push(format!("record:{record}").as_bytes(), format!("value {record}").as_bytes());
        }
        corpus
    }

    /// An engine after both threads' steps by turns, but without those that `lost` names; and all acknowledgements.
    fn after(corpus: &Corpus, lost: impl Fn(&Ack) -> bool) -> (WarpEngine, Vec<Ack>) {
        let engine = WarpEngine::in_memory();
        for (key, value) in corpus.iter() {
            engine.put(key, value).unwrap();
        }
        let mut acks = Vec::new();
        for number in 0..STEPS {
            for thread in 0..THREADS as u64 {
                let ack = Ack { thread, step: number, seq: acks.len() as u64 + 1 };
                acks.push(ack);
                if !lost(&ack) {
                    let step = storm::step(SEED, thread, number, RECORDS);
                    storm::take(&engine, corpus, thread, number, step).unwrap();
                }
            }
        }
        (engine, acks)
    }

    fn check(lost: impl Fn(&Ack) -> bool, last_seq: u64) -> Verdict {
        let corpus = corpus();
        let (engine, acks) = after(&corpus, lost);
        Model::new(RECORDS).check(SEED, &engine, &corpus, 0, &acks, last_seq).unwrap()
    }

    #[test]
    fn everything_there_is_right() {
        let verdict = check(|_| false, u64::MAX - 1);
        assert_eq!(verdict.wrong, None);
        assert_eq!((verdict.found, verdict.lost), (2 * STEPS, 0));
        assert_eq!((verdict.acknowledged, verdict.synced), (2 * STEPS, 2 * STEPS.div_ceil(SYNC_ONE_IN)));
    }

    #[test]
    fn a_prefix_is_right_and_its_losses_are_counted() {
        let last_seq = 2 * STEPS - 31;
        let verdict = check(|ack| ack.seq > last_seq, last_seq);
        assert_eq!(verdict.wrong, None);
        assert_eq!((verdict.found, verdict.lost, verdict.lost_synced), (last_seq, 31, 0));
    }

    #[test]
    fn a_lost_sync_write_is_counted() {
        let last_seq = 2 * 1024 - 10;
        let verdict = check(|ack| ack.seq > last_seq, last_seq);
        assert_eq!((verdict.lost_synced, verdict.wrong), (2, None));
    }

    /// Every kind of step: creates, overwrites, replacing batches.
    #[test]
    fn a_hole_is_wrong() {
        for hole in 1000..1016 {
            let verdict = check(|ack| ack.thread == 1 && ack.step == hole, 2 * STEPS);
            // An overwrite that a later one hides cannot be told from one that happened.
            let hidden = matches!(storm::step(SEED, 1, hole, RECORDS), Step::Overwrite { record }
                if (hole + 1..STEPS).any(|later| storm::step(SEED, 1, later, RECORDS) == Step::Overwrite { record }));
            // So can a key that was not created and that a later step deletes.
            let deleted = (hole + 1..STEPS).any(|later| {
                matches!(storm::step(SEED, 1, later, RECORDS), Step::Replace { deleted, .. } if deleted == hole)
            });
            assert_eq!(verdict.wrong.is_some(), !hidden && !deleted, "{hole}");
        }
    }

    #[test]
    fn one_thread_behind_the_other_is_wrong() {
        let verdict = check(|ack| ack.thread == 0 && ack.step >= STEPS - 2, 2 * STEPS);
        assert!(verdict.wrong.is_some());
        assert_eq!(verdict.lost, 2);
    }

    #[test]
    fn a_strange_key_is_wrong() {
        let corpus = corpus();
        let (engine, acks) = after(&corpus, |_| false);
        engine.put("strange", "").unwrap();
        let verdict = Model::new(RECORDS).check(SEED, &engine, &corpus, 0, &acks, 2 * STEPS).unwrap();
        assert!(verdict.wrong.is_some());
    }
}
