//! Appending, reading back, rotating, removing, closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_io::{Clock, Dir, SimDisk, Survival};
use warp_wal::{
    Admit, Encoded, Entry, Error, Kind, Log, LogOptions, Position, Recovery, Start, segment_names,
};

use crate::{Owned, append, open, open_as, replay, small, small_json};

#[test]
fn what_was_appended_comes_back_in_order() {
    let disk = SimDisk::new(1);
    let (log, report, entries) = open(&disk);
    assert_eq!((report.segments, entries.len(), log.next_seq()), (0, 0, 1));
    let groups = [
        vec![Owned::put("a", b"1")],
        vec![
            Owned::put("b", &[7; 1000]),
            Owned { kind: Kind::Delete, ..Owned::put("c", b"") },
            Owned { keyspace: 9, shard: 17, level: 2, deadline: 1_800_000_000_000, ..Owned::put("", b"x") },
        ],
        vec![Owned { kind: Kind::KeyspaceFloor, ..Owned::put("\0\u{1F980}", &[0xff, 0, 0xfe]) }],
    ];
    let mut expected = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        assert_eq!(append(&log, group).unwrap(), index as u64 + 1);
        expected.extend(group.iter().map(|entry| (index as u64 + 1, entry.clone())));
    }
    assert_eq!((log.last_seq(), log.durable_seq()), (3, 0));
    log.sync().unwrap();
    assert_eq!((log.written_seq(), log.durable_seq()), (3, 3));
    let stats = log.stats();
    assert_eq!((stats.groups, stats.entries, stats.syncs), (3, 5, 1));
    assert_eq!(stats.raw_value_bytes, 1 + 1000 + 1 + 3);
    assert!(stats.stored_value_bytes < 200, "1000 equal bytes compress");
    let (report, entries) = replay(&disk);
    assert_eq!(entries, expected);
    assert_eq!((report.first_seq, report.last_seq, report.entries, report.clean_close), (1, 3, 5, false));
    assert_eq!((report.latest_time, report.trimmed, report.lost.len()), (1_700_000_000_000, None, 0));
    log.close().unwrap();
    assert!(matches!(append(&log, &groups[0]), Err(Error::Closed)));
    let (report, entries) = replay(&disk);
    assert_eq!((entries, report.clean_close), (expected, true));
}

#[test]
fn a_clean_close_goes_on_with_the_next_number_and_a_kill_with_a_jump() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    append(&log, &[Owned::put("a", b"")]).unwrap();
    log.close().unwrap();
    log.close().unwrap();
    let (log, report, _) = open(&disk);
    assert!(report.clean_close);
    assert_eq!(append(&log, &[Owned::put("b", b"")]).unwrap(), 2);
    log.sync().unwrap();
    drop(log);
    let (log, report, entries) = open(&disk);
    assert_eq!((report.clean_close, report.last_seq, entries.len()), (false, 2, 2));
    assert_eq!(append(&log, &[Owned::put("c", b"")]).unwrap(), 1 << 32);
    drop(log);
    // The number was given, although nothing was written of it.
    let (log, _, entries) = open(&disk);
    assert_eq!(entries.len(), 2);
    assert_eq!(append(&log, &[Owned::put("d", b"")]).unwrap(), 2 << 32);
    log.close().unwrap();
    let (_, entries) = replay(&disk);
    assert_eq!(entries.iter().map(|entry| entry.0).collect::<Vec<_>>(), [1, 2, 2 << 32]);
}

#[test]
fn segments_rotate_and_go() {
    for options in [small(), small_json()] {
        let disk = SimDisk::new(1);
        let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        let mut expected = Vec::new();
        for index in 0..400_u32 {
            let entry = Owned::put(&format!("key{index}"), &index.to_le_bytes().repeat(100));
            let seq = append(&log, std::slice::from_ref(&entry)).unwrap();
            expected.push((seq, entry));
            if index % 7 == 0 {
                log.sync().unwrap();
            }
            log.tick().unwrap();
        }
        log.sync().unwrap();
        let stats = log.stats();
        assert!(stats.rotations >= 2, "{stats:?}");
        assert_eq!(replay(&disk).1, expected);

        let removed = log.remove_before(200).unwrap();
        assert!(!removed.is_empty());
        assert!(log.remove_before(200).unwrap().is_empty());
        for name in &removed {
            assert!(disk.read(name).is_none());
        }
        let start = Start { from: 200, durable: 400, near: None };
        let (report, entries) = crate::replay_as(&disk, Recovery::Strict, start).unwrap();
        assert_eq!(entries, expected[199..]);
        assert_eq!((report.first_seq, report.last_seq), (200, 400));
        assert!(report.lost.is_empty());
        // Without segments that are needed the log is not whole.
        assert!(
            crate::replay_as(&disk, Recovery::TrimTornTail, Start { from: 1, durable: 0, near: None })
                .is_err()
        );
        log.close().unwrap();
        let names = segment_names(&disk.root()).unwrap();
        assert_eq!(names.len() as u64, log.stats().segments);
    }
}

#[test]
fn a_replay_begins_where_it_is_told_that_the_tail_does() {
    for options in [LogOptions { segment_bytes: 1 << 20, ..small() }, small_json()] {
        let disk = SimDisk::new(1);
        let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        let add = |index: u32| {
            append(&log, &[Owned::put(&format!("key{index}"), &[7; 100])]).unwrap();
            log.sync().unwrap();
        };
        (0..10).for_each(add);
        let (near, from) = (log.last_frame(), log.next_seq());
        (10..13).for_each(add);
        let whole = Start { from, durable: from - 1, near: None };
        let (all, expected) = crate::replay_as(&disk, Recovery::Strict, whole).unwrap();
        let (report, entries) = crate::replay_as(&disk, Recovery::Strict, Start { near, ..whole }).unwrap();
        assert_eq!((entries.len(), entries), (3, expected));
        assert!(report.bytes * 2 < all.bytes, "{} of {} bytes", report.bytes, all.bytes);

        let beyond = near.map(|near| Position { offset: u64::MAX, ..near });
        let (report, _) = crate::replay_as(&disk, Recovery::Strict, Start { near: beyond, ..whole }).unwrap();
        assert_eq!(report, all, "no frame is there");

        // What a reader of the tail does not look at, a check does.
        let name = &segment_names(&disk.root()).unwrap()[0];
        disk.flip_bit(name, (4096 + 4096 + 8) * 8);
        assert!(crate::replay_as(&disk, Recovery::Strict, Start { near, ..whole }).is_ok());
        let found = warp_wal::verify(&disk.root(), Start { near, ..whole }).unwrap();
        assert_eq!(found.problems.len(), 1);
    }
}

/// A segment without any group says by its number alone that there were groups before it.
#[test]
fn a_replay_from_a_segment_without_groups_forgets_nothing() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    for index in 0..10 {
        append(&log, &[Owned::put(&format!("key{index}"), b"1")]).unwrap();
    }
    log.rotate().unwrap();
    log.close().unwrap();
    let (log, report, entries) =
        open_as(&disk, small(), Recovery::Strict, Start { from: 11, durable: 10, near: None }).unwrap();
    assert_eq!((report.clean_close, entries.len()), (true, 0));
    append(&log, &[Owned::put("key10", b"1")]).unwrap();
    log.close().unwrap();
    for from in [1, 5, 11] {
        let start = Start { from, durable: 11, near: None };
        let (report, entries) = crate::replay_as(&disk, Recovery::Strict, start).unwrap();
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.0).collect();
        assert_eq!((seqs, report.lost.len()), ((from..=11).collect(), 0));
    }
}

/// A clock that moves on whenever it is read, so that anything which is timed takes a while.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn unix_millis(&self) -> u64 {
        1_700_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn the_longest_rotation_is_told() {
    let disk = SimDisk::new(1);
    let (recovery, start) = (Recovery::default(), Start::default());
    let clock = Arc::<Ticking>::default();
    let (log, _) = Log::open_in(
        &disk.root(),
        clock,
        small(),
        recovery,
        start,
        warp_wal::Apply::InOrder(&mut |_, _| {}),
        &mut |_, _| {},
    )
    .unwrap();
    assert_eq!(log.stats().longest_rotation_nanos, 0);
    append(&log, &[Owned::put("key", b"value")]).unwrap();
    log.rotate().unwrap();
    let longest = log.stats().longest_rotation_nanos;
    assert!((1_000..10_000).contains(&longest), "{longest}");
}

#[test]
fn rotation_by_hand_starts_a_segment_and_an_empty_one_stays() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    append(&log, &[Owned::put("a", b"1")]).unwrap();
    log.rotate().unwrap();
    log.rotate().unwrap();
    assert_eq!(log.stats().rotations, 1);
    append(&log, &[Owned::put("b", b"2")]).unwrap();
    log.sync().unwrap();
    for _ in 0..20 {
        log.rotate().unwrap();
        append(&log, &[Owned::put("c", b"3")]).unwrap();
    }
    log.close().unwrap();
    assert_eq!(replay(&disk).1.len(), 22);
}

/// Groups larger than a quarter of a segment, than a segment, and than the ring.
#[test]
fn large_groups_get_segments_of_their_own() {
    for options in [small(), small_json(), LogOptions { segment_bytes: 1 << 20, ..small() }] {
        let disk = SimDisk::new(1);
        let options = LogOptions { compress_values_from: None, ..options };
        let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        let mut expected = Vec::new();
        for (index, bytes) in [10, 5_000, 20_000, 300_000, 9, 70_000, 70_001, 1, 500_000].iter().enumerate() {
            let entry = Owned::put("key", &vec![b'a' + u8::try_from(index).unwrap(); *bytes]);
            let seq = append(&log, std::slice::from_ref(&entry)).unwrap();
            expected.push((seq, entry));
        }
        log.sync().unwrap();
        assert_eq!(replay(&disk).1, expected);
        log.close().unwrap();
        let (log, report, entries) = open(&disk);
        assert!(report.clean_close);
        assert_eq!(entries, expected);
        log.close().unwrap();
    }
}

#[test]
fn a_dropped_permit_gives_everything_back() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let mut encoded = Encoded::new();
    for bytes in [10, 100_000] {
        let value = vec![7; bytes];
        let options = Admit { wait: false, ..Admit::default() };
        log.encode(&mut encoded, [Entry::put(b"k", &value)]).unwrap();
        for _ in 0..100_000 / bytes.max(1000) {
            drop(log.admit(&encoded, options).unwrap());
        }
        assert_eq!(log.stats().ring_used, 0);
    }
    append(&log, &[Owned::put("k", b"v")]).unwrap();
    log.close().unwrap();
    assert_eq!(replay(&disk).1.len(), 1);
}

#[test]
fn one_thread_goes_on_when_the_ring_is_full() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    for index in 0..2000_u32 {
        append(&log, &[Owned::put(&index.to_string(), &[1; 100])]).unwrap();
    }
    let stats = log.stats();
    assert!(stats.admission_waits > 0);
    log.close().unwrap();
    assert_eq!(replay(&disk).1.len(), 2000);
}

#[test]
fn without_waiting_a_full_ring_is_busy() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let mut encoded = Encoded::new();
    log.encode(&mut encoded, [Entry::put(b"key", &[1; 1000])]).unwrap();
    let admit = Admit { wait: false, ..Admit::default() };
    let mut given = 0;
    loop {
        match log.admit(&encoded, admit) {
            Ok(permit) => log.reserve(permit, &encoded).commit(),
            Err(Error::Busy) => break,
            Err(error) => panic!("{error}"),
        }
        given += 1;
        assert!(given < 1000);
    }
    log.sync().unwrap();
    assert!(log.admit(&encoded, admit).is_ok());
}

/// A segment of its own has room for the one group that it was made for.
#[test]
fn who_does_not_wait_leaves_the_gate_of_another_shut() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let spread = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // What does not compress.
    let noise: Vec<u8> = (0..40_000).map(|n| (spread(spread(n) ^ spread(n) >> 29) >> 56) as u8).collect();
    let (mut small, mut large) = (Encoded::new(), Encoded::new());
    log.encode(&mut small, [Entry::put(b"small", b"1")]).unwrap();
    log.encode(&mut large, [Entry::put(b"large", &noise)]).unwrap();
    let admit = Admit { wait: false, reserve: true };
    let permit = log.admit(&large, admit).unwrap();
    assert!(matches!(log.admit(&large, admit), Err(Error::Busy)));
    assert!(matches!(log.admit(&small, admit), Err(Error::Busy)), "nobody else is let in");
    log.reserve(permit, &large).commit();
    let permit = log.admit(&small, Admit::default()).unwrap();
    log.reserve(permit, &small).commit();
    log.close().unwrap();
    assert_eq!(replay(&disk).1.len(), 2);
}

/// Under steady writers the ring is never free altogether.
#[test]
fn a_group_as_large_as_the_ring_does_not_wait_for_all_of_it() {
    let disk = SimDisk::new(1);
    let options = LogOptions { segment_bytes: 8 << 20, ..small() };
    let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
    let (mut other, mut large) = (Encoded::new(), Encoded::new());
    log.encode(&mut other, [Entry::put(b"k", b"v")]).unwrap();
    // What does not compress.
    let value: Vec<u8> =
        (0..300_000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    log.encode(&mut large, [Entry::put(b"large", &value)]).unwrap();
    let admit = Admit { wait: false, ..Admit::default() };
    let held = log.admit(&other, admit).unwrap();
    let permit = log.admit(&large, admit).unwrap();
    log.reserve(permit, &large).commit();
    log.reserve(held, &other).commit();
    log.close().unwrap();
    assert_eq!(replay(&disk).1.len(), 2);
}

#[test]
fn limits_are_errors() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let key = vec![0; warp_wal::KEY_BYTES_MAX + 1];
    assert!(matches!(log.append(&[Entry::put(&key, b"")]), Err(Error::TooLarge { what: "key", .. })));
    assert!(matches!(log.append(&[]), Err(Error::Invalid { .. })));
    assert!(matches!(log.sync_to(1), Err(Error::Invalid { .. })));
    log.append(&[Entry::put(&key[1..], b"")]).unwrap();
    let bad = LogOptions { segment_bytes: 1000, ..small() };
    assert!(matches!(
        open_as(&SimDisk::new(1), bad, Recovery::Strict, Start::default()),
        Err(Error::Invalid { .. })
    ));
}

#[test]
fn a_permit_for_another_group_poisons_and_does_not_panic() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let (mut small, mut large) = (Encoded::new(), Encoded::new());
    log.encode(&mut small, [Entry::put(b"k", b"v")]).unwrap();
    log.encode(&mut large, [Entry::put(b"k", &[3; 3000])]).unwrap();
    let permit = log.admit(&small, Admit::default()).unwrap();
    log.reserve(permit, &large).commit();
    assert!(log.is_poisoned());
    assert!(matches!(log.sync(), Err(Error::Poisoned)));
}

#[test]
fn a_dump_is_json_lines_with_everything_in_it() {
    for options in [small(), small_json()] {
        let disk = SimDisk::new(1);
        let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        append(&log, &[Owned::put("text", b"value"), Owned::put("\u{1}\"", &[0xff; 300])]).unwrap();
        log.close().unwrap();
        let mut out = Vec::new();
        let name = segment_names(&disk.root()).unwrap().remove(0);
        let report = warp_wal::dump(&disk.root(), &name, &mut out).unwrap();
        assert_eq!((report.frames, report.entries, report.damaged), (3, 2, 0));
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[1]["frame"], "open");
        assert_eq!((&lines[3]["key"], &lines[3]["value"]), (&"text".into(), &"value".into()));
        assert_eq!(lines[4]["key"], "\u{1}\"");
        assert!(lines[4]["value"]["b64"].is_string());
        disk.flip_bit(&name, 8 * 8200);
        let mut out = Vec::new();
        let report = warp_wal::dump(&disk.root(), &name, &mut out).unwrap();
        assert!(report.damaged > 0);
        for line in String::from_utf8(out).unwrap().lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}

#[test]
fn a_binary_and_a_json_life_replay_as_one_log() {
    let disk = SimDisk::new(1);
    for (life, options) in [small(), small_json(), small()].into_iter().enumerate() {
        let (log, _, entries) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        assert_eq!(entries.len(), life * 2);
        append(&log, &[Owned::put("same", &[9; 500]), Owned::put("same", b"text")]).unwrap();
        log.close().unwrap();
    }
    assert_eq!(replay(&disk).1.len(), 6);
}

/// Opening and closing without writing leaves nothing behind, and is no gap in the numbers.
#[test]
fn a_life_without_entries_leaves_no_trace() {
    let disk = SimDisk::new(3);
    let (log, ..) = open(&disk);
    let first = append(&log, &[Owned::put("a", b"1")]).unwrap();
    log.close().unwrap();
    let before = disk.files();
    disk.record();
    for _ in 0..3 {
        let (log, report, entries) = open(&disk);
        assert!(report.clean_close);
        assert_eq!(entries.len(), 1);
        log.close().unwrap();
        assert_eq!(disk.files(), before);
    }
    for point in disk.crash_points() {
        for survival in 0..8 {
            let image = disk.image_at(point, warp_io::Survival::seeded(survival));
            let (log, _, entries) = open(&image);
            assert_eq!(entries.len(), 1, "operation {point} survival {survival}");
            assert!(append(&log, &[Owned::put("b", b"2")]).unwrap() > first);
        }
    }
    let (log, ..) = open(&disk);
    assert_eq!(append(&log, &[Owned::put("b", b"2")]).unwrap(), first + 1);
}

/// A removed segment is written to again, as a new one whose frames nobody takes for those of the old.
#[test]
fn removed_segments_are_reused_and_hold_nothing_of_what_they_held() {
    let disk = SimDisk::new(1);
    for options in [small(), small_json(), small()] {
        let options = LogOptions { compress_values_from: None, ..options };
        let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        for round in 0..40 {
            let value = vec![round; 3000];
            for _ in 0..20 {
                append(&log, &[Owned::put("key", &value)]).unwrap();
            }
            log.sync().unwrap();
            log.remove_before(log.next_seq()).unwrap();
            while log.tick().unwrap().next.is_zero() {}
        }
        let stats = log.stats();
        assert!(stats.reused > 10, "{stats:?}");
        append(&log, &[Owned::put("last", b"")]).unwrap();
        // Without a clean end, so that what lies behind the last frame is looked at.
        log.sync().unwrap();
        let last = log.last_seq();
        drop(log);
        let (report, entries) = replay(&disk);
        assert_eq!(report.trimmed, None);
        assert_eq!(entries.last().unwrap().0, last);
        assert!(entries.iter().all(|(seq, entry)| entry.key == b"last" || *seq > last - 25), "{entries:?}");
    }
    disk.write("00000000000000000001.log.spare", vec![1; 10]);
    let (log, ..) = open(&disk);
    let names = disk.root().list().unwrap();
    assert!(names.iter().all(|name| name.ends_with(".log")), "an open leaves no spare: {names:?}");
    drop(log);
}

#[test]
fn held_segments_stay_as_they_were_for_who_has_them_open() {
    let disk = SimDisk::new(1);
    let options = LogOptions { compress_values_from: None, ..small() };
    let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
    let hold = log.hold_segments();
    append(&log, &[Owned::put("key", b"as it was")]).unwrap();
    log.sync().unwrap();
    log.rotate().unwrap();
    let name = segment_names(&disk.root()).unwrap().remove(0);
    let file = disk.root().open(&name, false).unwrap();
    let before = file.map().unwrap().to_vec();
    for _ in 0..200 {
        append(&log, &[Owned::put("key", &[1; 3000])]).unwrap();
        log.sync().unwrap();
        log.remove_before(log.next_seq()).unwrap();
    }
    assert_eq!(log.stats().reused, 0);
    assert!(*file.map().unwrap() == *before);
    drop(hold);
    for _ in 0..200 {
        append(&log, &[Owned::put("key", &[1; 3000])]).unwrap();
        log.sync().unwrap();
        log.remove_before(log.next_seq()).unwrap();
        while log.tick().unwrap().next.is_zero() {}
    }
    assert!(log.stats().reused > 0);
}

/// Whatever is removed, a frame stays that no crash takes back: without any, the next open could not tell the log from one
/// that was lost.
#[test]
fn what_is_left_of_a_log_holds_a_durable_frame() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    append(&log, &[Owned::put("key", b"1")]).unwrap();
    log.sync().unwrap();
    log.rotate().unwrap();
    append(&log, &[Owned::put("key", b"2")]).unwrap();
    // Written by that, and not synced.
    log.rotate().unwrap();
    log.remove_before(2).unwrap();
    let start = Start { from: 2, durable: 1, near: None };
    let crashed = disk.crash(Survival::Nothing);
    let (_, report, entries) = open_as(&crashed, small(), Recovery::TrimTornTail, start).unwrap();
    assert!(entries.is_empty() && report.lost.is_empty());
    log.sync().unwrap();
    assert_eq!(log.remove_before(2).unwrap().len(), 1, "it goes once it is not needed for that");
    assert_eq!(replay(&disk).1.len(), 1);
}
