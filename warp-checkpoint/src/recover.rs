//! Which checkpoint counts when a database is opened. See `docs/format/checkpoint.md`, "Opening".

use std::io;

use warp_io::Dir;

use crate::access::LayerAccess;
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::manifest::{Manifest, list, load};

/// The newest checkpoint that can be used.
#[derive(Debug)]
pub struct Opened {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its layers, newest first, in the order of [`Manifest::layers`].
    pub layers: Vec<Layer>,
    /// The newer manifests that could not be used, newest first. If there are any, more of the log is replayed,
    /// the user should be told, and nothing should be removed.
    pub rejected: Vec<Rejected>,
}

/// A manifest or an advice file that could not be used.
#[derive(Debug)]
pub struct Rejected {
    /// Its number.
    pub number: u64,
    /// What is wrong with it, or with one of a manifest's layers.
    pub error: Error,
}

/// Opens the newest checkpoint whose manifest is whole and whose layers are there, each with a good header, footer
/// and directory. `None` if there is no manifest at all.
///
/// Falls back to the checkpoint before if one is damaged or a file of it is missing. The cost does not grow with
/// the number of entries.
///
/// # Errors
/// [`Error::NoUsableManifest`] if there are manifests, and none can be used. [`Error::Unsupported`] at once if a
/// newer program wrote the manifest or a layer: going back to an older checkpoint would lose that program's writes.
/// [`Error::Io`] at once for anything but a missing file or a place that the disk cannot read.
pub fn newest(dir: &dyn Dir, layers: &dyn Dir) -> Result<Option<Opened>> {
    newest_where(dir, layers, |_| true)
}

/// As [`newest`], of the checkpoints that are `wanted`; the layers of others are not opened. `None` if none of those
/// that can be read is wanted.
///
/// # Errors
/// As [`newest`].
pub fn newest_where(
    dir: &dyn Dir,
    layers: &dyn Dir,
    wanted: impl Fn(&Manifest) -> bool,
) -> Result<Option<Opened>> {
    newest_with(dir, layers, &LayerAccess::Map, wanted)
}

/// As [`newest_where`], with layers that are mapped or read as `access` says.
///
/// # Errors
/// As [`newest`].
pub fn newest_with(
    dir: &dyn Dir,
    layers: &dyn Dir,
    access: &LayerAccess,
    wanted: impl Fn(&Manifest) -> bool,
) -> Result<Option<Opened>> {
    let mut rejected = Vec::new();
    let mut is_any_sound = false;
    for number in list(dir)?.into_iter().rev() {
        match open(dir, layers, number, access, &wanted) {
            Ok(Some((manifest, layers))) => return Ok(Some(Opened { manifest, layers, rejected })),
            Ok(None) => is_any_sound = true,
            Err(error) if is_damage(&error) => {
                tracing::warn!(number, %error, "checkpoint cannot be used, trying the one before");
                rejected.push(Rejected { number, error });
            }
            Err(error) => return Err(error),
        }
    }
    if rejected.is_empty() || is_any_sound { Ok(None) } else { Err(Error::NoUsableManifest { rejected }) }
}

fn open(
    dir: &dyn Dir,
    layers: &dyn Dir,
    number: u64,
    access: &LayerAccess,
    wanted: impl Fn(&Manifest) -> bool,
) -> Result<Option<(Manifest, Vec<Layer>)>> {
    let manifest = load(dir, number)?;
    if !wanted(&manifest) {
        return Ok(None);
    }
    let layers =
        manifest.layers.iter().map(|info| Layer::open_with(layers, info, access)).collect::<Result<_>>()?;
    Ok(Some((manifest, layers)))
}

/// Whether an error means that this file is lost, rather than that the attempt failed.
pub(crate) fn is_damage(error: &Error) -> bool {
    /// `EIO`: the disk could not read it. The number is the same on every system that this runs on.
    const EIO: i32 = 5;
    match error {
        Error::Corrupt { .. } => true,
        Error::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
                || source.raw_os_error() == Some(EIO)
        }
        _ => false,
    }
}
