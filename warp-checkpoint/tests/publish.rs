//! Whatever interrupts the writing, publishing and removing of checkpoints, an open finds one of them whole.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{entry, write_layer};
use warp_checkpoint::{
    Corruption, Error, Layer, LayerInfo, LayerOptions, LayerWriter, Manifest, Published, hash, layer_name,
    list, manifest_name, merge, newest, obsolete, publish, remove,
};
use warp_io::{Dir, Fault, OpKind, SimDisk, Survival};

/// What a step of the story returns when it fails.
type Failure = Box<dyn std::error::Error>;

/// Seeds of what survives, for each point of a crash.
const SURVIVALS: u64 = 8;

fn subdir(disk: &SimDisk) -> std::sync::Arc<dyn Dir> {
    disk.root().subdir("layers", true).unwrap()
}

fn value(checkpoint: u64) -> Vec<u8> {
    checkpoint.to_le_bytes().repeat(600) // more than a block, and compressible
}

fn manifest(number: u64, replay_from: u64, layers: Vec<LayerInfo>) -> Manifest {
    let highest = layers.iter().map(|info| info.seq_max).max().unwrap_or(0);
    Manifest { number, replay_from, highest, layers, next_layer: number + 1, ..Manifest::default() }
}

/// Takes checkpoint `number`: a layer with one key of its own and one that each checkpoint writes anew.
fn checkpoint(dir: &dyn Dir, layers: &dyn Dir, number: u64) -> Result<(), Failure> {
    let mut infos = newest(dir, layers)?.map(|opened| opened.manifest.layers).unwrap_or_default();
    let (own, value) = (format!("own {number}"), value(number));
    let entries =
        [entry(own.as_bytes(), number * 10, Some(&value)), entry(b"all", number * 10 + 1, Some(&value))];
    infos.insert(0, write_layer(layers, number, &entries)?);
    publish(dir, &manifest(number, number * 10 + 2, infos))?;
    Ok(())
}

/// Merges all layers into one, as manifest `number`, at the same point of the log.
fn merge_all(dir: &dyn Dir, layers: &dyn Dir, number: u64) -> Result<(), Failure> {
    let opened = newest(dir, layers)?.expect("there is a checkpoint to merge");
    let mut writer = LayerWriter::create_in(layers, number, &LayerOptions::default())?;
    merge(&opened.layers.iter().collect::<Vec<_>>(), &mut writer, |_| true)?;
    let info = writer.finish()?;
    layers.sync_dir()?;
    publish(dir, &manifest(number, opened.manifest.replay_from, vec![info]))?;
    Ok(())
}

/// The story: two checkpoints, a merge, a third checkpoint, after each of which what is not needed is removed.
/// Calls `done` after each publishing.
fn story(disk: &SimDisk, mut done: impl FnMut(u64)) -> Result<(), Failure> {
    let (dir, layers) = (disk.root(), disk.root().subdir("layers", true)?);
    dir.sync_dir()?;
    for number in 1..=4 {
        if number == 3 {
            merge_all(&dir, &*layers, number)?;
        } else {
            checkpoint(&dir, &*layers, number)?;
        }
        done(number);
        remove(&dir, &*layers, &obsolete(&dir, &*layers, 1)?)?;
    }
    Ok(())
}

/// Opens the disk and reads all of it; returns the number of the checkpoint that is there, 0 for none.
fn whole_checkpoint(disk: &SimDisk) -> u64 {
    let Ok(layers) = disk.root().subdir("layers", false) else {
        assert_eq!(list(&disk.root()).unwrap(), [0; 0], "a manifest without a directory of layers");
        return 0;
    };
    let Some(opened) = newest(&disk.root(), &*layers).unwrap() else { return 0 };
    assert!(opened.rejected.is_empty(), "{:?}", opened.rejected);
    for layer in &opened.layers {
        layer.verify().unwrap();
    }
    for number in list(&disk.root()).unwrap() {
        for info in warp_checkpoint::load(&disk.root(), number).unwrap().layers {
            Layer::open_in(&*layers, &info).unwrap_or_else(|error| panic!("of manifest {number}: {error}"));
        }
    }
    let number = opened.manifest.number;
    let get = |key: &[u8]| {
        let found = opened.layers.iter().find_map(|layer| layer.get(hash(key), 0, key).unwrap());
        found.map(|found| (found.seq, found.value.unwrap()))
    };
    // The third one is a merge, and has the content of the second.
    let latest = if number == 3 { 2 } else { number };
    assert_eq!(get(b"all"), Some((latest * 10 + 1, value(latest).into())));
    for own in 1..=4 {
        let expected = (own <= number && own != 3).then(|| (own * 10, value(own).into()));
        assert_eq!(get(format!("own {own}").as_bytes()), expected, "own {own} at {number}");
    }
    number
}

/// What an opening does next: removes what the crash left, and takes another checkpoint.
fn check_life_goes_on(disk: &SimDisk, found: u64) {
    let layers = subdir(disk);
    let from = remove(&disk.root(), &*layers, &obsolete(&disk.root(), &*layers, 1).unwrap()).unwrap();
    if found > 0 {
        let opened = newest(&disk.root(), &*layers).unwrap().unwrap();
        assert_eq!((opened.manifest.number, opened.manifest.replay_from), (found, from));
    }
    let mut expected: Vec<String> = Vec::new();
    for number in list(&disk.root()).unwrap() {
        expected.push(manifest_name(number));
        for info in warp_checkpoint::load(&disk.root(), number).unwrap().layers {
            expected.push(format!("layers/{}", layer_name(info.id)));
        }
    }
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(disk.files(), expected, "every file is used or removed");
    checkpoint(&disk.root(), &*layers, found + 10).unwrap();
    let opened = newest(&disk.root(), &*layers).unwrap().unwrap();
    assert_eq!(opened.manifest.number, found + 10);
}

#[test]
fn a_crash_at_any_operation_leaves_one_checkpoint_whole() {
    let disk = SimDisk::new(1);
    disk.record();
    let mut published = Vec::new();
    story(&disk, |number| published.push((disk.operations(), number))).unwrap();
    assert_eq!(published.len(), 4);
    let mut seen = [0; 5];
    for point in disk.crash_points() {
        let acknowledged =
            published.iter().filter(|&&(at, _)| at <= point).map(|&(_, n)| n).max().unwrap_or(0);
        for seed in 0..SURVIVALS {
            let image = disk.image_at(point, Survival::seeded(seed));
            let found = whole_checkpoint(&image);
            assert!(
                found == acknowledged || found == acknowledged + 1,
                "crash at {point}, seed {seed}: found {found} after {acknowledged} was acknowledged"
            );
            seen[usize::try_from(found).unwrap()] += 1;
            check_life_goes_on(&image, found);
        }
    }
    assert!(seen.iter().all(|&times| times > 0), "{seen:?}");
}

#[test]
fn a_failing_operation_is_an_error_and_never_half_a_checkpoint() {
    let clean = SimDisk::new(1);
    story(&clean, |_| {}).unwrap();
    let mut outcomes = [0; 2];
    for fault in [Fault::Eio, Fault::NoSpace, Fault::SyncLost, Fault::Short, Fault::Interrupted] {
        for operation in 0..clean.operations() {
            for sticky in [false, true] {
                let disk = SimDisk::new(1);
                disk.inject(operation, fault, sticky);
                let mut acknowledged = 0;
                let outcome = story(&disk, |number| acknowledged = number);
                outcomes[usize::from(outcome.is_ok())] += 1;
                disk.clear_faults();
                for image in [disk.crash(Survival::Everything), disk.crash(Survival::Nothing)] {
                    let found = whole_checkpoint(&image);
                    let place = format!("{fault:?} at {operation}, sticky {sticky}: {outcome:?}");
                    assert!(found == acknowledged || found == acknowledged + 1, "{place}: found {found}");
                    if outcome.is_ok() {
                        assert_eq!(found, 4, "{place}");
                    }
                    check_life_goes_on(&image, found);
                }
            }
        }
    }
    assert!(outcomes[0] > 100 && outcomes[1] > 100, "{outcomes:?}");
}

#[test]
fn a_failed_publishing_says_whether_it_may_have_happened() {
    for (kind, expected) in [
        (OpKind::CreateNew, Published::No),
        (OpKind::WriteAt, Published::No),
        (OpKind::SyncData, Published::No),
        (OpKind::ReadAt, Published::No),
        (OpKind::Rename, Published::Unknown),
        (OpKind::SyncDir, Published::Unknown),
    ] {
        let disk = SimDisk::new(1);
        publish(&disk.root(), &manifest(1, 10, Vec::new())).unwrap();
        disk.inject_when(move |operation| (operation.kind == kind).then_some(Fault::Eio));
        let error = publish(&disk.root(), &manifest(2, 20, Vec::new())).unwrap_err();
        assert_eq!((error.number, error.published), (2, expected), "{kind:?}");
        disk.clear_faults();
        if expected == Published::No {
            assert_eq!(disk.files(), ["MANIFEST-1"], "{kind:?}");
            publish(&disk.root(), &manifest(2, 20, Vec::new())).unwrap();
        }
    }
}

#[test]
fn a_published_manifest_is_never_replaced() {
    let disk = SimDisk::new(1);
    publish(&disk.root(), &manifest(5, 10, Vec::new())).unwrap();
    for number in [4, 5] {
        let error = publish(&disk.root(), &manifest(number, 20, Vec::new())).unwrap_err();
        assert_eq!(error.published, Published::No);
        assert!(matches!(error.source, Error::NotNewer { newest: 5, .. }), "{error:?}");
    }
    assert_eq!(warp_checkpoint::load(&disk.root(), 5).unwrap().replay_from, 10);
}

#[test]
fn a_damaged_or_missing_part_leads_to_the_checkpoint_before() {
    let damages: [fn(&SimDisk); 6] = [
        |disk| disk.flip_bit("MANIFEST-2", 300),
        |disk| disk.flip_bit("layers/2.warp", 8 * 8), // header
        |disk| disk.flip_bit("layers/2.warp", (disk.read("layers/2.warp").unwrap().len() as u64 - 100) * 8), // footer
        |disk| disk.flip_bit("layers/2.warp", 200 * 8), // the block that holds the directory
        |disk| disk.remove("layers/2.warp"),
        |disk| {
            disk.inject_when(|operation| (operation.path.contains("MANIFEST-2")).then_some(Fault::Eio));
        },
    ];
    for (case, damage) in damages.into_iter().enumerate() {
        let disk = SimDisk::new(1);
        let layers = subdir(&disk);
        checkpoint(&disk.root(), &*layers, 1).unwrap();
        checkpoint(&disk.root(), &*layers, 2).unwrap();
        damage(&disk);
        let opened = newest(&disk.root(), &*layers).unwrap().unwrap();
        assert_eq!(opened.manifest.number, 1, "case {case}");
        assert_eq!(opened.rejected.iter().map(|rejected| rejected.number).collect::<Vec<_>>(), [2]);
        disk.clear_faults();
        disk.flip_bit("MANIFEST-1", 300);
        if case < 5 {
            match newest(&disk.root(), &*layers) {
                Err(Error::NoUsableManifest { rejected }) => assert_eq!(rejected.len(), 2),
                other => panic!("case {case}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_is_not_damage_does_not_lead_to_an_older_checkpoint() {
    let disk = SimDisk::new(1);
    let layers = subdir(&disk);
    checkpoint(&disk.root(), &*layers, 1).unwrap();
    checkpoint(&disk.root(), &*layers, 2).unwrap();
    // No more open files, say: the checkpoint is there all the same.
    disk.inject_when(|operation| (operation.kind == OpKind::Map).then_some(Fault::NoSpace));
    assert!(matches!(newest(&disk.root(), &*layers), Err(Error::Io { .. })));
    disk.clear_faults();
    assert_eq!(newest(&disk.root(), &*layers).unwrap().unwrap().manifest.number, 2);
}

#[test]
fn damage_in_a_data_block_is_not_an_older_value() {
    let disk = SimDisk::new(1);
    let layers = subdir(&disk);
    let noise: Vec<u8> = (0..2500u32).flat_map(|n| hash(&n.to_le_bytes()).to_le_bytes()).collect();
    let infos = [1, 2].map(|id| {
        let entries = [entry(b"first", id * 10, Some(b"here")), entry(b"large", id * 10 + 1, Some(&noise))];
        write_layer(&*layers, id, &entries).unwrap()
    });
    publish(&disk.root(), &manifest(1, 30, vec![infos[1], infos[0]])).unwrap();
    disk.flip_bit("layers/2.warp", 9000 * 8);
    let opened = newest(&disk.root(), &*layers).unwrap().unwrap();
    assert!(opened.rejected.is_empty(), "opening reads no data block");
    let layer = &opened.layers[0];
    assert_eq!(layer.get(hash(b"first"), 0, b"first").unwrap().unwrap().seq, 20);
    let error = layer.get(hash(b"large"), 0, b"large").unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { file, offset: 8192, found: Corruption::BadChecksum { .. } } if file == "2.warp"),
        "{error:?}"
    );
}

/// Publishes manifests with these points of the log, numbered from 1 on; manifest n names the empty layer n.
fn published(points: &[u64]) -> SimDisk {
    let disk = SimDisk::new(1);
    let layers = subdir(&disk);
    for (number, &point) in (1..).zip(points) {
        let info = write_layer(&*layers, number, &[]).unwrap();
        publish(&disk.root(), &manifest(number, point, vec![info])).unwrap();
    }
    disk
}

#[test]
fn retention_counts_points_of_the_log() {
    //                       checkpoint, checkpoint, its merge, checkpoint, its merge, checkpoint
    let disk = published(&[10, 20, 20, 30, 30, 40]);
    let layers = subdir(&disk);
    let found = |kept| {
        let found = obsolete(&disk.root(), &*layers, kept).unwrap();
        assert_eq!(found.manifests, found.layers, "manifest n is the one that names layer n");
        (found.manifests, found.log_from)
    };
    assert_eq!(found(9), (vec![], 10));
    assert_eq!(found(4), (vec![], 10));
    assert_eq!(found(3), (vec![1], 20));
    assert_eq!(found(2), (vec![1, 2, 3], 30));
    assert_eq!(found(1), (vec![1, 2, 3, 4, 5], 40));
    assert_eq!(found(0), found(1), "the newest checkpoint always stays");
    assert_eq!(remove(&disk.root(), &*layers, &obsolete(&disk.root(), &*layers, 2).unwrap()).unwrap(), 30);
    assert_eq!(list(&disk.root()).unwrap(), [4, 5, 6]);
    assert_eq!(disk.crash(Survival::Nothing).files(), disk.files(), "what was removed does not come back");
    assert!(obsolete(&disk.root(), &*layers, 2).unwrap().is_empty());
}

#[test]
fn what_cannot_be_read_keeps_every_layer() {
    let disk = published(&[10, 20, 30, 40]);
    let layers = subdir(&disk);
    disk.flip_bit("MANIFEST-3", 99);
    let found = obsolete(&disk.root(), &*layers, 2).unwrap();
    assert_eq!((found.manifests, found.layers, found.log_from), (vec![1], vec![], 20));
    // Once it is older than all that are kept, it goes like any other.
    let info = write_layer(&*layers, 5, &[]).unwrap();
    publish(&disk.root(), &manifest(5, 50, vec![info])).unwrap();
    let found = obsolete(&disk.root(), &*layers, 2).unwrap();
    assert_eq!((found.manifests, found.layers, found.log_from), (vec![1, 2, 3], vec![1, 2, 3], 40));

    for number in [1, 2, 4, 5] {
        disk.flip_bit(&manifest_name(number), 99);
    }
    let found = obsolete(&disk.root(), &*layers, 1).unwrap();
    assert!(found.is_empty() && found.log_from == 0, "{found:?}");
}

#[test]
fn what_cannot_be_opened_for_the_moment_is_not_taken_for_damage() {
    let disk = published(&[10, 20, 30, 40]);
    let layers = subdir(&disk);
    disk.inject_when(|op| {
        (op.kind == OpKind::Open && op.path.ends_with("MANIFEST-2")).then_some(Fault::NoHandle)
    });
    assert!(matches!(obsolete(&disk.root(), &*layers, 3), Err(Error::Io { .. })));
    disk.clear_faults();
    assert_eq!(obsolete(&disk.root(), &*layers, 3).unwrap().manifests, [1]);
}

#[test]
fn without_a_manifest_only_leftovers_are_there() {
    let disk = SimDisk::new(1);
    let layers = subdir(&disk);
    assert!(newest(&disk.root(), &*layers).unwrap().is_none());
    for name in ["MANIFEST-1.tmp", "notes.tmp", "layers/3.warp", "layers/readme"] {
        disk.write(name, b"left over".to_vec());
    }
    let found = obsolete(&disk.root(), &*layers, 3).unwrap();
    assert_eq!((&found.temporary[..], &found.layers[..]), (&["MANIFEST-1.tmp".to_owned()][..], &[3][..]));
    assert_eq!(warp_checkpoint::layer_ids(&*layers).unwrap(), [3]);
    assert_eq!(remove(&disk.root(), &*layers, &found).unwrap(), 0);
    assert_eq!(disk.files(), ["layers/readme", "notes.tmp"], "foreign files stay");
}

#[test]
fn an_open_layer_outlives_its_name() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = warp_io::OsDir::open(scratch.path(), false).unwrap();
    let info = write_layer(&dir, 1, &[entry(b"k", 1, Some(b"v"))]).unwrap();
    let layer = Layer::open_in(&dir, &info).unwrap();
    dir.remove(&layer_name(1)).unwrap();
    assert_eq!(layer.get(hash(b"k"), 0, b"k").unwrap().unwrap().value.as_deref(), Some(b"v".as_slice()));
    layer.verify().unwrap();
}
