//! The files of a store, whichever it is: what they take on the disk, and pages of them that the system is to forget.
#![expect(clippy::disallowed_methods, reason = "looks at files of other stores, and changes none")]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, Mode, OFlags};

use crate::run::Outcome;

/// What `stat` counts disk use in.
const STAT_BLOCK_BYTES: u64 = 512;

/// Bytes that the files below a directory take on the disk. A file that goes meanwhile is not counted.
///
/// # Errors
/// What the system answers.
pub(crate) fn disk_bytes(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for path in all(dir)? {
        bytes += match fs::symlink_metadata(&path) {
            Ok(file) => file.blocks() * STAT_BLOCK_BYTES,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(bytes)
}

/// Writes back what is dirty, and has the system forget the pages of all files of a store that nobody has open.
///
/// # Errors
/// What the system answers.
pub(crate) fn drop_page_cache(dir: &Path) -> Outcome<()> {
    for path in all(dir)? {
        let file = rustix::fs::open(path, OFlags::RDONLY, Mode::empty())?;
        rustix::fs::fdatasync(&file)?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// The regular files below a directory.
fn all(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                kind => kind?,
            };
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_subdirectories_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [1; 10_000]).unwrap();
        drop_page_cache(dir.path()).unwrap();
        assert!(disk_bytes(dir.path()).unwrap() >= 8_192);
        assert_eq!(disk_bytes(&dir.path().join("none")).unwrap(), 0);
    }
}
