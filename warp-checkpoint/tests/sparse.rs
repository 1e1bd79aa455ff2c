//! Lookups by the sparse index find what is there, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::HashMap;

use common::{BLOCK, reseal};
use warp_checkpoint::{Corruption, Error, Layer, LayerAccess, LayerEntry, LayerInfo, Salvage, hash};
use warp_io::SimDisk;

/// The key, the hash and the value of an entry.
type Owned = (Vec<u8>, u64, Vec<u8>);

/// Entries of many lengths in the order of their hashes; hundreds in the middle have one hash, and fill several blocks.
fn entries(longest: usize) -> Vec<Owned> {
    let mut entries: Vec<Owned> = (0..4_000_u32)
        .map(|n| {
            let key = format!("{n:x}").into_bytes();
            let own = hash(&key);
            let length = usize::try_from(own >> 32).unwrap() % longest;
            // Not to be compressed.
            let noise =
                (0..length.div_ceil(8)).flat_map(|i| hash(format!("{n} {i}").as_bytes()).to_le_bytes());
            let hash = if n % 16 == 0 { u64::MAX / 2 } else { own };
            (key, hash, noise.take(length).collect())
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

/// The number at a place in the footer.
fn footer(bytes: &[u8], place: usize) -> usize {
    let start = bytes.len() - 24 - 144 + place;
    usize::try_from(u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap())).unwrap()
}

/// Where the sparse index is, as the footer says.
fn sparse(bytes: &[u8]) -> std::ops::Range<usize> {
    footer(bytes, 120)..footer(bytes, 120) + footer(bytes, 128)
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
            layer.prefetch(*hash);
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

#[test]
fn one_over_entries_in_another_order_is_refused_by_verify() {
    const ENTRY: usize = 20 + 8 + 40;
    let disk = SimDisk::new(1);
    let mut entries: Vec<Owned> =
        (0..1_000_u64).map(|n| (n.to_le_bytes().to_vec(), hash(&n.to_le_bytes()), vec![7; 40])).collect();
    entries.sort_by_key(|(_, hash, _)| *hash);
    write(&disk, &entries);
    let mut bytes = disk.read("1.warp").unwrap();
    // The first two entries that begin in a block change their places, and the index and the sparse index say so: what is
    // second by its hash lies before the place from which it is looked for.
    let (index, sparse) = (footer(&bytes, 88), sparse(&bytes));
    let first = (3 * BLOCK - 32).div_ceil(ENTRY);
    let offset = 32 + first * ENTRY;
    bytes[offset..offset + 2 * ENTRY].rotate_left(ENTRY);
    let item = sparse.start + 14 * 3;
    assert_eq!(bytes[item..item + 14], bytes[index + first * 14..index + (first + 1) * 14]);
    let places = [offset + ENTRY, offset].map(|place| u64::try_from(place).unwrap().to_le_bytes());
    for (at, place) in [(index + first * 14, 0), (index + (first + 1) * 14, 1), (item, 0)] {
        bytes[at + 8..at + 14].copy_from_slice(&places[place][..6]);
    }
    reseal(&mut bytes);
    disk.write("1.warp", bytes);
    let layer = Layer::open_file(&disk.root(), 1, &LayerAccess::Map).unwrap();
    let (key, hash, _) = &entries[first + 1];
    assert!(layer.find(*hash, 0, key).unwrap().is_none(), "this is why");
    let refused = layer.verify();
    assert!(matches!(&refused, Err(Error::Corrupt { found: Corruption::OutOfOrder, .. })), "{refused:?}");
}

#[test]
fn damage_of_a_block_touches_the_keys_that_lie_in_it_alone() {
    let disk = SimDisk::new(1);
    let entries = entries(200);
    let info = write(&disk, &entries);
    let clean = disk.read("1.warp").unwrap();
    // The keys whose entries touch a block.
    let (mut offset, mut touched) = (32, Vec::new());
    for (key, _, value) in &entries {
        let end = offset + 20 + key.len() + value.len();
        touched.push(offset / BLOCK..=(end - 1) / BLOCK);
        offset = end;
    }
    for block in [3, 40] {
        let mut damaged = clean.clone();
        damaged[block * BLOCK + 100] ^= 1;
        disk.write("1.warp", damaged);
        let layer = Layer::open_in(&disk.root(), &info).unwrap();
        for ((key, hash, value), blocks) in entries.iter().zip(&touched) {
            // Those of the one hash are looked for in all blocks that have it.
            if *hash == u64::MAX / 2 {
                continue;
            }
            let found = layer.get(*hash, 0, key);
            if blocks.contains(&block) {
                assert!(matches!(found, Err(Error::Corrupt { .. })), "{blocks:?}");
            } else {
                // An entry of the block before may begin in the damaged one's first bytes, but never the other way round.
                assert_eq!(found.unwrap().unwrap().value.unwrap(), value, "{blocks:?}");
            }
        }
    }
}

#[test]
fn all_but_a_damaged_block_is_salvaged_without_the_footer() {
    let disk = SimDisk::new(1);
    let entries = entries(200);
    let info = write(&disk, &entries);
    let mut damaged = disk.read("1.warp").unwrap();
    let footer = damaged.len() - 24 - 144;
    damaged[footer + 60] ^= 1;
    damaged[7 * BLOCK + 10] ^= 1;
    disk.write("1.warp", damaged);
    let salvage = Salvage::open(&disk.root(), &info).unwrap();
    let hashes: HashMap<&[u8], u64> = entries.iter().map(|(key, hash, _)| (&key[..], *hash)).collect();
    let mut found = 0;
    let missing = salvage.read(
        |_, key| hashes.get(key).copied().unwrap_or(0),
        |entry| {
            let place = entries.iter().find(|(key, ..)| key == entry.key);
            assert_eq!(place.map(|(_, _, value)| &value[..]), entry.value);
            found += 1;
        },
    );
    assert_eq!((found + missing.entries.len(), missing.unknown), (entries.len(), 0));
    assert!((10..60).contains(&missing.entries.len()), "{}", missing.entries.len());
    for lost in &missing.entries {
        assert!(lost.hash.is_some_and(|hash| salvage.may_hold(hash)), "{lost:?}");
    }
    let wrong = (0..1_000_u64).filter(|n| salvage.may_hold(hash(&(n + 1_000_000).to_le_bytes()))).count();
    assert!(wrong < 50, "{wrong} of 1000 absent keys may be there");
}
