//! Layers and merges agree with ordered maps, also where hashes collide.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "looks at a file that is made by path, as a user would")]

mod common;

use std::collections::BTreeMap;

use common::write_layer;
use proptest::prelude::*;
use warp_checkpoint::{
    Error, Layer, LayerAccess, LayerEntry, LayerOptions, LayerWriter, Merge, Newer, hash, merge,
};
use warp_io::{Dir, SimDisk};

/// A version of a key: sequence number, deadline, value.
type Version = (u64, u64, Option<Vec<u8>>);
type Model = BTreeMap<(u32, Vec<u8>), Version>;

/// Ways to hash a key, from good to useless.
const HASHES: [fn(&[u8]) -> u64; 4] =
    [hash, |key| hash(key) & 0x7000_0000_0000_0001, |key| hash(key) >> 60, |_| u64::MAX];

fn keys() -> impl Strategy<Value = (u32, Vec<u8>)> {
    (0..3u32, prop_oneof![Just(vec![]), proptest::collection::vec(0..4u8, 1..4), Just(vec![7; 5000])])
}

fn values() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(vec![])),
        4 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        2 => (any::<u8>(), 256..9000usize).prop_map(|(byte, length)| Some(vec![byte; length])),
        1 => proptest::collection::vec(any::<u8>(), 4000..9000).prop_map(Some),
    ]
}

fn models() -> impl Strategy<Value = Model> {
    let deadlines = prop_oneof![Just(0), any::<u64>()];
    let seqs = prop_oneof![0..4u64, any::<u64>()];
    proptest::collection::btree_map(keys(), (seqs, deadlines, values()), 0..60)
}

fn entry<'a>(key: &'a (u32, Vec<u8>), version: &'a Version, hash: fn(&[u8]) -> u64) -> LayerEntry<'a> {
    let ((keyspace, key), (seq, deadline, value)) = (key, version);
    LayerEntry {
        hash: hash(key),
        keyspace: *keyspace,
        key,
        seq: *seq,
        deadline: *deadline,
        value: value.as_deref(),
    }
}

fn layer_of(dir: &dyn Dir, id: u64, model: &Model, hash: fn(&[u8]) -> u64) -> Layer {
    let entries: Vec<_> = model.iter().map(|(key, version)| entry(key, version, hash)).collect();
    let info = write_layer(dir, id, &entries).unwrap();
    // Three of four are read block by block.
    let accesses = common::accesses();
    Layer::open_with(dir, &info, &accesses[usize::try_from(id).unwrap() % accesses.len()]).unwrap()
}

/// Everything that a layer holds, read with `iter`, which must be in the order of the hashes.
fn contents(layer: &Layer) -> Model {
    let mut last = 0;
    let mut model = Model::new();
    for entry in layer {
        let entry = entry.unwrap();
        assert!(entry.hash >= last);
        last = entry.hash;
        let value = entry.value().unwrap().map(|value| value.to_vec());
        assert_eq!(value.as_ref().map_or(0, Vec::len), entry.value_bytes());
        let twice = model.insert((entry.keyspace, entry.key.to_vec()), (entry.seq, entry.deadline, value));
        assert_eq!(twice, None);
    }
    model
}

fn check_gets(layer: &Layer, model: &Model, universe: &Model, hash: fn(&[u8]) -> u64) {
    for (keyspace, key) in universe.keys() {
        let with_hash = layer.with_hash(hash(key)).unwrap();
        assert!(with_hash.iter().all(|entry| entry.hash == hash(key)));
        let is_there =
            |entry: &warp_checkpoint::LayerEntryRef<'_>| entry.keyspace == *keyspace && *entry.key == **key;
        assert_eq!(with_hash.iter().any(is_there), model.contains_key(&(*keyspace, key.clone())));
        let from = layer.iter_from(hash(key)).unwrap().map(|entry| entry.unwrap().hash);
        let later = layer.iter().map(|entry| entry.unwrap().hash).filter(|other| *other >= hash(key));
        assert!(from.eq(later));
        let found = layer.get(hash(key), *keyspace, key).unwrap();
        let found = found.map(|found| (found.seq, found.deadline, found.value.map(|value| value.to_vec())));
        assert_eq!(found.as_ref(), model.get(&(*keyspace, key.clone())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_holds_what_was_added(model in models(), others in models(), hash in 0..HASHES.len()) {
        let hash = HASHES[hash];
        let disk = SimDisk::new(1);
        let layer = layer_of(&disk.root(), 1, &model, hash);
        for access in common::accesses() {
            let layer = Layer::open_with(&disk.root(), layer.info(), &access).unwrap();
            prop_assert_eq!(&contents(&layer), &model);
            check_gets(&layer, &model, &model, hash);
            check_gets(&layer, &model, &others, hash);
            prop_assert_eq!(layer.verify().unwrap().entries, model.len() as u64);
        }

        let info = layer.info();
        prop_assert_eq!(info.entries, model.len() as u64);
        prop_assert_eq!(info.tombstones, model.values().filter(|version| version.2.is_none()).count() as u64);
        prop_assert_eq!(info.seq_min, model.values().map(|version| version.0).min().unwrap_or(0));
        prop_assert_eq!(info.seq_max, model.values().map(|version| version.0).max().unwrap_or(0));
        let raw: usize = model.values().filter_map(|version| version.2.as_ref()).map(Vec::len).sum();
        prop_assert_eq!(info.raw_value_bytes, raw as u64);
        prop_assert!(info.stored_value_bytes <= info.raw_value_bytes);
        prop_assert_eq!(*info, *Layer::open_file(&disk.root(), 1, &LayerAccess::Map).unwrap().info());
    }

    #[test]
    fn a_merge_keeps_the_highest_sequence(
        models in proptest::collection::vec(models(), 0..5),
        hash in 0..HASHES.len(),
        step in 1..50usize,
    ) {
        let hash = HASHES[hash];
        let disk = SimDisk::new(1);
        let mut expected = Model::new();
        for model in &models {
            for (key, version) in model {
                match expected.get(key) {
                    Some(older) if older.0 >= version.0 => {} // the first of the models is the newest
                    _ => { expected.insert(key.clone(), version.clone()); }
                }
            }
        }
        let layers: Vec<Layer> =
            models.iter().zip(10..).map(|(model, id)| layer_of(&disk.root(), id, model, hash)).collect();
        let inputs: Vec<&Layer> = layers.iter().collect();

        let mut writer = LayerWriter::create_in(&disk.root(), 1, &LayerOptions::default()).unwrap();
        let report = merge(&inputs, &mut writer, |_| true).unwrap();
        let merged = Layer::open_in(&disk.root(), &writer.finish().unwrap()).unwrap();
        prop_assert_eq!(&contents(&merged), &expected);
        prop_assert_eq!(report.read, models.iter().map(|model| model.len() as u64).sum::<u64>());
        prop_assert_eq!(report.written, expected.len() as u64);
        prop_assert_eq!(report.read, report.written + report.shadowed);

        // The newest as entries in memory, of which those of odd sequences say no more than that older ones are gone.
        if let Some((newest, older)) = models.split_first() {
            let mut writer = LayerWriter::create_in(&disk.root(), 3, &LayerOptions::default()).unwrap();
            let mut stepped = Merge::new(&inputs[1..]);
            let mut entries: Vec<Newer<'_>> = newest
                .iter()
                .map(|(key, version)| Newer {
                    entry: entry(key, version, hash),
                    raw_bytes: None,
                    is_kept: version.0 % 2 == 0,
                })
                .collect();
            entries.sort_by_key(|newer| newer.entry.hash);
            for of_hash in entries.chunk_by(|a, b| a.entry.hash == b.entry.hash) {
                let limit = Some(of_hash[0].entry.hash);
                while !stepped.step_below(limit, &mut writer, step, |_| true).unwrap() {}
                stepped.take_newer(of_hash, &mut writer, |_| true).unwrap();
            }
            while !stepped.step(&mut writer, step, |_| true).unwrap() {}
            let merged = Layer::open_in(&disk.root(), &writer.finish().unwrap()).unwrap();
            let mut rest = Model::new();
            for model in older {
                for (key, version) in model {
                    match rest.get(key) {
                        Some(older) if older.0 >= version.0 => {}
                        _ => { rest.insert(key.clone(), version.clone()); }
                    }
                }
            }
            rest.extend(newest.iter().map(|(key, version)| (key.clone(), version.clone())));
            rest.retain(|key, version| newest.get(key).is_none_or(|_| version.0 % 2 == 0));
            prop_assert_eq!(&contents(&merged), &rest);
        }

        // In steps, and without tombstones: these shadow what they deleted before they go.
        let mut writer = LayerWriter::create_in(&disk.root(), 2, &LayerOptions::default()).unwrap();
        let mut stepped = Merge::new(&inputs);
        while !stepped.step(&mut writer, step, |entry| !entry.is_tombstone()).unwrap() {}
        let merged = Layer::open_in(&disk.root(), &writer.finish().unwrap()).unwrap();
        let report = stepped.report();
        prop_assert_eq!(report.read, report.written + report.shadowed + report.dropped);
        expected.retain(|_, version| version.2.is_some());
        prop_assert_eq!(&contents(&merged), &expected);
    }
}

#[test]
fn a_large_layer_finds_every_key_and_no_other() {
    const ENTRIES: u64 = 70_000; // more than 16 for each of 4096 slots
    let disk = SimDisk::new(1);
    // A quarter of the keys share the upper bits of their hashes, so that guesses are wrong.
    let hash_of = |n: u64| {
        let even = hash(&n.to_le_bytes());
        if n.is_multiple_of(4) { even >> 20 | 0xabc << 52 } else { even }
    };
    let mut writer = LayerWriter::create_in(&disk.root(), 1, &LayerOptions::default()).unwrap();
    for n in 0..ENTRIES {
        let bytes = n.to_le_bytes();
        let entry = LayerEntry {
            hash: hash_of(n),
            keyspace: 0,
            key: &bytes,
            seq: n,
            deadline: 0,
            value: Some(&bytes),
        };
        writer.add(&entry).unwrap();
    }
    let info = writer.finish().unwrap();
    let layer = Layer::open_in(&disk.root(), &info).unwrap();
    for n in 0..ENTRIES {
        layer.prefetch(hash_of(n));
        layer.prefetch_hash(hash_of(n));
        let found = layer.get(hash_of(n), 0, &n.to_le_bytes()).unwrap().unwrap();
        assert_eq!((found.seq, found.value.as_deref()), (n, Some(n.to_le_bytes().as_slice())));
        let absent = ENTRIES + n;
        assert_eq!(layer.get(hash_of(absent), 0, &absent.to_le_bytes()).unwrap(), None);
    }
    assert_eq!(layer.iter().len() as u64, ENTRIES);
    assert_eq!(layer.verify().unwrap().entries, ENTRIES);
}

#[test]
fn threads_may_touch_a_block_first_at_the_same_time() {
    const ENTRIES: u64 = 2_000;
    let disk = SimDisk::new(1);
    let keys: Vec<[u8; 8]> = (0..ENTRIES).map(u64::to_le_bytes).collect();
    let entries: Vec<_> = keys.iter().zip(0..).map(|(key, seq)| common::entry(key, seq, Some(key))).collect();
    let info = write_layer(&disk.root(), 1, &entries).unwrap();
    for _ in 0..20 {
        let layer = Layer::open_in(&disk.root(), &info).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (key, seq) in keys.iter().zip(0..) {
                        let found = layer.get(hash(key), 0, key).unwrap().unwrap();
                        assert_eq!((found.seq, found.value.as_deref()), (seq, Some(key.as_slice())));
                    }
                });
            }
        });
    }
}

#[test]
fn a_key_that_is_added_twice_is_noticed() {
    let disk = SimDisk::new(1);
    for hash in HASHES {
        let add = |keys: &[(u32, &[u8])]| {
            let mut writer = LayerWriter::create_in(&disk.root(), 1, &LayerOptions::default()).unwrap();
            for &(keyspace, key) in keys {
                let entry = LayerEntry { hash: hash(key), keyspace, key, seq: 1, deadline: 0, value: None };
                writer.add(&entry).unwrap();
            }
            writer.finish()
        };
        let twice = add(&[(0, b"a"), (0, b"b"), (1, b"a"), (2, b"a"), (1, b"a")]);
        assert!(
            matches!(twice, Err(Error::DuplicateKey { hash: found, .. }) if found == hash(b"a")),
            "{twice:?}"
        );
        assert_eq!(disk.files(), [""; 0], "a layer that was not finished is removed");
        add(&[(0, b"a"), (0, b"b"), (1, b"a"), (2, b"a")]).unwrap();
        disk.root().remove("1.warp").unwrap();
    }
}

#[test]
fn limits_leave_the_writer_as_it_was() {
    let disk = SimDisk::new(1);
    let mut writer = LayerWriter::create_in(&disk.root(), 1, &LayerOptions { compress_from: None }).unwrap();
    let too_long = vec![0; warp_checkpoint::KEY_BYTES_MAX + 1];
    let key = &too_long[1..];
    assert!(matches!(
        writer.add(&common::entry(&too_long, 1, None)),
        Err(Error::KeyTooLong { bytes: 65_601 })
    ));
    writer.add(&common::entry(key, 1, Some(b"v"))).unwrap();
    let info = writer.finish().unwrap();
    assert_eq!(info.entries, 1);
    let layer = Layer::open_in(&disk.root(), &info).unwrap();
    assert_eq!(layer.get(hash(key), 0, key).unwrap().unwrap().value.as_deref(), Some(b"v".as_slice()));
}

#[test]
fn values_outlive_the_layer_and_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("17.warp");
    let mut writer = LayerWriter::create(&path, &LayerOptions::default()).unwrap();
    assert!(!path.exists());
    writer.add(&common::entry(b"k", 1, Some(b"value"))).unwrap();
    writer.finish().unwrap();
    let layer = Layer::open(&path).unwrap();
    assert_eq!(layer.id(), 17);
    let value = layer.get(hash(b"k"), 0, b"k").unwrap().unwrap().value.unwrap();
    assert!(layer.get(hash(b"k"), 0, b"k").unwrap().unwrap().value.unwrap().as_ptr() == value.as_ptr());

    // The file is replaced in one step, and who has it open sees no change.
    LayerWriter::create(&path, &LayerOptions::default()).unwrap().finish().unwrap();
    assert!(layer.get(hash(b"k"), 0, b"k").unwrap().is_some());
    assert_eq!(Layer::open(&path).unwrap().info().entries, 0);
    drop(layer);
    assert_eq!(value, b"value".as_slice());
}
