//! A hint to begin writing, or to read soon, changes nothing that can be seen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use warp_io::{Dir, OsDir, write_all_at};

#[test]
fn bytes_are_the_same_whatever_range_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let file = OsDir::open(scratch.path(), true).unwrap().create_new("file").unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    write_all_at(&*file, 0, &bytes).unwrap();
    for (offset, len) in [(0, 0), (0, 300_000), (5, 77), (299_999, 1 << 40), (1 << 40, 1)] {
        file.start_writing(offset, len);
        file.will_need(offset, len);
    }
    file.sync_data().unwrap();
    assert_eq!(*file.map().unwrap(), bytes);
}
