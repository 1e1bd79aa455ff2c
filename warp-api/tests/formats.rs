//! The log as binary and as JSON: the same state, and a dump that any JSON tool can read.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use common::{Machine, entries, small};
use warp_api::{LogFormat, Options, PutOptions, WarpEngine, WriteBatch};
use warp_io::{Dir, Survival};

fn write_all_kinds(engine: &WarpEngine) {
    for number in 0..200_u32 {
        engine.put(format!("key:{}", number % 40), format!("value {number} \"\\\n\u{1F680}")).unwrap();
        engine.put([0xFF, number as u8], vec![0x80 | number as u8; 30]).unwrap();
    }
    engine.put("large", "compressible ".repeat(2_000)).unwrap();
    engine.put_with("timed", "1", &PutOptions::new().ttl(std::time::Duration::from_secs(60))).unwrap();
    engine.delete("key:3").unwrap();
    engine.clear().unwrap();
    engine.write(WriteBatch::new().put("a", "1").put("b", "2").delete("c")).unwrap();
    engine.entangle("a", &["b"], 0.5).unwrap();
    for number in 0..50_u32 {
        engine.put(format!("late:{number}"), number.to_string()).unwrap();
    }
}

/// The state that a log of the given format recovers to, and the machine.
fn recovered(format: LogFormat) -> (Vec<u8>, Machine) {
    let machine = Machine::new(1);
    let engine = machine.open(small().log_format(format));
    write_all_kinds(&engine);
    engine.sync().unwrap();
    let crashed = machine.with_disk(machine.disk.crash(Survival::Nothing));
    let engine = crashed.open(small());
    let mut exported = Vec::new();
    engine.export(&mut exported).unwrap();
    (exported, crashed)
}

#[test]
fn both_formats_recover_to_the_same_state() {
    let (binary, _) = recovered(LogFormat::Binary);
    let (json, _) = recovered(LogFormat::Json);
    assert!(binary.len() > 1_000);
    assert_eq!(String::from_utf8(binary).unwrap(), String::from_utf8(json).unwrap());
}

#[test]
fn formats_may_alternate_in_one_directory() {
    let machine = Machine::new(1);
    for round in 0..4_u32 {
        let format = if round % 2 == 0 { LogFormat::Binary } else { LogFormat::Json };
        let engine = machine.open(small().log_format(format));
        engine.put(format!("round:{round}"), "1").unwrap();
    }
    assert_eq!(entries(&machine.open(small())).len(), 4);
}

#[test]
fn every_line_of_a_dump_is_json() {
    for format in [LogFormat::Binary, LogFormat::Json] {
        let (_, machine) = recovered(format);
        let log = machine.disk.root().subdir("wal", false).unwrap();
        let mut puts = 0;
        for name in warp_wal::segment_names(&*log).unwrap() {
            let mut out = Vec::new();
            warp_wal::dump(&*log, &name, &mut out).unwrap();
            for line in std::str::from_utf8(&out).unwrap().lines() {
                let line: serde_json::Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                puts += usize::from(line["kind"] == "put" && line["key"].is_string() && line["seq"].is_u64());
            }
        }
        assert!(puts > 200, "{format:?}: only {puts} puts with text keys");
    }
}

/// A JSON segment is text from the first byte to the last.
#[test]
fn a_json_segment_can_be_read_line_by_line() {
    let machine = Machine::new(1);
    let engine = machine.open(
        Options::new().log_segment_bytes(64 << 10).log_buffer_bytes(16 << 10).log_format(LogFormat::Json),
    );
    write_all_kinds(&engine);
    engine.sync().unwrap();
    let mut lines = 0;
    for file in machine.disk.files().iter().filter(|file| file.starts_with("wal/")) {
        let text = String::from_utf8(machine.disk.read(file).unwrap()).expect("text");
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|error| panic!("{file}: {error}: {line}"));
            lines += 1;
        }
    }
    assert!(lines > 400, "only {lines} lines");
}
