//! Following a log while it is written to.

use warp_io::{Dir, SimDisk, Survival};
use warp_wal::{Corruption, Error, Follower, Format, Log, LogOptions, Recovery, Start, segment_names};

use crate::{Entries, Owned, append, open, open_as, replay, small, small_json};

/// Everything that a follower hands out up to a sequence.
fn read_all(follower: &mut Follower, durable: u64) -> Result<Entries, Error> {
    let mut entries = Vec::new();
    while follower.read(durable, &mut |seq, entry| entries.push((seq, Owned::of(entry))))? {}
    Ok(entries)
}

/// Appends a group of one to three entries.
fn append_some(log: &Log, index: u64, entries: &mut Entries) {
    let value = vec![u8::try_from(index % 251).unwrap(); 40 + usize::try_from(index % 7 * 400).unwrap()];
    let group: Vec<Owned> =
        (0..=index % 3).map(|part| Owned::put(&format!("{index}/{part}"), &value)).collect();
    let seq = append(log, &group).unwrap();
    entries.extend(group.into_iter().map(|entry| (seq, entry)));
}

fn plain(options: LogOptions) -> LogOptions {
    LogOptions { compress_values_from: None, ..options }
}

/// The follower's window is read before frames are written into what it covers; the bound says when they are there.
#[test]
fn a_follower_sees_each_group_once_it_is_durable_and_not_before() {
    for options in [plain(small()), small_json()] {
        let disk = SimDisk::new(1);
        let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        let mut follower = log.follow(1);
        let mut expected = Entries::new();
        let mut seen = Entries::new();
        for index in 0..400 {
            append_some(&log, index, &mut expected);
            log.tick().unwrap();
            let durable = log.durable_seq();
            seen.extend(read_all(&mut follower, durable).unwrap());
            assert!(seen.len() <= expected.len());
            assert_eq!(seen.last().map_or(0, |last| last.0), durable, "group {index}");
            if index % 3 != 0 {
                log.sync().unwrap();
            }
        }
        log.sync().unwrap();
        seen.extend(read_all(&mut follower, log.durable_seq()).unwrap());
        assert_eq!(seen, expected);
        assert!(log.stats().rotations > 3, "{:?}", log.stats());
        assert_eq!(follower.next_seq(), log.next_seq());
    }
}

#[test]
fn a_bound_within_a_frame_is_kept() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let mut expected = Entries::new();
    (0..50).for_each(|index| append_some(&log, index, &mut expected));
    log.sync().unwrap();
    assert!(log.stats().frames < 10, "many groups share a frame");
    let mut follower = log.follow(1);
    let mut seen = Entries::new();
    for durable in 0..=50 {
        seen.extend(read_all(&mut follower, durable).unwrap());
        assert_eq!(seen.last().map_or(0, |last| last.0), durable);
    }
    assert_eq!(seen, expected);
}

/// Four lives: one that is closed, one that is dropped with frames that no sync covered, one that wrote nothing, and one
/// that lost its end to a power cut.
fn lives(options: &LogOptions) -> (SimDisk, Log, Entries) {
    let mut disk = SimDisk::new(3);
    let mut expected = Entries::new();
    for life in 0..4_u64 {
        let (log, _, entries) =
            open_as(&disk, options.clone(), Recovery::TrimTornTail, Start::default()).unwrap();
        assert_eq!(entries, expected, "life {life}");
        if life == 2 {
            continue;
        }
        (0..40).for_each(|index| append_some(&log, life * 100 + index, &mut expected));
        log.sync().unwrap();
        match life {
            0 => log.close().unwrap(),
            3 => {
                // Written and never synced, so that whole frames are left behind a hole.
                for index in 0..60 {
                    append_some(&log, 900 + index, &mut Entries::new());
                    if index % 10 == 9 {
                        log.rotate().unwrap();
                    }
                }
                drop(log);
                let crashed = (0..).map(|seed| disk.crash(Survival::seeded(seed)));
                let has_hole = |disk: &SimDisk| {
                    let report = replay(disk).0;
                    report.last_seq > expected.last().map_or(0, |last| last.0)
                        && report.trimmed.is_some_and(|trimmed| trimmed.frames_dropped > 0)
                };
                disk = crashed.into_iter().find(has_hole).unwrap();
            }
            _ => {}
        }
    }
    let (log, report, entries) =
        open_as(&disk, options.clone(), Recovery::TrimTornTail, Start::default()).unwrap();
    assert!(report.trimmed.is_some() && entries.starts_with(&expected));
    expected = entries;
    (0..40).for_each(|index| append_some(&log, index, &mut expected));
    log.sync().unwrap();
    (disk, log, expected)
}

#[test]
fn following_from_any_sequence_gives_exactly_the_rest() {
    for options in [plain(small()), small_json()] {
        let (_, log, expected) = lives(&options);
        let last = log.last_seq();
        let around = expected.iter().flat_map(|(seq, _)| [seq - 1, *seq, seq + 1]);
        for from in around.chain([0, 1, (1 << 32) - 1, 1 << 32, last, last + 1]) {
            let rest: Entries = expected.iter().filter(|(seq, _)| *seq >= from).cloned().collect();
            assert_eq!(read_all(&mut log.follow(from), log.durable_seq()).unwrap(), rest, "from {from}");
        }
    }
}

#[test]
fn a_follower_goes_on_into_a_later_life() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let mut expected = Entries::new();
    (0..5).for_each(|index| append_some(&log, index, &mut expected));
    log.sync().unwrap();
    let mut follower = log.follow(1);
    let mut seen = read_all(&mut follower, log.durable_seq()).unwrap();
    drop(log);
    let (log, ..) = open(&disk);
    seen.extend(read_all(&mut follower, log.durable_seq()).unwrap());
    (5..10).for_each(|index| append_some(&log, index, &mut expected));
    log.sync().unwrap();
    seen.extend(read_all(&mut follower, log.durable_seq()).unwrap());
    assert_eq!(seen, expected);
}

#[test]
fn who_is_too_slow_is_told_where_the_log_begins() {
    let disk = SimDisk::new(1);
    let (log, ..) = open_as(&disk, plain(small()), Recovery::Strict, Start::default()).unwrap();
    let mut expected = Entries::new();
    let mut slow = log.follow(1);
    for index in 0..400 {
        append_some(&log, index, &mut expected);
        log.tick().unwrap();
        if index == 3 {
            log.sync().unwrap();
            slow.find(log.durable_seq()).unwrap();
        }
    }
    log.sync().unwrap();
    let removed = log.remove_before(300).unwrap();
    assert!(removed.len() > 2);

    // The file that it has open stays readable to its end.
    let mut seen = Entries::new();
    let error = loop {
        match slow.read(log.durable_seq(), &mut |seq, entry| seen.push((seq, Owned::of(entry)))) {
            Ok(more) => assert!(more, "it was not told"),
            Err(error) => break error,
        }
    };
    let Error::Lagged { oldest } = error else { panic!("{error}") };
    assert!(!seen.is_empty() && expected.starts_with(&seen));
    assert!(oldest > seen.last().unwrap().0 + 1 && oldest <= 300, "{oldest}");

    let rest: Entries = expected.iter().filter(|(seq, _)| *seq >= oldest).cloned().collect();
    assert_eq!(read_all(&mut log.follow(oldest), log.durable_seq()).unwrap(), rest);
    for from in [1, oldest - 1] {
        let told = log.follow(from).find(log.durable_seq());
        assert!(matches!(told, Err(Error::Lagged { oldest: again }) if again == oldest), "{from}: {told:?}");
    }
}

/// The bytes of a file become another segment's while a follower has it open, at every stage of that.
#[test]
fn a_file_that_becomes_another_segment_is_noticed() {
    for stage in 0..3 {
        let disk = SimDisk::new(1);
        let (log, ..) = open_as(&disk, plain(small()), Recovery::Strict, Start::default()).unwrap();
        let mut expected = Entries::new();
        let mut slow = log.follow(1);
        for index in 0..200 {
            append_some(&log, index, &mut expected);
            log.tick().unwrap();
            if index == 3 {
                log.sync().unwrap();
                assert!(!read_all(&mut slow, 4).unwrap().is_empty());
            }
        }
        log.sync().unwrap();
        let names = segment_names(&disk.root()).unwrap();
        let (oldest, newest) = (&names[0], "00000000000000009999.log");
        // The later segment's header and first frames stand in the file, or only the header, over the old frames.
        let donor = disk.read(&names[3]).unwrap();
        let file = disk.root().open(oldest, true).unwrap();
        let bytes = if stage == 0 { &donor[..4096] } else { &donor[..] };
        warp_io::write_all_at(&*file, 0, bytes).unwrap();
        if stage == 2 {
            disk.root().rename(oldest, newest).unwrap();
        }
        match read_all(&mut slow, log.durable_seq()) {
            Ok(seen) => {
                let skip = expected.iter().position(|(seq, _)| *seq > 4).unwrap();
                assert_eq!(seen, expected[skip..], "stage {stage}");
                assert_eq!(stage, 0, "the old frames were gone");
            }
            Err(Error::Lagged { oldest }) => assert!(oldest > 4, "stage {stage}"),
            Err(error) => panic!("stage {stage}: {error}"),
        }
    }
}

#[test]
fn damage_is_told_where_something_is_missing_and_passed_where_not() {
    for format in [Format::Binary, Format::Json] {
        let disk = SimDisk::new(1);
        let options = LogOptions { format, ..plain(small()) };
        let (log, ..) = open_as(&disk, options, Recovery::Strict, Start::default()).unwrap();
        let mut expected = Entries::new();
        for index in 0..6 {
            append_some(&log, index, &mut expected);
            log.sync().unwrap();
            // With nothing to follow, the watermark gets a frame of its own.
            if index == 2 {
                log.rotate().unwrap();
            }
        }
        let name = segment_names(&disk.root()).unwrap()[1].clone();
        let bytes = disk.read(&name).unwrap();
        let start: &[u8] = if format == Format::Binary { b"wfrm" } else { b"{\"frame\"" };
        let frames: Vec<usize> = bytes
            .windows(start.len())
            .enumerate()
            .filter_map(|(at, window)| (window == start).then_some(at))
            .collect();
        assert_eq!(frames.len(), 3);
        // In a header, and in a payload, which has nothing but groups.
        for at in [frames[1] + 20, frames[1] + 300] {
            let damaged = SimDisk::new(1);
            for other in segment_names(&disk.root()).unwrap() {
                damaged.write(&other, disk.read(&other).unwrap());
            }
            damaged.flip_bit(&name, at as u64 * 8);
            let follow = |from| read_all(&mut Follower::new(&damaged.root(), from), 6);
            for from in [1, 4, 5] {
                let told = follow(from);
                let Err(Error::Corrupt { file, offset, .. }) = told else { panic!("{at}, {from}: {told:?}") };
                assert!(file == name && (4096..=frames[1] as u64).contains(&offset), "{file} {offset}");
            }
            let rest: Entries = expected.iter().filter(|(seq, _)| *seq == 6).cloned().collect();
            assert_eq!(follow(6).unwrap(), rest, "what is damaged was not asked for");
        }
    }
}

/// A frame in the middle of a block is gone without a trace, so that the next one is found where one may be.
#[test]
fn a_frame_that_was_blanked_is_missed() {
    let disk = SimDisk::new(1);
    let clock = crate::clock();
    let (recovery, start) = (Recovery::Strict, Start::default());
    let (apply, progress) = (warp_wal::Apply::InOrder(&mut |_, _| {}), &mut |_, _| {});
    let (log, _) =
        Log::open_in(&disk.root(), clock.clone(), plain(small()), recovery, start, apply, progress).unwrap();
    for key in ["first", "second"] {
        append(&log, &[Owned::put(key, b"1")]).unwrap();
        clock.advance(std::time::Duration::from_millis(20));
        log.tick().unwrap();
    }
    log.sync().unwrap();
    append(&log, &[Owned::put("third", b"1")]).unwrap();
    log.sync().unwrap();
    let name = segment_names(&disk.root()).unwrap()[0].clone();
    let mut bytes = disk.read(&name).unwrap();
    let second = bytes.windows(6).position(|window| window == b"second").unwrap();
    let frame = bytes[..second].windows(4).rposition(|window| window == b"wfrm").unwrap();
    assert_ne!(frame % 4096, 0, "it begins within a block");
    bytes[frame..second + 20].fill(0);
    disk.write(&name, bytes);
    let told = read_all(&mut log.follow(2), 3);
    assert!(matches!(told, Err(Error::Corrupt { .. })), "{told:?}");
}

/// A frame that holds nothing but a watermark is damaged: nothing is missing.
#[test]
fn a_damaged_watermark_is_passed() {
    let disk = SimDisk::new(1);
    let clock = crate::clock();
    let mut nothing = |_: u64, _: &warp_wal::Entry<'_>| {};
    let (log, _) = Log::open_in(
        &disk.root(),
        clock.clone(),
        plain(small()),
        Recovery::Strict,
        Start::default(),
        warp_wal::Apply::InOrder(&mut nothing),
        &mut |_, _| {},
    )
    .unwrap();
    let mut expected = Entries::new();
    append_some(&log, 0, &mut expected);
    log.sync().unwrap();
    clock.advance(std::time::Duration::from_secs(1));
    log.tick().unwrap();
    assert_eq!(log.stats().watermark_frames, 1);
    append_some(&log, 1, &mut expected);
    log.sync().unwrap();
    let name = segment_names(&disk.root()).unwrap()[0].clone();
    let bytes = disk.read(&name).unwrap();
    let mark = bytes.windows(4).rposition(|window| window == b"wfrm").unwrap();
    let marks: Vec<usize> = (0..mark).filter(|at| bytes[*at..].starts_with(b"wfrm")).collect();
    disk.flip_bit(&name, (marks[2] as u64 + 30) * 8);
    assert_eq!(read_all(&mut log.follow(1), 2).unwrap(), expected);
}

#[test]
fn what_is_not_there_although_it_should_be_is_corrupt() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    append(&log, &[Owned::put("a", b"1")]).unwrap();
    log.sync().unwrap();
    let told = read_all(&mut log.follow(1), 7);
    assert!(
        matches!(told, Err(Error::Corrupt { found: Corruption::EndsEarly { expected: 2, durable: 7 }, .. })),
        "{told:?}"
    );
    // Nothing at all: whatever there was is gone.
    let told = Follower::new(&SimDisk::new(1).root(), 3).find(9);
    assert!(matches!(told, Err(Error::Lagged { oldest: 10 })), "{told:?}");
}

#[test]
fn followers_and_writers_do_not_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), plain(LogOptions { segment_bytes: 1 << 20, ..small() })).unwrap();
    let (writers, each) = (4_u64, 3_000_u64);
    let total = writers * each;
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let log = &log;
            scope.spawn(move || {
                for index in 0..each {
                    let (key, value) = (writer.to_le_bytes(), index.to_le_bytes());
                    let seq = log.append(&[warp_wal::Entry::put(&key, &value)]).unwrap();
                    if index % 100 == 99 {
                        log.sync_to(seq).unwrap();
                    }
                }
                log.sync().unwrap();
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut follower = log.follow(1);
                let mut next = [0; 4];
                let mut last = 0;
                while last < total {
                    let mut check = |seq: u64, entry: &warp_wal::Entry<'_>| {
                        assert_eq!(seq, last + 1);
                        last = seq;
                        let writer = usize::from(entry.key[0]);
                        assert_eq!(entry.value, u64::to_le_bytes(next[writer]));
                        next[writer] += 1;
                    };
                    if !follower.read(log.durable_seq(), &mut check).unwrap() {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    log.close().unwrap();
    assert_eq!(warp_wal::replay(dir.path(), |_, _| {}).unwrap().entries, total);
}

/// The numbers between two lives were never given, and nothing of the first one is left.
#[test]
fn numbers_that_were_skipped_are_none_that_is_missing() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    append(&log, &[Owned::put("a", b"1")]).unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, ..) = open(&disk);
    assert_eq!(log.remove_before(1 << 32).unwrap().len(), 1);
    let mut expected = Entries::new();
    for _ in 0..2 {
        for from in [2, 1000, 1 << 32] {
            assert_eq!(read_all(&mut log.follow(from), log.durable_seq()).unwrap(), expected, "{from}");
        }
        let told = log.follow(1).find(log.durable_seq());
        assert!(matches!(told, Err(Error::Lagged { oldest: 0x1_0000_0000 })), "{told:?}");
        append_some(&log, 0, &mut expected);
        log.sync().unwrap();
    }
}

#[test]
fn a_log_that_was_closed_can_be_followed_to_its_end() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let mut expected = Entries::new();
    (0..20).for_each(|index| append_some(&log, index, &mut expected));
    log.close().unwrap();
    drop(log);
    let (report, entries) = replay(&disk);
    assert_eq!(entries, expected);
    assert_eq!(read_all(&mut Follower::new(&disk.root(), 1), report.last_seq).unwrap(), expected);
}
