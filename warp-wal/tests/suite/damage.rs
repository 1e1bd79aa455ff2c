//! Every flipped bit, every length, and the cases of the table.

use warp_io::{Fault, OpKind, SimDisk, Survival};
use warp_wal::{Corruption, Error, Format, LogOptions, Recovery, Start};

use crate::{Entries, Owned, append, open_as, replay_as, small, small_json};

/// Everything from the first sequence on.
const ALL: Start = Start { from: 1, durable: 0, near: None };

/// Where a frame is, and what it says.
struct Frame {
    file: String,
    range: std::ops::Range<usize>,
    watermark: u64,
    is_close: bool,
}

/// A log of several segments and two lives, with a known watermark in the last one. Sweeps go
/// over what is used of its files, so that they are short.
struct Sample {
    /// Names, and what is used of the files.
    files: Vec<(String, Vec<u8>)>,
    options: LogOptions,
    entries: Entries,
    frames: Vec<Frame>,
}

impl Sample {
    fn new(options: &LogOptions) -> Sample {
        let disk = SimDisk::new(5);
        let mut entries = Vec::new();
        for life in 0..2_u8 {
            let (log, ..) = open_as(&disk, options.clone(), Recovery::Strict, Start::default()).unwrap();
            for index in 0..6_u8 {
                let group: Vec<Owned> =
                    (0..=index % 2).map(|part| Owned::put("key", &[life, index, part, 7, 7])).collect();
                let seq = append(&log, &group).unwrap();
                entries.extend(group.into_iter().map(|entry| (seq, entry)));
                match index {
                    2 => log.rotate().unwrap(),
                    1 | 3 | 4 => log.sync().unwrap(),
                    _ => {}
                }
            }
            if life == 0 {
                log.close().unwrap();
            } else {
                log.sync().unwrap();
            }
        }
        let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0 && *byte != b'\n').unwrap() + 1;
        let files = disk.files().into_iter().map(|name| {
            let mut bytes = disk.read(&name).unwrap();
            let len = (used(&bytes) + 200).min(bytes.len());
            bytes.truncate(len);
            (name, bytes)
        });
        let files: Vec<_> = files.collect();
        let frames = files.iter().flat_map(|(name, _)| frames(&disk, name)).collect();
        Sample { files, options: options.clone(), entries, frames }
    }

    /// What the files say was durable, without the bytes in a range of one of them.
    fn watermark_without(&self, name: &str, gone: &std::ops::Range<usize>) -> u64 {
        let is_left = |frame: &&Frame| {
            frame.file != name || frame.range.end <= gone.start || frame.range.start >= gone.end
        };
        self.frames.iter().filter(is_left).map(|frame| frame.watermark).max().unwrap_or(0)
    }

    /// The last file that frames were written to.
    fn last(&self) -> (String, Vec<u8>) {
        self.files.iter().rfind(|(_, bytes)| bytes.len() > 4096).unwrap().clone()
    }

    /// A file in its full length, of which so much is used.
    fn whole(&self, used: &[u8]) -> Vec<u8> {
        let blank = if self.options.format == Format::Json { b'\n' } else { 0 };
        let mut bytes = used.to_vec();
        bytes.resize(usize::try_from(self.options.segment_bytes).unwrap(), blank);
        bytes
    }

    fn disk(&self) -> SimDisk {
        let disk = SimDisk::new(5);
        for (name, bytes) in &self.files {
            disk.write(name, self.whole(bytes));
        }
        disk
    }

    /// Checks what becomes of a copy that is damaged within a range of a file; returns whether anything was
    /// noticed.
    #[track_caller]
    fn check(&self, disk: &SimDisk, name: &str, damaged: std::ops::Range<usize>, context: &str) -> bool {
        let watermark = self.watermark_without(name, &damaged);
        let problems = match warp_wal::verify(&disk.root(), ALL) {
            Ok(report) => report.problems.len(),
            Err(Error::Corrupt { .. } | Error::Unsupported { .. }) => 1,
            Err(error) => panic!("{context}: {error:?}"),
        };
        match replay_as(disk, Recovery::TrimTornTail, ALL) {
            Ok((report, entries)) => {
                assert!(self.entries.starts_with(&entries), "{context}: wrong entries");
                let last = entries.last().map_or(0, |entry| entry.0);
                assert!(last >= watermark, "{context}: lost below the watermark: {last} {report:?}");
            }
            Err(Error::Corrupt { file, .. } | Error::Unsupported { file, .. }) => {
                assert!(!file.is_empty(), "{context}");
                assert!(problems > 0, "{context}: verify finds nothing");
                // What is left can be had.
                let salvaged = replay_as(disk, Recovery::Salvage, ALL);
                if let Ok((report, entries)) = salvaged {
                    let mut rest = self.entries.iter();
                    assert!(
                        entries.iter().all(|entry| rest.any(|known| known == entry)),
                        "{context}: invented entries"
                    );
                    let lost = self.entries.len() - entries.len();
                    assert!(lost == 0 || !report.lost.is_empty(), "{context}");
                }
            }
            Err(error) => panic!("{context}: {error:?}"),
        }
        problems > 0
    }
}

/// The frames of a segment, as a dump shows them.
fn frames(disk: &SimDisk, name: &str) -> Vec<Frame> {
    let mut out = Vec::new();
    warp_wal::dump(&disk.root(), name, &mut out).unwrap();
    let lines = String::from_utf8(out).unwrap();
    let number = |line: &serde_json::Value, field: &str| line[field].as_u64().unwrap();
    let header = if disk.read(name).unwrap()[0] == b'{' { 248 } else { 64 };
    lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["frame"].is_string())
        .map(|line| {
            let start = usize::try_from(number(&line, "offset")).unwrap();
            let bytes = usize::try_from(number(&line, "bytes")).unwrap();
            Frame {
                file: name.to_owned(),
                range: start..start + header + bytes,
                watermark: number(&line, "watermark"),
                is_close: line["frame"] == "close",
            }
        })
        .collect()
}

fn flip_everything(options: &LogOptions, step: usize) {
    let sample = Sample::new(options);
    let disk = sample.disk();
    assert!(!sample.check(&disk, "", 0..0, "undamaged"));
    let blank = if options.format == Format::Json { b'\n' } else { 0 };
    // A segment that holds nothing yet may have any header: it may not have been finished.
    for (name, bytes) in sample.files.iter().filter(|(_, bytes)| bytes.len() > 4096) {
        for bit in (0..bytes.len() as u64 * 8).step_by(step) {
            let at = usize::try_from(bit / 8).unwrap();
            // In the middle of blank space one bit a place is enough.
            let within_blank = bytes[at..].iter().take(64).all(|byte| *byte == blank);
            if within_blank && bit % 509 != 0 {
                continue;
            }
            disk.flip_bit(name, bit);
            let noticed = sample.check(&disk, name, at..at + 1, &format!("{name} bit {bit} (byte {at})"));
            // No watermark covers a close frame, so that nothing tells a damaged one from a torn one.
            let is_close = |frame: &Frame| frame.is_close && &frame.file == name && frame.range.contains(&at);
            if bytes[at] != blank && !sample.frames.iter().any(is_close) {
                assert!(noticed, "{name} bit {bit} (byte {at}) is not noticed");
            }
            disk.flip_bit(name, bit);
        }
    }
}

#[test]
fn any_flipped_bit_is_an_error_or_a_documented_trim() {
    flip_everything(&small(), 1);
}

#[test]
fn flipped_bits_of_json_segments_are_errors_or_documented_trims() {
    // Text is long: two or three bits of every byte.
    flip_everything(&small_json(), 3);
}

#[test]
fn any_length_is_an_error_or_a_documented_trim() {
    for options in [small(), small_json()] {
        let sample = Sample::new(&options);
        let disk = sample.disk();
        for (name, bytes) in &sample.files {
            for len in 0..bytes.len() {
                // Within blank space one length a place is enough.
                if len % 97 != 0 && bytes[len..].iter().take(64).all(|byte| *byte == 0 || *byte == b'\n') {
                    continue;
                }
                disk.write(name, bytes[..len].to_vec());
                sample.check(&disk, name, len..usize::MAX, &format!("{name} cut to {len}"));
            }
            disk.remove(name);
            sample.check(&disk, name, 0..usize::MAX, &format!("{name} missing"));
            disk.write(name, sample.whole(bytes));
        }
    }
}

#[test]
fn zeroed_swapped_and_stale_sectors_are_errors_or_documented_trims() {
    let sample = Sample::new(&small());
    let disk = sample.disk();
    for (name, bytes) in &sample.files {
        for at in (0..bytes.len()).step_by(512) {
            let end = (at + 512).min(bytes.len());
            let mut zeroed = bytes.clone();
            zeroed[at..end].fill(0);
            disk.write(name, sample.whole(&zeroed));
            sample.check(&disk, name, at..end, &format!("{name} zeroed at {at}"));
            for (other, foreign) in &sample.files {
                let Some(sector) = foreign.get(4096..4096 + end - at) else { continue };
                let mut swapped = bytes.clone();
                swapped[at..end].copy_from_slice(sector);
                disk.write(name, sample.whole(&swapped));
                sample.check(&disk, name, at..end, &format!("{name} at {at} holds a sector of {other}"));
            }
        }
        disk.write(name, sample.whole(bytes));
    }
}

/// After a trim the log opens, appends, syncs, and opens again, and the trimmed bytes never come back.
#[test]
fn after_a_trim_the_log_goes_on() {
    for options in [small(), small_json()] {
        let sample = Sample::new(&options);
        let (name, bytes) = sample.last();
        let mut trims = 0;
        for len in (4096..bytes.len()).step_by(13) {
            let disk = sample.disk();
            disk.write(&name, bytes[..len].to_vec());
            let opened = open_as(&disk, options.clone(), Recovery::TrimTornTail, Start::default());
            let Ok((log, report, entries)) = opened else { continue };
            trims += u32::from(report.trimmed.is_some());
            let seq = append(&log, &[Owned::put("after", b"")]).unwrap();
            assert!(seq > entries.last().unwrap().0);
            log.close().unwrap();
            disk.write(&name, sample.whole(&bytes));
            let (report, again) = replay_as(&disk, Recovery::TrimTornTail, Start::default()).unwrap();
            assert_eq!(again[..entries.len()], entries);
            assert_eq!(again.len(), entries.len() + 1);
            assert!(report.clean_close && report.trimmed.is_none());
        }
        assert!(trims > 2, "{trims}");
    }
}

#[test]
fn strict_refuses_what_trim_drops() {
    let sample = Sample::new(&small());
    let disk = sample.disk();
    let (name, bytes) = sample.last();
    disk.write(&name, bytes[..bytes.len() - 210].to_vec());
    let (report, _) = replay_as(&disk, Recovery::TrimTornTail, Start::default()).unwrap();
    let trimmed = report.trimmed.unwrap();
    assert_eq!(trimmed.file, name);
    assert!(trimmed.bytes > 0);
    let error = replay_as(&disk, Recovery::Strict, Start::default()).unwrap_err();
    assert!(
        matches!(error, Error::Corrupt { found: Corruption::TornTail, offset, .. } if offset == trimmed.offset)
    );
}

#[test]
fn what_the_caller_knows_to_be_durable_turns_a_tail_into_damage() {
    let sample = Sample::new(&small());
    let disk = sample.disk();
    let last = sample.entries.last().unwrap().0;
    let (name, bytes) = sample.last();
    disk.write(&name, bytes[..bytes.len() - 210].to_vec());
    let start = Start { from: 0, durable: last, near: None };
    let error = replay_as(&disk, Recovery::TrimTornTail, start).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(
        replay_as(&disk, Recovery::TrimTornTail, Start { from: 0, durable: last - 1, near: None }).is_ok()
    );
    let gone = SimDisk::new(1);
    assert!(replay_as(&gone, Recovery::TrimTornTail, Start { from: 1, durable: 1, near: None }).is_err());
    // Behind a clean close too.
    let (log, ..) = open_as(&gone, small(), Recovery::Strict, Start::default()).unwrap();
    append(&log, &[Owned::put("a", b"")]).unwrap();
    log.close().unwrap();
    assert!(replay_as(&gone, Recovery::TrimTornTail, Start { from: 1, durable: 1, near: None }).is_ok());
    assert!(replay_as(&gone, Recovery::TrimTornTail, Start { from: 1, durable: 2, near: None }).is_err());
}

/// A log that was opened in spite of damage opens again without being told so, and keeps saying what is lost.
#[test]
fn a_salvaged_log_goes_on() {
    let sample = Sample::new(&small());
    let disk = sample.disk();
    let (name, _) = &sample.files[0];
    disk.flip_bit(name, (8192 + 64 + 30) * 8);
    assert!(open_as(&disk, small(), Recovery::TrimTornTail, Start::default()).is_err());
    let (log, report, entries) = open_as(&disk, small(), Recovery::Salvage, Start::default()).unwrap();
    let lost = report.lost.iter().filter_map(|lost| lost.seqs).collect::<Vec<_>>();
    assert_eq!(lost.len(), 1);
    let kept = sample.entries.iter().filter(|entry| !(lost[0].0..=lost[0].1).contains(&entry.0));
    assert!(kept.eq(entries.iter()));
    assert!(!entries.is_empty());
    append(&log, &[Owned::put("after", b"")]).unwrap();
    log.close().unwrap();
    let (again, more) = replay_as(&disk, Recovery::TrimTornTail, Start::default()).unwrap();
    assert_eq!(again.lost, report.lost);
    assert_eq!(more.len(), entries.len() + 1);
}

/// What lies below the start is neither read nor needed.
#[test]
fn damage_below_the_start_does_not_matter() {
    let sample = Sample::new(&small());
    let from = 5;
    let expected: Entries = sample.entries.iter().filter(|entry| entry.0 >= from).cloned().collect();
    for index in 0..2 {
        for at in [20, 4096 + 20, 8192 + 70] {
            let disk = sample.disk();
            disk.flip_bit(&sample.files[0].0, at * 8);
            if index == 1 {
                disk.remove(&sample.files[0].0);
            }
            let start = Start { from, durable: 6, near: None };
            let (_, entries) = replay_as(&disk, Recovery::TrimTornTail, start).unwrap();
            assert_eq!(entries, expected);
        }
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let sample = Sample::new(&small());
    let disk = sample.disk();
    let (name, mut bytes) = sample.last();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..40]);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    disk.write(&name, sample.whole(&bytes));
    for recovery in [Recovery::Strict, Recovery::TrimTornTail, Recovery::Salvage] {
        let error = replay_as(&disk, recovery, Start::default()).unwrap_err();
        assert!(matches!(error, Error::Unsupported { what: "version", number: 9, .. }), "{error:?}");
    }
}

/// A file that is shorter than when it was prepared has lost something, also where it ends between two frames.
#[test]
fn a_segment_that_was_cut_between_two_frames_is_a_torn_tail() {
    for options in [small(), small_json()] {
        let sample = Sample::new(&options);
        let (name, _) = sample.last();
        let frames: Vec<&Frame> = sample.frames.iter().filter(|frame| frame.file == name).collect();
        let last = frames.last().unwrap();
        assert!(frames.len() > 1, "the last frame is not the first of its file");
        // Without it no watermark covers the last group, and the file ends as if there had never been one.
        let ends = frames[frames.len() - 2].range.end;
        let disk = sample.disk();
        for cut in [ends, ends.next_multiple_of(64), last.range.start] {
            let mut bytes = sample.disk().read(&name).unwrap();
            bytes.truncate(cut);
            disk.write(&name, bytes);
            let (report, entries) = replay_as(&disk, Recovery::TrimTornTail, ALL).unwrap();
            assert_eq!(entries[..], sample.entries[..entries.len()]);
            assert!(entries.len() < sample.entries.len());
            let trimmed = report.trimmed.expect("something is missing, and nobody says so");
            assert_eq!((trimmed.file, trimmed.frames_dropped), (name.clone(), 0), "cut to {cut}");
            let error = replay_as(&disk, Recovery::Strict, ALL).unwrap_err();
            assert!(matches!(error, Error::Corrupt { found: Corruption::TornTail, .. }), "{error:?}");
        }
        // Zeroed, or never written: nothing tells the two apart.
        let mut bytes = sample.disk().read(&name).unwrap();
        bytes.truncate(ends);
        disk.write(&name, sample.whole(&bytes));
        let (report, _) = replay_as(&disk, Recovery::Strict, ALL).unwrap();
        assert_eq!(report.trimmed, None);
    }
}

/// A crash while a segment is prepared leaves it short, and nothing was ever in it.
#[test]
fn a_segment_without_frames_may_be_short() {
    let sample = Sample::new(&small());
    let (name, _) = sample.files.iter().rfind(|(_, bytes)| bytes.len() <= 4096 + 200).unwrap();
    let disk = sample.disk();
    for len in [0, 44, 512, 4096, 8192] {
        let mut bytes = sample.disk().read(name).unwrap();
        bytes.truncate(len);
        disk.write(name, bytes);
        let (report, entries) = replay_as(&disk, Recovery::Strict, ALL).unwrap();
        assert_eq!((report.trimmed, entries), (None, sample.entries.clone()), "{len} bytes");
        // The same, with nothing before it: the very first open was cut off.
        let alone = SimDisk::new(1);
        alone.write(name, disk.read(name).unwrap());
        let (report, entries) = replay_as(&alone, Recovery::Strict, ALL).unwrap();
        assert_eq!((report.trimmed, entries), (None, Vec::new()), "{len} bytes");
    }
}

/// Who knows of sequences has had the log open, and an open leaves a frame.
#[test]
fn a_log_without_any_frame_is_damaged_for_who_knows_of_sequences() {
    let sample = Sample::new(&small());
    let blank = SimDisk::new(1);
    let (name, prepared) = sample.files.iter().rfind(|(_, bytes)| bytes.len() <= 4096 + 200).unwrap();
    blank.write(name, sample.whole(prepared));
    for disk in [SimDisk::new(1), blank] {
        let start = Start { from: 5, durable: 0, near: None };
        for recovery in [Recovery::Strict, Recovery::TrimTornTail] {
            let error = replay_as(&disk, recovery, start).unwrap_err();
            assert!(matches!(error, Error::Corrupt { found: Corruption::EndsEarly { .. }, .. }), "{error:?}");
        }
        let (log, report, entries) = open_as(&disk, small(), Recovery::Salvage, start).unwrap();
        assert_eq!((report.lost.len(), entries.len()), (1, 0));
        assert!(append(&log, &[Owned::put("after", b"")]).unwrap() > 5);
    }
    // Who knows of none finds a new log.
    for from in [0, 1] {
        assert!(
            replay_as(&SimDisk::new(1), Recovery::Strict, Start { from, durable: 0, near: None }).is_ok()
        );
    }
}

/// The last segment with a frame stays until there is a frame in a later one.
#[test]
fn what_removes_segments_leaves_a_frame() {
    let disk = SimDisk::new(1);
    let (log, ..) = open_as(&disk, small(), Recovery::Strict, Start::default()).unwrap();
    let first = disk.files()[0].clone();
    let last = append(&log, &[Owned::put("a", b"")]).unwrap();
    log.sync().unwrap();
    log.rotate().unwrap();
    let start = Start { from: last + 1, durable: last, near: None };
    assert!(log.remove_before(u64::MAX).unwrap().is_empty());
    // All that was written lies below the start, so that only the frames tell that there was a log.
    assert!(replay_as(&disk.crash(Survival::Nothing), Recovery::Strict, start).is_ok());
    append(&log, &[Owned::put("b", b"")]).unwrap();
    log.sync().unwrap();
    assert_eq!(log.remove_before(last + 1).unwrap(), [first]);
    let (_, entries) = replay_as(&disk.crash(Survival::Nothing), Recovery::Strict, start).unwrap();
    assert_eq!(entries.len(), 1);
}

/// What is counted on from a name never overflows.
#[test]
fn a_segment_with_a_number_that_was_never_given_is_damage() {
    for number in [u64::MAX, u64::MAX - 1] {
        let sample = Sample::new(&small());
        let disk = sample.disk();
        let name = format!("{number:020}.log");
        for bytes in [Vec::new(), b"x".to_vec(), sample.whole(&sample.files[0].1)] {
            disk.write(&name, bytes);
            for recovery in [Recovery::Strict, Recovery::TrimTornTail, Recovery::Salvage] {
                let error = open_as(&disk, small(), recovery, Start::default()).unwrap_err();
                assert!(matches!(&error, Error::Corrupt { file, .. } if *file == name), "{error:?}");
            }
        }
    }
}

/// A segment that nothing was written to is left over from a crash; where it cannot be removed, it harms nobody.
#[test]
fn an_unused_segment_that_cannot_be_removed_stays() {
    let disk = SimDisk::new(1);
    let (log, ..) = open_as(&disk, small(), Recovery::Strict, Start::default()).unwrap();
    let last = append(&log, &[Owned::put("a", b"")]).unwrap();
    log.sync().unwrap();
    drop(log);
    let disk = disk.crash(Survival::Nothing);
    let unused = disk.files().last().unwrap().clone();
    disk.inject_when(|operation| (operation.kind == OpKind::Remove).then_some(Fault::Eio));
    let (log, _, entries) = open_as(&disk, small(), Recovery::Strict, Start::default()).unwrap();
    assert_eq!(entries.len(), 1);
    assert!(disk.files().contains(&unused));
    disk.clear_faults();
    let after = append(&log, &[Owned::put("b", b"")]).unwrap();
    log.sync().unwrap();
    assert_eq!(replay_as(&disk.crash(Survival::Nothing), Recovery::Strict, ALL).unwrap().1.len(), 2);
    assert!(log.remove_before(last + 1).unwrap().contains(&unused), "it goes with those before it");
    let start = Start { from: last + 1, durable: last, near: None };
    let (_, entries) = replay_as(&disk.crash(Survival::Nothing), Recovery::Strict, start).unwrap();
    assert_eq!(entries, [(after, Owned::put("b", b""))]);
}
