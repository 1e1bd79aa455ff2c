//! No damage gives a wrong answer or a panic, and `verify` finds all of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{BLOCK, body_bytes, reseal};
use proptest::prelude::*;
use warp_checkpoint::{
    Corruption, Error, Layer, LayerAccess, LayerEntry, LayerInfo, LayerValue, LogPlace, Manifest, hash, load,
    publish,
};
use warp_io::SimDisk;

const NAME: &str = "1.warp";

/// Every kind of entry. The last one fills a block, so that those before it share none with the directory.
fn entries() -> Vec<LayerEntry<'static>> {
    const LONG: &[u8; 700] = &[0xa5; 700];
    static NOISE: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| (0..9000u32).map(|n| hash(&n.to_le_bytes()).to_le_bytes()[0]).collect());
    vec![
        common::entry(b"plain", 3, Some(b"value")),
        common::entry(b"", 4, Some(b"of the empty key")),
        common::entry(b"empty", 5, Some(b"")),
        common::entry(b"deleted", 6, None),
        common::entry(b"compressed", 7, Some(LONG)),
        LayerEntry {
            keyspace: 9,
            deadline: 1_700_000_000_000,
            ..common::entry(b"expires", 8, Some(b"soon"))
        },
        LayerEntry { keyspace: 9, deadline: 12, ..common::entry(b"plain", 9, Some(LONG)) },
        common::entry(b"crosses a block", 10, Some(&NOISE)),
    ]
}

fn layer() -> (SimDisk, LayerInfo, Vec<u8>) {
    let disk = SimDisk::new(1);
    let info = common::write_layer(&disk.root(), 1, &entries()).unwrap();
    let bytes = disk.read(NAME).unwrap();
    assert_eq!(bytes.len() as u64, info.bytes);
    assert!(body_bytes(&bytes) > 2 * BLOCK + 100, "entries and the directory are in different blocks");
    (disk, info, bytes)
}

fn is_corrupt(error: &Error) -> bool {
    matches!(error, Error::Corrupt { file, .. } if file == NAME)
}

/// Each answer is right or says that the file is damaged; `verify` says so for certain. Returns whether the layer
/// could be opened.
fn check_damaged(disk: &SimDisk, info: Option<&LayerInfo>, what: impl Fn() -> String) -> bool {
    let opens = common::accesses().map(|access| {
        let opened = match info {
            Some(info) => Layer::open_with(&disk.root(), info, &access),
            None => Layer::open_file(&disk.root(), 1, &access),
        };
        check_opened(opened, &what)
    });
    assert_eq!(opens, [opens[0]; 4], "{}", what());
    opens[0]
}

fn check_opened(opened: Result<Layer, Error>, what: &impl Fn() -> String) -> bool {
    let layer = match opened {
        Ok(layer) => layer,
        Err(error) => {
            assert!(is_corrupt(&error), "{}: {error:?}", what());
            return false;
        }
    };
    for entry in entries() {
        let value = entry.value.map(bytes::Bytes::from_static);
        let expected = LayerValue { seq: entry.seq, deadline: entry.deadline, value };
        match layer.get(entry.hash, entry.keyspace, entry.key) {
            Ok(found) => assert_eq!(found, Some(expected), "{}", what()),
            Err(error) => assert!(is_corrupt(&error), "{}: {error:?}", what()),
        }
    }
    for absent in [b"absent".as_slice(), b"deletee", b"vacuum"] {
        match layer.get(hash(absent), 0, absent) {
            Ok(found) => assert_eq!(found, None, "{}", what()),
            Err(error) => assert!(is_corrupt(&error), "{}: {error:?}", what()),
        }
    }
    assert_eq!(layer.iter().count(), entries().len());
    let error = layer.verify().expect_err(&what());
    assert!(is_corrupt(&error), "{}: {error:?}", what());
    true
}

#[test]
fn every_flipped_bit_of_a_layer() {
    let (disk, info, bytes) = layer();
    let mut opened = 0;
    for bit in 0..bytes.len() as u64 * 8 {
        disk.flip_bit(NAME, bit);
        // One of the two ways to open it, in turns: they differ in little.
        opened += usize::from(check_damaged(&disk, (bit % 2 == 0).then_some(&info), || {
            format!("bit {} of byte {}", bit % 8, bit / 8)
        }));
        disk.flip_bit(NAME, bit);
    }
    assert_eq!(opened, (2 * BLOCK - 32) * 8, "all but the header, the block of the directory, and the tail");
    Layer::open_in(&disk.root(), &info).unwrap().verify().unwrap();
}

#[test]
fn every_other_length_of_a_layer() {
    let (disk, info, bytes) = layer();
    for length in (0..bytes.len()).chain(bytes.len() + 1..bytes.len() + 100) {
        let mut damaged = bytes.clone();
        damaged.resize(length, 0);
        disk.write(NAME, damaged);
        for access in common::accesses() {
            let error = Layer::open_with(&disk.root(), &info, &access).unwrap_err();
            assert!(is_corrupt(&error), "length {length}: {error:?}");
        }
        let error = Layer::open_file(&disk.root(), 1, &LayerAccess::Map).unwrap_err();
        assert!(is_corrupt(&error), "length {length}: {error:?}");
    }
}

#[test]
fn lost_and_misplaced_blocks() {
    let (disk, info, bytes) = layer();
    for start in (0..bytes.len()).step_by(512) {
        let end = bytes.len().min(start + 512);
        let mut zeroed = bytes.clone();
        zeroed[start..end].fill(0);
        let mut shifted = bytes.clone();
        shifted.copy_within(start..end, (start + 512) % (bytes.len() - 512));
        for damaged in [zeroed, shifted] {
            assert_ne!(damaged, bytes);
            disk.write(NAME, damaged);
            check_damaged(&disk, Some(&info), || format!("bytes {start}..{end}"));
        }
    }
}

#[test]
fn another_layer_of_the_same_name_is_not_the_one_of_the_manifest() {
    let (disk, info, _) = layer();
    let other = SimDisk::new(1);
    let other_info = common::write_layer(&other.root(), 1, &[common::entry(b"plain", 3, None)]).unwrap();
    assert_ne!(other_info.root, info.root);
    disk.write(NAME, other.read(NAME).unwrap());
    let error = Layer::open_in(&disk.root(), &info).unwrap_err();
    assert!(is_corrupt(&error), "{error:?}");
    let error = Layer::open_in(&disk.root(), &LayerInfo { root: info.root, ..other_info }).unwrap_err();
    let wrong_root = Corruption::BadChecksum { expected: info.root, found: other_info.root };
    assert!(matches!(error, Error::Corrupt { found, .. } if found == wrong_root), "{error:?}");

    disk.write("2.warp", disk.read(NAME).unwrap());
    let error = Layer::open_file(&disk.root(), 2, &LayerAccess::Map).unwrap_err();
    let found = Corruption::WrongNumber { expected: 2, found: 1 };
    assert!(matches!(error, Error::Corrupt { found: is, .. } if is == found), "{error:?}");
}

#[test]
fn damage_is_reported_where_it_is() {
    let (disk, info, _) = layer();
    disk.flip_bit(NAME, 40 * 8);
    let layer = Layer::open_in(&disk.root(), &info);
    let error = layer.and_then(|layer| layer.get(hash(b"plain"), 0, b"plain")).unwrap_err();
    assert_eq!((error.file(), error.offset()), (Some(NAME), Some(0)));
    assert!(
        matches!(&error, Error::Corrupt { file, offset: 0, found: Corruption::BadChecksum { .. } } if file == NAME)
    );
}

#[test]
fn a_newer_version_is_not_damage() {
    let (disk, info, mut bytes) = layer();
    bytes[16] = 2;
    reseal(&mut bytes);
    disk.write(NAME, bytes);
    for error in [Layer::open_in(&disk.root(), &info), Layer::open_file(&disk.root(), 1, &LayerAccess::Map)] {
        assert!(matches!(error, Err(Error::Unsupported { version: 2, .. })), "{error:?}");
    }
}

#[test]
fn checksums_that_agree_with_the_damage_do_not_hide_it() {
    let (disk, info, bytes) = layer();
    let (body, last) = (body_bytes(&bytes), bytes.len() - 12);
    let mut damaged = bytes.clone();
    damaged[5000] ^= 1; // in the long value
    let mut resealed = damaged.clone();
    reseal(&mut resealed);
    // As if a layer of checksums after the other had been written for the wrong bytes.
    let checks = body.div_ceil(BLOCK) * 4;
    for (upto, opens) in [(body, true), (body + checks, false), (last, false), (last + 4, false)] {
        let mut mixed = bytes.clone();
        mixed[..body].copy_from_slice(&damaged[..body]);
        mixed[body..upto].copy_from_slice(&resealed[body..upto]);
        disk.write(NAME, mixed);
        let opened = Layer::open_in(&disk.root(), &info);
        assert_eq!(opened.is_ok(), opens, "{upto}");
        if let Ok(layer) = opened {
            for entry in entries() {
                let found =
                    layer.get(entry.hash, entry.keyspace, entry.key).map(|found| found.unwrap().value);
                assert!(found.as_ref().is_ok_and(|value| value.as_deref() == entry.value) || found.is_err());
            }
            assert!(is_corrupt(&layer.verify().unwrap_err()), "{upto}");
        }
    }
    // Nothing in the file itself tells any more. The manifest does.
    Layer::open_file(&disk.root(), 1, &LayerAccess::Map).unwrap().verify().unwrap();
}

#[test]
fn verify_reads_again_what_was_good_before() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = warp_io::OsDir::open(scratch.path(), false).unwrap();
    let (_, info, bytes) = layer();
    let file = warp_io::Dir::create_new(&dir, NAME).unwrap();
    warp_io::write_all_at(&*file, 0, &bytes).unwrap();
    let layer = Layer::open_in(&dir, &info).unwrap();
    layer.verify().unwrap();
    // What a disk may do, and no program: the map's pages change under the layer.
    for place in [10, 100, BLOCK + 10, bytes.len() - 150, bytes.len() - 14, bytes.len() - 1] {
        file.write_at(place as u64, &[bytes[place] ^ 0x10]).unwrap();
        assert!(is_corrupt(&layer.verify().unwrap_err()), "byte {place}");
        file.write_at(place as u64, &bytes[place..=place]).unwrap();
    }
    // A block and its checksum that agree, but not with the level above.
    let (body, mut changed) = (body_bytes(&bytes), bytes.clone());
    changed[5000] ^= 1;
    reseal(&mut changed);
    warp_io::write_all_at(&*file, 0, &changed[..body + 8]).unwrap();
    assert!(is_corrupt(&layer.verify().unwrap_err()));
    warp_io::write_all_at(&*file, 0, &bytes).unwrap();
    layer.verify().unwrap();
}

/// Opens and reads everything, whatever it says.
fn read_all(disk: &SimDisk) -> Result<(), Error> {
    let layer = Layer::open_file(&disk.root(), 1, &LayerAccess::Map)?;
    let mut first = Ok(());
    for entry in entries() {
        first = first.and(layer.get(entry.hash, entry.keyspace, entry.key).map(|_| ()));
    }
    for entry in &layer {
        first = first.and(entry.and_then(|entry| entry.value()).map(|_| ()));
    }
    layer.prefetch(hash(b"plain"));
    layer.prefetch_hash(hash(b"plain"));
    first.and(layer.verify().map(|_| ()))
}

#[test]
fn lies_with_good_checksums_are_bounded() {
    let (disk, _, bytes) = layer();
    let (body, end) = (body_bytes(&bytes), bytes.len());
    let footer = end - 24 - 144;
    // The heads of entries, then directory, index and filter, then the footer: all that holds lengths and places.
    let places = (32..160).chain(body - 400..body).chain(footer..end - 24);
    for place in places {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] = value;
            reseal(&mut damaged);
            disk.write(NAME, damaged);
            if let Err(error) = read_all(&disk) {
                assert!(is_corrupt(&error), "byte {place} = {value}: {error:?}");
            }
        }
    }
}

#[test]
fn structure_is_verified_beyond_checksums() {
    let (disk, _, bytes) = layer();
    let body = body_bytes(&bytes);
    let (filter, index) = (body - 64, body - 64 - 128); // eight index entries of fourteen bytes, padded to 128
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = bytes.clone();
        change(&mut damaged);
        assert_ne!(damaged, bytes);
        reseal(&mut damaged);
        disk.write(NAME, damaged);
        match Layer::open_file(&disk.root(), 1, &LayerAccess::Map).and_then(|layer| layer.verify()) {
            Err(Error::Corrupt { found, .. }) => found,
            other => panic!("{other:?}"),
        }
    };
    let one_bit_less = |damaged: &mut Vec<u8>| {
        let byte = damaged[filter..].iter_mut().find(|byte| **byte != 0).unwrap();
        *byte &= *byte - 1;
    };
    assert_eq!(refused(&one_bit_less), Corruption::MissingFromFilter);
    let swapped = |damaged: &mut Vec<u8>| damaged[index..index + 28].rotate_left(14);
    assert_eq!(refused(&swapped), Corruption::OutOfOrder);
    // An index that names one entry twice and another never.
    let doubled = |damaged: &mut Vec<u8>| damaged.copy_within(index + 8..index + 14, index + 22);
    assert_eq!(refused(&doubled), Corruption::OutOfOrder);
    let duplicate = |damaged: &mut Vec<u8>| damaged.copy_within(index..index + 14, index + 14);
    assert!(matches!(refused(&duplicate), Corruption::DuplicateKey { .. } | Corruption::MissingFromFilter));
    let flags = |damaged: &mut Vec<u8>| damaged[32] = 0x80;
    assert_eq!(refused(&flags), Corruption::BadFlags(0x80));
    let seq = |damaged: &mut Vec<u8>| damaged[44] = 1; // below the smallest of the footer
    assert_eq!(refused(&seq), Corruption::Miscounted { expected: 3, found: 1 });
    let key_length = |damaged: &mut Vec<u8>| damaged[33] += 1;
    refused(&key_length);
    let id = |damaged: &mut Vec<u8>| {
        let footer = damaged.len() - 24 - 144;
        damaged[footer] = 7;
    };
    assert_eq!(refused(&id), Corruption::WrongNumber { expected: 1, found: 7 });
    let longer = |damaged: &mut Vec<u8>| {
        let footer_end = damaged.len() - 24;
        damaged.splice(footer_end..footer_end, [0; 8]);
    };
    assert!(matches!(refused(&longer), Corruption::LengthOutOfRange { .. }));
    // The last value, of 9000 bytes, is said to be one longer. It would end in the padding, which is in the file.
    let value_length = |damaged: &mut Vec<u8>| {
        let key = damaged.windows(15).position(|window| window == b"crosses a block").unwrap();
        damaged[key - 16] += 1;
    };
    let beyond = refused(&value_length);
    assert!(
        matches!(beyond, Corruption::LengthOutOfRange { length, limit } if length == limit + 1),
        "{beyond}"
    );
}

fn manifest() -> Manifest {
    let (_, info, _) = layer();
    Manifest {
        number: 1,
        database_id: 77,
        hash_seed: 5,
        replay_from: 11,
        highest: 12,
        layers: vec![info, LayerInfo { id: 7, ..info }],
        next_layer: 8,
        floors: vec![(3, 100)],
        time: 1_700_000_000_000,
        near: Some(LogPlace { segment: 1, offset: 4096 }),
    }
}

#[test]
fn every_flipped_bit_and_length_of_a_manifest() {
    let disk = SimDisk::new(1);
    publish(&disk.root(), &manifest()).unwrap();
    let name = "MANIFEST-1";
    let bytes = disk.read(name).unwrap();
    let refused = |what: &dyn Fn() -> String| {
        let error = load(&disk.root(), 1).expect_err(&what());
        assert!(matches!(&error, Error::Corrupt { file, .. } if file == name), "{}: {error:?}", what());
    };
    for bit in 0..bytes.len() as u64 * 8 {
        disk.flip_bit(name, bit);
        refused(&|| format!("bit {bit}"));
        disk.flip_bit(name, bit);
    }
    for length in (0..bytes.len()).chain(bytes.len() + 1..bytes.len() + 100) {
        let mut damaged = bytes.clone();
        damaged.resize(length, 0);
        disk.write(name, damaged);
        refused(&|| format!("length {length}"));
    }
    disk.write(name, bytes.clone());
    assert_eq!(load(&disk.root(), 1).unwrap(), manifest());
    disk.write("MANIFEST-2", bytes);
    let found = Corruption::WrongNumber { expected: 2, found: 1 };
    assert!(matches!(load(&disk.root(), 2), Err(Error::Corrupt { found: is, .. }) if is == found));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_with_good_checksums_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let (disk, _, mut bytes) = layer();
        let end = bytes.len() - 24; // a trailer that lies is found before any checksum is looked for
        for (place, value) in changes {
            bytes[place.index(end)] = value;
        }
        reseal(&mut bytes);
        disk.write(NAME, bytes);
        if let Err(error) = read_all(&disk) {
            prop_assert!(matches!(error, Error::Corrupt { .. } | Error::Unsupported { .. }), "{:?}", error);
        }
    }

    #[test]
    fn random_bytes_are_no_layer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let disk = SimDisk::new(1);
        disk.write(NAME, bytes);
        prop_assert!(Layer::open_file(&disk.root(), 1, &LayerAccess::Map).is_err());
    }
}
