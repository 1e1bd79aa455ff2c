//! The worked examples of `docs/format/wal.md` are what the encoder writes, byte for byte.

use std::sync::Arc;

use warp_io::{SimClock, SimDisk};
use warp_wal::{Entry, Format, Log, LogOptions, Recovery, Start};

const DOC: &str = include_str!("../../docs/format/wal.md");

/// The fenced block of that name.
fn example(name: &str) -> &'static str {
    let fence = format!("```{name}\n");
    let start = DOC.find(&fence).unwrap_or_else(|| panic!("no example named {name}")) + fence.len();
    &DOC[start..start + DOC[start..].find("```").expect("a fence that ends")]
}

/// The bytes of a hex example; what follows a `;` explains.
fn hex(name: &str) -> Vec<u8> {
    let digits =
        example(name).lines().flat_map(|line| line.split(';').next().unwrap_or("").split_whitespace());
    digits.map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits")).collect()
}

/// The log of the examples: one group with one put, synced.
fn segment(format: Format) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let clock = Arc::new(SimClock::new(1_700_000_000_000));
    let options = LogOptions { format, segment_bytes: 64 << 10, seed: 7, ..LogOptions::default() };
    let (recovery, start) = (Recovery::Strict, Start::default());
    let (log, _) = Log::open_in(
        &disk.root(),
        clock,
        options,
        recovery,
        start,
        warp_wal::Apply::InOrder(&mut |_, _| {}),
        &mut |_, _| {},
    )
    .expect("an empty directory");
    let put = Entry { keyspace: 2, shard: 3, level: 1, ..Entry::put(b"key", b"value") };
    log.append(&[put]).expect("an append");
    log.sync().expect("a sync");
    disk.read("00000000000000000001.log").expect("the first segment")
}

fn dump(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(name: &str, written: &[u8]) {
    let documented = hex(name);
    assert!(documented == written, "{name} is written as\n{}", dump(written));
}

#[test]
fn binary_examples_are_what_is_written() {
    let segment = segment(Format::Binary);
    check("hex wal-segment-header", &segment[..44]);
    check("hex wal-frame-open", &segment[4096..4096 + 64 + 40]);
    check("hex wal-frame-put", &segment[8192..8192 + 64 + 16 + 20 + 8]);
    // All else is blank.
    let rest = [&segment[44..4096], &segment[4200..8192], &segment[8300..]].concat();
    assert!(rest.iter().all(|byte| *byte == 0));
}

#[test]
fn the_json_example_is_what_is_written() {
    let segment = String::from_utf8(segment(Format::Json)).expect("a JSON segment is text");
    let lines: Vec<&str> = segment.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(example("json wal-json-segment").lines().collect::<Vec<_>>(), lines);
    for line in lines {
        serde_json::from_str::<serde_json::Value>(line).expect("every line is JSON");
    }
}
