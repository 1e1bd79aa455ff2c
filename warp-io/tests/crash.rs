//! What a power loss leaves on the simulated disk.

use std::collections::BTreeSet;

use warp_io::{Dir, Fault, SimDisk, Survival};

/// All survivals of a small seed range: the named ones, and enough of the seeded ones to see every kind.
fn survivals() -> impl Iterator<Item = Survival> {
    (0..400).map(Survival::seeded)
}

/// Every state that a power loss now can leave of one file.
fn outcomes(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    survivals().map(|survival| disk.crash(survival).read(path)).collect()
}

#[track_caller]
fn only_survivor(disk: &SimDisk, path: &str, expected: Option<&[u8]>) {
    let outcomes: Vec<_> = outcomes(disk, path).into_iter().collect();
    assert_eq!(outcomes, [expected.map(<[u8]>::to_vec)]);
}

/// A disk with the durable file `a`.
fn disk_with(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(0);
    disk.write("a", bytes.to_vec());
    disk
}

#[test]
fn what_was_synced_stays() {
    let disk = SimDisk::new(0);
    let file = disk.root().create_new("a").unwrap();
    file.append(b"bytes").unwrap();
    file.sync_data().unwrap();
    disk.root().sync_dir().unwrap();
    only_survivor(&disk, "a", Some(b"bytes"));
}

#[test]
fn a_forgotten_file_sync_loses_bytes() {
    let disk = SimDisk::new(0);
    let file = disk.root().create_new("a").unwrap();
    file.append(b"ab").unwrap();
    disk.root().sync_dir().unwrap();
    assert_eq!(disk.crash(Survival::Nothing).read("a").unwrap(), b"");
    assert_eq!(disk.crash(Survival::Everything).read("a").unwrap(), b"ab");
    let outcomes = outcomes(&disk, "a");
    assert!(outcomes.contains(&Some(b"a".to_vec())), "torn: {outcomes:?}");
    assert!(outcomes.contains(&Some(b"a\0".to_vec())), "torn, and the length came through: {outcomes:?}");
    assert!(outcomes.contains(&Some(b"\0\0".to_vec())), "only the length came through: {outcomes:?}");
    assert!(
        outcomes.iter().flatten().any(|bytes| bytes.len() == 2 && bytes[1] > b'b'),
        "noise: {outcomes:?}"
    );
}

#[test]
fn a_forgotten_directory_sync_loses_the_name() {
    let disk = SimDisk::new(0);
    let file = disk.root().create_new("a").unwrap();
    file.append(b"bytes").unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.crash(Survival::Nothing).files(), [""; 0]);
    let expected = BTreeSet::from([None, Some(b"bytes".to_vec())]);
    assert_eq!(outcomes(&disk, "a"), expected, "with its name come all bytes");
}

#[test]
fn an_unsynced_rename_leaves_one_of_both_names() {
    let disk = disk_with(b"new");
    disk.write("b", b"old".to_vec());
    disk.root().rename("a", "b").unwrap();
    let states: BTreeSet<_> = survivals()
        .map(|survival| disk.crash(survival))
        .map(|left| (left.read("a"), left.read("b").unwrap()))
        .collect();
    let before = (Some(b"new".to_vec()), b"old".to_vec());
    let after = (None, b"new".to_vec());
    assert_eq!(states, BTreeSet::from([before, after]));
    disk.root().sync_dir().unwrap();
    only_survivor(&disk, "b", Some(b"new"));
    only_survivor(&disk, "a", None);
}

#[test]
fn a_file_that_moved_twice_has_one_name() {
    let disk = disk_with(b"bytes");
    disk.root().rename("a", "b").unwrap();
    disk.root().rename("b", "c").unwrap();
    let names: BTreeSet<_> = survivals().map(|survival| disk.crash(survival).files()).collect();
    let expected = ["a", "b", "c"].map(|name| vec![name.to_owned()]);
    assert_eq!(names, BTreeSet::from(expected));
}

#[test]
fn a_removed_file_may_come_back_until_the_directory_is_synced() {
    let disk = disk_with(b"bytes");
    disk.root().remove("a").unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None, Some(b"bytes".to_vec())]));
    disk.root().sync_dir().unwrap();
    only_survivor(&disk, "a", None);
}

#[test]
fn a_directory_whose_name_is_lost_takes_its_files_along() {
    let disk = SimDisk::new(0);
    let wal = disk.root().subdir("wal", true).unwrap();
    let file = wal.create_new("1.log").unwrap();
    file.append(b"bytes").unwrap();
    file.sync_data().unwrap();
    wal.sync_dir().unwrap();
    let left = disk.crash(Survival::Nothing);
    assert_eq!(left.read("wal/1.log"), None);
    assert!(left.root().subdir("wal", false).is_err());
    disk.root().sync_dir().unwrap();
    only_survivor(&disk, "wal/1.log", Some(b"bytes"));
}

#[test]
fn large_writes_tear_at_sector_edges() {
    let disk = disk_with(b"");
    let file = disk.root().open("a", true).unwrap();
    file.write_at(0, &[1; 200]).unwrap();
    file.sync_data().unwrap();
    file.write_at(200, &[2; 2000]).unwrap();
    let mut lengths = BTreeSet::new();
    for bytes in outcomes(&disk, "a").into_iter().flatten() {
        assert!(bytes.starts_with(&[1; 200]), "synced bytes changed");
        let edges: Vec<usize> = (200..bytes.len())
            .filter(|at| at % 512 != 0 && *at > 200)
            .filter(|at| (bytes[at - 1] == 2) != (bytes[*at] == 2))
            // Noise may hold a 2 anywhere; two of them beside each other show that it is the write.
            .filter(|at| bytes[at - 1] == 2 && bytes[at.saturating_sub(2)] == 2)
            .collect();
        assert!(edges.is_empty(), "torn at {edges:?}");
        lengths.insert(bytes.len());
    }
    assert_eq!(lengths, BTreeSet::from([200, 512, 1024, 1536, 2048, 2200]));
}

#[test]
fn sectors_of_one_write_may_survive_out_of_order() {
    let disk = disk_with(&[0; 4096]);
    disk.root().open("a", true).unwrap().write_at(0, &[2; 4096]).unwrap();
    let reordered = |bytes: &Vec<u8>| bytes[..512] == [0; 512] && bytes[3584..] == [2; 512];
    assert!(outcomes(&disk, "a").iter().flatten().any(reordered));
}

#[test]
fn stale_bytes_of_the_file_may_stand_where_data_is_missing() {
    let disk = disk_with(&[7; 640]);
    disk.root().open("a", true).unwrap().append(&[2; 512]).unwrap();
    let stale = |bytes: &Vec<u8>| bytes.len() == 1152 && bytes[640..704] == [7; 64];
    assert!(outcomes(&disk, "a").iter().flatten().any(stale));
}

#[test]
fn overwritten_bytes_are_old_or_new() {
    let disk = disk_with(b"xxxx");
    disk.root().open("a", true).unwrap().write_at(0, b"yyyy").unwrap();
    for bytes in outcomes(&disk, "a").into_iter().flatten() {
        let torn = [&b"xxxx"[..], b"yxxx", b"yyxx", b"yyyx", b"yyyy"];
        assert!(torn.contains(&&bytes[..]), "{bytes:?}");
    }
    assert_eq!(outcomes(&disk, "a").len(), 5);
}

#[test]
fn a_prefix_never_keeps_a_later_operation_without_an_earlier_one() {
    let disk = disk_with(b"");
    disk.write("b", Vec::new());
    let (a, b) = (disk.root().open("a", true).unwrap(), disk.root().open("b", true).unwrap());
    for round in 0..10 {
        a.append(&[round]).unwrap();
        b.append(&[round]).unwrap();
    }
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let left = disk.crash(Survival::Prefix { seed });
        let (a, b) = (left.read("a").unwrap(), left.read("b").unwrap());
        // The one at the cut may have its length, with another byte in its place.
        let whole = |bytes: &[u8]| bytes.iter().zip(0..).take_while(|(byte, round)| **byte == *round).count();
        assert!(whole(&a) >= b.len().saturating_sub(1) && a.len() <= whole(&b) + 1, "{a:?} {b:?}");
        lengths.insert((a.len(), b.len()));
    }
    assert!(lengths.len() >= 20, "{lengths:?}");
}

#[test]
fn the_last_write_of_a_prefix_may_be_torn() {
    let disk = disk_with(b"----");
    disk.root().open("a", true).unwrap().write_at(0, b"xxxx").unwrap();
    let left: BTreeSet<_> =
        (0..200).map(|seed| disk.crash(Survival::Prefix { seed }).read("a").unwrap()).collect();
    assert_eq!(left, BTreeSet::from([b"----", b"x---", b"xx--", b"xxx-", b"xxxx"].map(|left| left.to_vec())));
}

#[test]
fn only_bytes_behind_the_former_end_are_noise() {
    let disk = disk_with(b"----");
    disk.root().open("a", true).unwrap().write_at(2, b"xxxx").unwrap();
    for bytes in outcomes(&disk, "a").into_iter().flatten() {
        assert!(bytes.starts_with(b"--") && matches!(&bytes[2..4], b"--" | b"x-" | b"xx"), "{bytes:?}");
    }
}

#[test]
fn a_subset_may_keep_a_later_operation_without_an_earlier_one() {
    let disk = disk_with(b"");
    disk.write("b", Vec::new());
    disk.root().open("a", true).unwrap().append(b"a").unwrap();
    disk.root().open("b", true).unwrap().append(b"b").unwrap();
    let states: BTreeSet<_> = (0..200)
        .map(|seed| disk.crash(Survival::Subset { seed }))
        .map(|left| (left.read("a").unwrap() == b"a", left.read("b").unwrap() == b"b"))
        .collect();
    assert_eq!(states.len(), 4);
}

#[test]
fn exact_lists_enumerate_all_combinations() {
    let disk = disk_with(b"----");
    let file = disk.root().open("a", true).unwrap();
    for offset in 0..3 {
        file.write_at(offset, b"x").unwrap();
    }
    disk.root().rename("a", "b").unwrap();
    let count = disk.pending_count_at(disk.operations());
    assert_eq!(count, 4);
    let left: BTreeSet<u64> = (0..1_u32 << count)
        .map(|bits| Survival::Exactly((0..count).map(|index| bits >> index & 1 == 1).collect()))
        .map(|survival| disk.crash(survival).digest())
        .collect();
    assert_eq!(left.len(), 16);
    let first_only = disk.crash(Survival::Exactly(vec![true]));
    assert_eq!(first_only.read("a").unwrap(), b"x---");
}

#[test]
fn a_shrunken_file_may_have_its_old_length() {
    let disk = disk_with(b"long");
    let file = disk.root().open("a", true).unwrap();
    file.truncate(1).unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([b"long", &b"l"[..]].map(|left| Some(left.to_vec()))));
    file.sync_data().unwrap();
    only_survivor(&disk, "a", Some(b"l"));
}

#[test]
fn allocated_space_is_pending_like_the_rest() {
    let disk = disk_with(b"x");
    let file = disk.root().open("a", true).unwrap();
    file.allocate(3).unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([b"x\0\0", &b"x"[..]].map(|left| Some(left.to_vec()))));
    file.sync_data().unwrap();
    only_survivor(&disk, "a", Some(b"x\0\0"));
}

#[test]
fn recorded_states_can_be_gone_back_to() {
    let disk = SimDisk::new(0);
    disk.root().create_new("before").unwrap();
    disk.record();
    let file = disk.root().create_new("a").unwrap(); // 1
    disk.root().sync_dir().unwrap(); // 2
    file.append(b"1").unwrap(); // 3
    assert_eq!(file.len().unwrap(), 1); // 4
    file.sync_data().unwrap(); // 5
    file.sync_data().unwrap(); // 6, with nothing to sync
    disk.root().remove("absent").unwrap_err(); // 7
    file.append(b"2").unwrap(); // 8
    disk.root().remove("a").unwrap(); // 9
    assert_eq!(disk.operations(), 10);
    assert_eq!(disk.crash_points(), [1, 2, 3, 5, 8, 9, 10]);
    let at = |operation, survival| disk.image_at(operation, survival).read("a");
    assert_eq!(at(1, Survival::Everything), None);
    assert_eq!(at(2, Survival::Nothing), None);
    assert_eq!(at(3, Survival::Nothing), Some(vec![]));
    assert_eq!(at(5, Survival::Nothing), Some(vec![]));
    assert_eq!(at(5, Survival::Everything), Some(b"1".to_vec()));
    assert_eq!(at(6, Survival::Nothing), Some(b"1".to_vec()));
    assert_eq!(at(9, Survival::Nothing), Some(b"1".to_vec()));
    assert_eq!(at(9, Survival::Everything), Some(b"12".to_vec()));
    assert_eq!(at(10, Survival::Everything), None);
    assert_eq!(at(10, Survival::Nothing), Some(b"1".to_vec()));
}

#[test]
#[should_panic(expected = "operation 0 was not recorded")]
fn what_was_not_recorded_cannot_be_gone_back_to() {
    let disk = disk_with(b"");
    disk.root().open("a", true).unwrap();
    let _ = disk.image_at(0, Survival::Nothing);
}

#[test]
fn an_image_is_a_fresh_disk() {
    let disk = disk_with(b"bytes");
    let _lock = disk.root().try_lock_exclusive().unwrap();
    let file = disk.root().open("a", true).unwrap();
    file.append(b"!").unwrap();
    disk.inject(disk.operations(), Fault::Eio, true);
    let image = disk.crash(Survival::Everything);
    assert_eq!(image.operations(), 0);
    assert_eq!(image.pending_count_at(0), 0);
    only_survivor(&image, "a", Some(b"bytes!"));
    let _free = image.root().try_lock_exclusive().unwrap();
    // Neither sees what the other does from here on.
    let other = image.root().open("a", true).unwrap();
    other.append(b"?").unwrap();
    disk.clear_faults();
    file.truncate(0).unwrap();
    assert_eq!(image.read("a").unwrap(), b"bytes!?");
    assert_eq!(disk.read("a").unwrap(), b"");
}

#[test]
fn images_of_images() {
    let disk = disk_with(b"");
    disk.root().open("a", true).unwrap().append(b"1").unwrap();
    let first = disk.crash(Survival::Everything);
    first.record();
    first.root().open("a", true).unwrap().append(b"2").unwrap();
    let second = first.crash(Survival::Nothing);
    assert_eq!(second.read("a").unwrap(), b"1");
    second.root().create_new("b").unwrap();
    assert_eq!(second.crash(Survival::Everything).files(), ["a", "b"]);
    assert_eq!(first.image_at(0, Survival::Everything).read("a").unwrap(), b"1");
}

#[test]
fn a_killed_process_leaves_pending_bytes_to_a_later_power_loss() {
    let disk = SimDisk::new(0);
    let _lock = disk.root().try_lock_exclusive().unwrap();
    let file = disk.root().create_new("a").unwrap();
    disk.root().sync_dir().unwrap();
    file.append(b"1").unwrap();
    disk.root().remove("a").unwrap();
    disk.root().create_new("b").unwrap();
    let killed = disk.kill_at(disk.operations());
    assert_eq!(killed.files(), ["LOCK", "b"]);
    let _free = killed.root().try_lock_exclusive().unwrap();
    assert_eq!(killed.crash(Survival::Nothing).files(), ["LOCK", "a"]);
    assert_eq!(killed.crash(Survival::Everything).files(), ["LOCK", "b"]);
}

#[test]
fn seeds_differ_and_repeat() {
    let disk = disk_with(b"");
    let file = disk.root().open("a", true).unwrap();
    for round in 0..50_u8 {
        file.append(&[round; 40]).unwrap();
    }
    let digests: Vec<u64> = (0..60).map(|seed| disk.crash(Survival::seeded(seed)).digest()).collect();
    let again: Vec<u64> = (0..60).map(|seed| disk.crash(Survival::seeded(seed)).digest()).collect();
    assert_eq!(digests, again);
    let distinct = digests.iter().collect::<BTreeSet<_>>().len();
    assert!(distinct >= 50, "{distinct}");
}

#[test]
fn a_removed_file_is_gone_for_good_once_nothing_leads_to_it() {
    let disk = disk_with(b"bytes");
    let file = disk.root().open("a", true).unwrap();
    disk.root().remove("a").unwrap();
    disk.root().sync_dir().unwrap();
    assert_eq!(&*file.map().unwrap(), b"bytes");
    assert_eq!(disk.used(), 5, "an open file occupies its space");
    drop(file);
    assert_eq!(disk.used(), 0);
    assert!(format!("{disk:?}").contains("files: 0"), "{disk:?}");
}

#[test]
fn bytes_written_past_the_interface_are_durable() {
    let disk = SimDisk::new(0);
    disk.write("deep/down/a", b"one".to_vec());
    only_survivor(&disk, "deep/down/a", Some(b"one"));
    let file =
        disk.root().subdir("deep", false).unwrap().subdir("down", false).unwrap().open("a", true).unwrap();
    file.append(b"pending").unwrap();
    disk.write("deep/down/a", b"two".to_vec());
    only_survivor(&disk, "deep/down/a", Some(b"two"));
    assert_eq!(&*file.map().unwrap(), b"two");
    disk.flip_bit("deep/down/a", 9);
    only_survivor(&disk, "deep/down/a", Some(b"tuo"));
    disk.remove("deep/down/a");
    only_survivor(&disk, "deep/down/a", None);
    assert_eq!(disk.operations(), 5, "two subdirectories, an open, an append, a map");
}
