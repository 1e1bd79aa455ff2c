//! Any entries come back as they were, in either form.

use std::sync::Mutex;

use proptest::collection::vec;
use proptest::prelude::*;
use warp_io::{SimDisk, Survival};
use warp_wal::{Apply, Kind, LogOptions, Position, Recovery, Start, Worker};

use crate::{Owned, append, open_as, replay, replay_as, small, small_json};

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..max),
        "\\PC{0,20}".prop_map(String::into_bytes),
        "[\\x00-\\x1f\"\\\\\u{2028}]{0,20}".prop_map(String::into_bytes),
        (any::<u8>(), 0..max).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

/// Hands each entry over when the next one comes, and the last one when it is dropped.
struct Late<'a> {
    entries: &'a Mutex<Vec<(u64, Owned)>>,
    last: Option<(u64, Owned)>,
}

impl Late<'_> {
    fn push(&mut self, entry: (u64, Owned)) {
        let before = self.last.replace(entry);
        self.entries.lock().unwrap().extend(before);
    }
}

impl Drop for Late<'_> {
    fn drop(&mut self) {
        self.entries.lock().unwrap().extend(self.last.take());
    }
}

fn entry() -> impl Strategy<Value = Owned> {
    (1..=5_u8, any::<u32>(), any::<u16>(), any::<u8>(), any::<u64>(), bytes(40), bytes(3000)).prop_map(
        |(kind, keyspace, shard, level, deadline, key, value)| Owned {
            kind: Kind::from_number(kind).unwrap(),
            keyspace,
            shard,
            level,
            deadline,
            key,
            value,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_survive_binary_and_json(groups in vec(vec(entry(), 1..4), 1..12), sync in any::<u16>()) {
        let expected: Vec<(u64, Owned)> = (1..)
            .zip(&groups)
            .flat_map(|(seq, group)| group.iter().map(move |entry| (seq, entry.clone())))
            .collect();
        for options in [small(), small_json(), LogOptions { compress_values_from: Some(0), ..small() }] {
            let disk = SimDisk::new(1);
            let (log, ..) = open_as(&disk, options.clone(), Recovery::Strict, Start::default()).unwrap();
            for (index, group) in groups.iter().enumerate() {
                append(&log, group).unwrap();
                if sync >> index & 1 != 0 {
                    log.sync().unwrap();
                }
            }
            log.close().unwrap();
            prop_assert_eq!(&replay(&disk).1, &expected);
            // A log of one form, read and written again in the other, is the same log.
            let (log, _, entries) = open_as(&disk, small_json(), Recovery::Strict, Start::default()).unwrap();
            for (_, entry) in &entries {
                append(&log, std::slice::from_ref(entry)).unwrap();
            }
            log.close().unwrap();
            let again: Vec<Owned> = replay(&disk).1.into_iter().map(|(_, entry)| entry).collect();
            let twice: Vec<Owned> = expected.iter().chain(&expected).map(|(_, entry)| entry.clone()).collect();
            prop_assert_eq!(again, twice);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Several threads hand out what one would, each entry once, and the report is the same.
    #[test]
    fn a_spread_replay_hands_out_the_same(
        groups in vec(vec(entry(), 1..4), 1..40),
        threads in 0..5_usize,
        from in 0..40_u64,
        json in any::<bool>(),
        closes in any::<u64>(),
    ) {
        let disk = SimDisk::new(1);
        let options = if json { small_json() } else { small() };
        let reopen = || open_as(&disk, options.clone(), Recovery::Strict, Start::default()).unwrap().0;
        let mut log = reopen();
        for (index, group) in groups.iter().enumerate() {
            append(&log, group).unwrap();
            log.sync().unwrap();
            if closes >> (index % 64) & 7 == 0 {
                log.close().unwrap();
                log = reopen();
            }
        }
        log.close().unwrap();
        let start = Start { from: from.min(groups.len() as u64), durable: 0, near: None };
        let (expected_report, mut expected) = replay_as(&disk, Recovery::Strict, start).unwrap();
        let entries = Mutex::new(Vec::new());
        // What a worker still has when the replay ends it hands over then.
        let worker = || -> Worker<'_> {
            let mut late = Late { entries: &entries, last: None };
            Box::new(move |seq, entry| late.push((seq, Owned::of(entry))))
        };
        let apply = Apply::Spread { threads, worker: &worker };
        let report =
            warp_wal::replay_in(&disk.root(), Recovery::Strict, start, apply, &mut |_, _| {}).unwrap();
        prop_assert_eq!(report, expected_report);
        let mut entries = entries.into_inner().unwrap();
        let order = |entry: &(u64, Owned)| (entry.0, format!("{:?}", entry.1));
        entries.sort_by_cached_key(order);
        expected.sort_by_cached_key(order);
        prop_assert_eq!(entries, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    /// A replay that begins near what it needs, or where it is told to in error, answers as one that reads whole segments.
    #[test]
    fn where_a_replay_begins_changes_no_answer(
        groups in vec((vec(entry(), 1..4), 0..8_u8), 1..40),
        at in any::<prop::sample::Index>(),
        wrong in prop::option::of((0..4_u64, 0..1100_u64)),
        json in any::<bool>(),
    ) {
        let disk = SimDisk::new(1);
        let options = if json { small_json() } else { small() };
        // So that a tick writes a watermark at once.
        let options = LogOptions { flush_interval: std::time::Duration::ZERO, ..options };
        let reopen = || open_as(&disk, options.clone(), Recovery::Strict, Start::default()).unwrap().0;
        let mut log = reopen();
        let mut known = vec![(log.last_frame(), log.next_seq())];
        for (group, then) in &groups {
            append(&log, group).unwrap();
            match then {
                0 => {
                    log.close().unwrap();
                    log = reopen();
                }
                1 => {
                    log.sync().unwrap();
                    drop(log);
                    log = reopen();
                }
                2 | 3 => log.sync().unwrap(),
                4 | 5 => {
                    log.sync().unwrap();
                    log.tick().unwrap();
                }
                _ => {}
            }
            known.push((log.last_frame(), log.next_seq()));
        }
        log.sync().unwrap();
        drop(log);
        let (near, from) = known[at.index(known.len())];
        let near = wrong.map_or(near, |(segment, line)| Some(Position { segment, offset: line * 64 }));
        let without = Start { from, durable: from - 1, near: None };
        let answer = |start: Start| {
            let (mut report, entries) = replay_as(&disk, Recovery::Strict, start).unwrap();
            let copy = disk.crash(Survival::Everything);
            let (log, opened, again) = open_as(&copy, options.clone(), Recovery::Strict, start).unwrap();
            prop_assert_eq!(&entries, &again);
            prop_assert_eq!(&report, &opened);
            let settled = (log.next_seq(), log.durable_seq());
            let bytes = std::mem::take(&mut report.bytes);
            Ok((bytes, report, entries, settled))
        };
        let (bytes, report, entries, settled) = answer(Start { near, ..without })?;
        let (all_bytes, expected_report, expected, expected_settled) = answer(without)?;
        prop_assert!(bytes <= all_bytes);
        prop_assert_eq!((report, entries, settled), (expected_report, expected, expected_settled));
    }
}
