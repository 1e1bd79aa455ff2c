//! Lookups by the sparse index find what is there, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{BLOCK, reseal};
use warp_checkpoint::{Corruption, Error, Layer, LayerAccess, LayerEntry, LayerInfo, hash};
use warp_io::SimDisk;

/// The key, the hash and the value of an entry.
type Owned = (Vec<u8>, u64, Vec<u8>);

/// Entries of many lengths in the order of their hashes; hundreds in the middle have one hash, and fill several blocks.
fn entries(longest: usize) -> Vec<Owned> {
    let mut entries: Vec<Owned> = (0..4_000_usize)
        .map(|n| {
            let key = n.to_le_bytes()[..3 + n % 4].to_vec();
            let own = hash(&key);
            let length = usize::try_from(own >> 32).unwrap() % longest;
            // Not to be compressed.
            let value = (0..length)
                .map(|i| hash(&[key[0], key[1], (i % 251) as u8, (i / 251) as u8]) as u8)
                .collect();
            let hash = if n % 16 == 0 { u64::MAX / 2 } else { own };
            (key, hash, value)
        })
        .collect();
    entries.sort_by_key(|(_, hash, _)| *hash);
    entries.dedup_by(|a, b| a.0 == b.0);
    entries
}

fn write(disk: &SimDisk, entries: &[Owned]) -> LayerInfo {
    let entries: Vec<LayerEntry<'_>> = entries
        .iter()
        .map(|(key, hash, value)| LayerEntry { hash: *hash, ..common::entry(key, 1, Some(value)) })
        .collect();
    common::write_layer(&disk.root(), 1, &entries).unwrap()
}

/// Where the sparse index is, as the footer says.
fn sparse(bytes: &[u8]) -> std::ops::Range<usize> {
    let place = bytes.len() - 24 - 144 + 120;
    let number = |place: usize| {
        usize::try_from(u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap())).unwrap()
    };
    number(place)..number(place) + number(place + 8)
}

#[test]
fn every_entry_is_found_and_no_other() {
    let disk = SimDisk::new(1);
    let entries = entries(200);
    let info = write(&disk, &entries);
    assert!(sparse(&disk.read("1.warp").unwrap()).len() > 50 * 14);
    for access in common::accesses() {
        let layer = Layer::open_with(&disk.root(), &info, &access).unwrap();
        layer.verify().unwrap();
        for (key, hash, value) in &entries {
            assert_eq!(layer.get(*hash, 0, key).unwrap().unwrap().value.unwrap(), value);
            // The filter passes these, and their blocks have no such key.
            assert!(layer.find(*hash, 1, key).unwrap().is_none());
            assert!(layer.find(*hash, 0, b"another key").unwrap().is_none());
            assert!(layer.prefetch_entry(*hash).unwrap());
        }
        for absent in [0, 1, u64::MAX / 2 - 1, u64::MAX / 2 + 1, u64::MAX] {
            assert!(layer.find(absent, 0, b"absent").unwrap().is_none());
        }
    }
}

#[test]
fn only_small_entries_in_order_have_one() {
    let disk = SimDisk::new(1);
    let mut small = entries(200);
    for entries in [entries(5_000), small.split_off(small.len() - 3)] {
        let info = write(&disk, &entries);
        assert_eq!(sparse(&disk.read("1.warp").unwrap()), 0..0);
        Layer::open_in(&disk.root(), &info).unwrap().verify().unwrap();
        disk.remove("1.warp");
    }
    small.swap(7, 2_000);
    let info = write(&disk, &small);
    assert_eq!(sparse(&disk.read("1.warp").unwrap()), 0..0);
    let layer = Layer::open_in(&disk.root(), &info).unwrap();
    assert!(small.iter().all(|(key, hash, _)| layer.find(*hash, 0, key).unwrap().is_some()));
}

#[test]
fn one_that_lies_is_refused_by_verify_and_makes_nobody_panic() {
    let disk = SimDisk::new(1);
    let entries = entries(200);
    write(&disk, &entries);
    let bytes = disk.read("1.warp").unwrap();
    let sparse = sparse(&bytes);
    assert!(sparse.start.is_multiple_of(64) && sparse.start > 20 * BLOCK);
    let items = [sparse.start, sparse.start + 14 * 30, sparse.end - 14];
    for place in items.into_iter().flat_map(|item| item..item + 14) {
        for value in [0, 1, 0x80, 0xff] {
            let mut lying = bytes.clone();
            if std::mem::replace(&mut lying[place], value) == value {
                continue;
            }
            reseal(&mut lying);
            disk.write("1.warp", lying);
            let layer = Layer::open_file(&disk.root(), 1, &LayerAccess::Map).unwrap();
            for (key, hash, _) in entries.iter().step_by(50) {
                let _ = layer.get(*hash, 0, key);
                let _ = layer.prefetch_entry(*hash);
                layer.prefetch(*hash);
            }
            let refused = layer.verify();
            assert!(
                matches!(&refused, Err(Error::Corrupt { found: Corruption::OutOfOrder, .. })),
                "byte {place} = {value}: {refused:?}"
            );
        }
    }
    // One item less, and half of one.
    for less in [14, 7] {
        let mut shorter = bytes.clone();
        let length = u64::try_from(sparse.len() - less).unwrap();
        let place = bytes.len() - 24 - 144 + 128;
        shorter[place..place + 8].copy_from_slice(&length.to_le_bytes());
        reseal(&mut shorter);
        disk.write("1.warp", shorter);
        let opened = Layer::open_file(&disk.root(), 1, &LayerAccess::Map);
        assert_eq!(opened.is_ok(), less == 14);
        assert!(matches!(opened.and_then(|layer| layer.verify()), Err(Error::Corrupt { .. })));
    }
}
