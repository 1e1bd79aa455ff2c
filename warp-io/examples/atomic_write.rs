//! Replaces a file so that a power cut leaves the old contents or the new ones, whole.
//!
//! ```text
//! cargo run --example atomic_write
//! ```

use std::io;

use warp_io::{Dir, OsDir, write_all_at};

/// Returns once the new contents survive a power cut.
fn replace(dir: &dyn Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    // A leftover of an earlier attempt that was cut short.
    match dir.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = dir.create_new(&temporary)?;
    write_all_at(&*file, 0, bytes)?;
    // First the bytes, then the name: a rename that is durable before its bytes leads to an empty file.
    file.sync_data()?;
    dir.rename(&temporary, name)?;
    dir.sync_dir()
}

fn main() -> io::Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = OsDir::open(scratch.path(), true)?;
    replace(&dir, "settings", b"color = blue")?;
    replace(&dir, "settings", b"color = green")?;

    let settings = dir.open("settings", false)?.map()?;
    println!("{}", String::from_utf8_lossy(&settings));
    assert_eq!(&*settings, b"color = green");
    assert_eq!(dir.list()?, ["settings"]);
    Ok(())
}
