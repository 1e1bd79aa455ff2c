//! From a path to a directory and a name in it.

use std::io;
use std::path::Path;

use warp_io::OsDir;

use crate::error::{Result, io_at};

/// The directory that holds the file at `path`, and the file's name.
pub(crate) fn split_path(path: &Path) -> Result<(OsDir, String)> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        let source =
            io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file with a name in UTF-8");
        return Err(io_at(&path.to_string_lossy())(source));
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let dir = OsDir::open(parent, false).map_err(io_at(&parent.to_string_lossy()))?;
    Ok((dir, name.to_owned()))
}
