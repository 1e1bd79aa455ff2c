//! Layers that are read block by block: what the disk cannot give is an error of the call, with file and place.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warp_checkpoint::{
    BlockCache, Corruption, Error, Layer, LayerAccess, LayerInfo, LayerOptions, LayerWriter, hash,
};
use warp_io::{Fault, OpKind, SimDisk};

const NAME: &str = "1.warp";
const ENTRIES: u64 = 2_000;

fn key(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

fn value(number: u64) -> Vec<u8> {
    // Mostly short ones, and some that lie in several blocks.
    let bytes = if number.is_multiple_of(500) { 60_000 } else { 100 };
    hash(&key(number)).to_le_bytes().into_iter().cycle().take(bytes).collect()
}

fn layer(disk: &SimDisk) -> LayerInfo {
    let mut writer = LayerWriter::create_in(&disk.root(), 1, &LayerOptions { compress_from: None }).unwrap();
    for number in 0..ENTRIES {
        writer.add(&common::entry(&key(number), number, Some(&value(number)))).unwrap();
    }
    writer.finish_with(&LayerAccess::Read(BlockCache::new(0)), &mut |_| true).unwrap()
}

fn read_through(cache: &BlockCache) -> LayerAccess {
    LayerAccess::Read(cache.clone())
}

#[test]
fn entries_lie_one_behind_the_other_as_they_were_added() {
    let disk = SimDisk::new(1);
    let info = layer(&disk);
    for access in common::accesses() {
        let layer = Layer::open_with(&disk.root(), &info, &access).unwrap();
        let mut entry = layer.find(hash(&key(0)), 0, &key(0)).unwrap().unwrap();
        for number in 1..ENTRIES {
            assert!(
                entry.behind(entry.block_end() - common::BLOCK as u64, |_, key| hash(key)).unwrap().is_none()
            );
            entry = entry.behind(entry.block_end(), |_, key| hash(key)).unwrap().unwrap();
            assert_eq!((&*entry.key, entry.hash), (&key(number)[..], hash(&key(number))));
            assert_eq!((entry.seq, entry.value().unwrap().unwrap()), (number, value(number).into()));
        }
        assert!(entry.behind(u64::MAX, |_, key| hash(key)).unwrap().is_none());
    }
}

#[test]
fn a_failing_disk_is_an_error_with_its_place_and_the_rest_can_be_read() {
    let disk = SimDisk::new(1);
    let info = layer(&disk);
    let layer = Layer::open_with(&disk.root(), &info, &read_through(&BlockCache::new(0))).unwrap();
    disk.inject_when(|op| {
        let strikes = op.kind == OpKind::ReadAt && op.offset <= 65_536 && 65_536 < op.offset + op.bytes;
        strikes.then_some(Fault::Eio)
    });
    let mut failed = 0;
    for number in 0..ENTRIES {
        match layer.get(hash(&key(number)), 0, &key(number)) {
            Ok(found) => assert_eq!(found.unwrap().value.unwrap(), value(number)),
            Err(error) => {
                assert!(
                    matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(5)),
                    "{error:?}"
                );
                assert_eq!(error.file(), Some(NAME));
                // A value that lies in several blocks is read at once, from its first block on.
                assert!(error.offset().is_some_and(|offset| offset <= 65_536), "{error:?}");
                failed += 1;
            }
        }
    }
    assert!((1..100).contains(&failed), "{failed}");
    let error = layer.verify().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    disk.clear_faults();
    layer.verify().unwrap();
}

#[test]
fn a_file_that_is_cut_while_it_is_open_is_damaged() {
    let disk = SimDisk::new(1);
    let info = layer(&disk);
    let layer = Layer::open_with(&disk.root(), &info, &read_through(&BlockCache::new(0))).unwrap();
    let file = warp_io::Dir::open(&disk.root(), NAME, true).unwrap();
    file.truncate(info.bytes / 2).unwrap();
    let answers: Vec<_> = (0..ENTRIES).map(|n| layer.get(hash(&key(n)), 0, &key(n))).collect();
    // The index is behind the data, so that nothing can be found any more.
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { found: Corruption::LengthOutOfRange { limit, .. }, .. } if *limit == info.bytes / 2),
            "{error:?}"
        );
    }
    assert!(layer.verify().is_err());
}

#[test]
fn nothing_is_mapped_and_what_is_in_the_cache_is_not_read_again() {
    let disk = SimDisk::new(1);
    let maps = Arc::new(AtomicU64::new(0));
    let reads = Arc::new(AtomicU64::new(0));
    let counters = (Arc::clone(&maps), Arc::clone(&reads));
    disk.inject_when(move |op| {
        counters.0.fetch_add(u64::from(op.kind == OpKind::Map), Ordering::Relaxed);
        counters.1.fetch_add(u64::from(op.kind == OpKind::ReadAt), Ordering::Relaxed);
        None
    });
    let info = layer(&disk);
    let cache = BlockCache::new(8 << 20);
    let layer = Layer::open_with(&disk.root(), &info, &read_through(&cache)).unwrap();
    let short = (0..ENTRIES).filter(|number| !number.is_multiple_of(500));
    let read_all = || {
        for number in short.clone() {
            let found = layer.get(hash(&key(number)), 0, &key(number)).unwrap().unwrap();
            assert_eq!(found.value.unwrap(), value(number));
        }
        reads.load(Ordering::Relaxed)
    };
    let (first, second) = (read_all(), read_all());
    assert_eq!(first, second);
    assert_eq!(maps.load(Ordering::Relaxed), 0);
    assert!(cache.bytes() > 100 << 10, "{}", cache.bytes());
}
