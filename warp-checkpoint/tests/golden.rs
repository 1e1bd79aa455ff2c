//! The examples in docs/format/checkpoint.md are what this crate writes, byte for byte, and what it reads.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use warp_checkpoint::{
    Layer, LayerEntry, LayerInfo, LayerOptions, LayerWriter, LogPlace, Manifest, load, publish,
};
use warp_io::SimDisk;

const DOCUMENT: &str = include_str!("../../docs/format/checkpoint.md");

/// The bytes in the fence of that name. A line is bytes in hex, and a remark behind `#`.
fn example(name: &str) -> Vec<u8> {
    let fence = format!("```hex {name}\n");
    let start = DOCUMENT.find(&fence).unwrap_or_else(|| panic!("no fence {name}")) + fence.len();
    let text = &DOCUMENT[start..];
    let lines = text[..text.find("```").unwrap()].lines();
    let digits = lines.flat_map(|line| line.split('#').next().unwrap().split_whitespace());
    digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[track_caller]
fn check(name: &str, written: &[u8]) {
    let hex = |bytes: &[u8]| {
        let lines: Vec<String> =
            bytes.chunks(16).map(|line| format!("{line:02x?}").replace(',', "")).collect();
        lines.join("\n")
    };
    assert!(example(name) == written, "{name}: the crate writes\n{}", hex(written));
}

fn entries() -> [LayerEntry<'static>; 3] {
    [
        LayerEntry {
            hash: 0x2222_2222_2222_2222,
            keyspace: 1,
            key: b"sun",
            seq: 5,
            deadline: 0,
            value: Some(b"G2V"),
        },
        LayerEntry {
            hash: 0x1111_1111_1111_1111,
            keyspace: 1,
            key: b"pluto",
            seq: 6,
            deadline: 0,
            value: None,
        },
        LayerEntry {
            hash: 0x3333_3333_3333_3333,
            keyspace: 1,
            key: b"comet",
            seq: 7,
            deadline: 1_700_000_000_000,
            value: Some(&[b'~'; 64]),
        },
    ]
}

fn layer() -> (SimDisk, LayerInfo) {
    let disk = SimDisk::new(1);
    let options = LayerOptions { compress_from: Some(64) };
    let mut writer = LayerWriter::create_in(&disk.root(), 9, &options).unwrap();
    for entry in entries() {
        writer.add(&entry).unwrap();
    }
    let info = writer.finish().unwrap();
    (disk, info)
}

fn manifest() -> Manifest {
    Manifest {
        number: 4,
        database_id: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
        hash_seed: 0x5eed,
        replay_from: 8,
        highest: 7,
        layers: vec![layer().1],
        next_layer: 10,
        floors: vec![(2, 3)],
        time: 1_700_000_000_000,
        near: Some(LogPlace { segment: 3, offset: 0x1_1040 }),
    }
}

#[test]
fn a_layer_is_written_as_documented() {
    check("layer", &layer().0.read("9.warp").unwrap());
}

#[test]
fn a_layer_is_read_as_documented() {
    let disk = SimDisk::new(1);
    disk.write("9.warp", example("layer"));
    let layer = Layer::open_in(&disk.root(), &layer().1).unwrap();
    assert_eq!(layer.verify().unwrap().entries, 3);
    for entry in entries() {
        let found = layer.get(entry.hash, entry.keyspace, entry.key).unwrap().unwrap();
        assert_eq!(
            (found.seq, found.deadline, found.value.as_deref()),
            (entry.seq, entry.deadline, entry.value)
        );
    }
}

#[test]
fn a_manifest_is_written_as_documented() {
    let disk = SimDisk::new(1);
    publish(&disk.root(), &manifest()).unwrap();
    check("manifest", &disk.read("MANIFEST-4").unwrap());
}

#[test]
fn a_manifest_is_read_as_documented() {
    let disk = SimDisk::new(1);
    disk.write("MANIFEST-4", example("manifest"));
    assert_eq!(load(&disk.root(), 4).unwrap(), manifest());
}
