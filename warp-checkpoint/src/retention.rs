//! What may be removed. See `docs/format/checkpoint.md`, "Retention".

use std::collections::BTreeSet;
use std::io;

use warp_io::Dir;

use crate::error::{Error, Result, io_at};
use crate::manifest::{Manifest, list, load};
use crate::names::{is_places_name, is_temporary_manifest, layer_name, manifest_name, parse_layer_name};
use crate::recover::is_damage;

/// Files that no kept checkpoint needs; made by [`obsolete`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obsolete {
    /// Numbers of manifests, oldest first.
    pub manifests: Vec<u64>,
    /// Ids of layers, ascending.
    pub layers: Vec<u64>,
    /// Names of temporary files beside the manifests.
    pub temporary: Vec<String>,
    /// Names of temporary files beside the layers.
    pub temporary_layers: Vec<String>,
    /// The smallest [`Manifest::replay_from`] of the kept manifests: the log below it may go, once the files above
    /// are removed. 0, which lets nothing go, if there is no manifest.
    pub log_from: u64,
}

impl Obsolete {
    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Obsolete { manifests, layers, temporary, temporary_layers, log_from: _ } = self;
        manifests.is_empty() && layers.is_empty() && temporary.is_empty() && temporary_layers.is_empty()
    }
}

/// The ids of all layer files in a directory, ascending, whether a manifest names them or not.
///
/// # Errors
/// [`Error::Io`].
pub fn layer_ids(layers: &dyn Dir) -> Result<Vec<u64>> {
    Ok(ids_among(&layers.list().map_err(io_at(""))?))
}

fn ids_among(names: &[String]) -> Vec<u64> {
    let mut ids: Vec<u64> = names.iter().filter_map(|name| parse_layer_name(name)).collect();
    ids.sort_unstable();
    ids
}

/// Finds what may be removed so that the newest `kept` checkpoints, and at least one, remain.
///
/// Checkpoints are counted by their distinct [`Manifest::replay_from`]: a merge publishes a manifest with the same
/// one, and is no checkpoint. All manifests of a kept checkpoint stay, and all layers that one of them names, so
/// that the inputs of a merge stay until `kept` younger checkpoints exist. A manifest that cannot be read and is not older
/// than all kept ones keeps every layer in place, since nobody knows which ones it names.
///
/// Layers that no manifest names are obsolete: they are what failed checkpoints left. So this must not be called
/// while a layer is being written, nor after [`newest`](crate::newest) rejected a manifest, nor after
/// [`publish`](crate::publish) failed with an unknown outcome, until a later one has succeeded.
///
/// # Errors
/// [`Error::Io`], or [`Error::Unsupported`] if a newer program wrote one of the manifests.
pub fn obsolete(dir: &dyn Dir, layers: &dyn Dir, kept: usize) -> Result<Obsolete> {
    let manifests = readable(dir)?;
    let points: BTreeSet<u64> = manifests.iter().filter_map(|(_, m)| Some(m.as_ref()?.replay_from)).collect();
    let mut kept_points: BTreeSet<u64> = points.into_iter().rev().take(kept.max(1)).collect();
    // The newest one is the current one, also if a repair has made it of an older one than those that it replaces.
    kept_points.extend(manifests.iter().rev().find_map(|(_, m)| Some(m.as_ref()?.replay_from)));
    let is_kept = |manifest: &Manifest| kept_points.contains(&manifest.replay_from);
    let oldest_kept =
        manifests.iter().find(|(_, m)| m.as_ref().is_some_and(is_kept)).map(|&(number, _)| number);

    let mut found = Obsolete::default();
    let mut named = BTreeSet::new();
    let mut layers_known = true;
    for (number, manifest) in &manifests {
        match manifest {
            Some(manifest) if is_kept(manifest) => {
                named.extend(manifest.layers.iter().map(|info| info.id));
            }
            None if oldest_kept.is_none_or(|oldest| *number > oldest) => layers_known = false,
            _ => found.manifests.push(*number),
        }
    }
    found.log_from = kept_points.first().copied().unwrap_or(0);
    let names = dir.list().map_err(io_at(""))?;
    found.temporary = names.into_iter().filter(|name| is_temporary_manifest(name)).collect();
    found.temporary.sort_unstable();
    let names = layers.list().map_err(io_at(""))?;
    if layers_known {
        found.layers = ids_among(&names);
        found.layers.retain(|id| !named.contains(id));
    }
    found.temporary_layers = names.into_iter().filter(|name| is_places_name(name)).collect();
    found.temporary_layers.sort_unstable();
    Ok(found)
}

/// Removes what [`obsolete`] found: manifests, oldest first, and temporary files; then, once their directory is
/// synced, the layers and what is beside them. Returns [`Obsolete::log_from`], below which the log may go now.
///
/// A file that is gone already is no error. Open layers go on working.
///
/// # Errors
/// [`Error::Io`]. Whatever was removed by then, every kept checkpoint is whole; the call may be repeated.
pub fn remove(dir: &dyn Dir, layers: &dyn Dir, obsolete: &Obsolete) -> Result<u64> {
    for &number in &obsolete.manifests {
        remove_file(dir, &manifest_name(number))?;
    }
    for name in &obsolete.temporary {
        remove_file(dir, name)?;
    }
    if !obsolete.manifests.is_empty() || !obsolete.temporary.is_empty() {
        dir.sync_dir().map_err(io_at(""))?;
    }
    for &id in &obsolete.layers {
        remove_file(layers, &layer_name(id))?;
    }
    for name in &obsolete.temporary_layers {
        remove_file(layers, name)?;
    }
    if !obsolete.layers.is_empty() || !obsolete.temporary_layers.is_empty() {
        layers.sync_dir().map_err(io_at(""))?;
    }
    if !obsolete.is_empty() {
        let (manifests, layers) = (obsolete.manifests.len(), obsolete.layers.len());
        tracing::debug!(manifests, layers, log_from = obsolete.log_from, "obsolete files removed");
    }
    Ok(obsolete.log_from)
}

/// Every manifest, ascending, with its contents where they can be read.
fn readable(dir: &dyn Dir) -> Result<Vec<(u64, Option<Manifest>)>> {
    let mut manifests = Vec::new();
    for number in list(dir)? {
        match load(dir, number) {
            Ok(manifest) => manifests.push((number, Some(manifest))),
            // Damaged, gone meanwhile, or on a bad place of the disk: nobody knows which layers it names.
            Err(error) if is_damage(&error) => manifests.push((number, None)),
            // Too many open files, for instance: it may be sound.
            Err(error) => return Err(error),
        }
    }
    Ok(manifests)
}

fn remove_file(dir: &dyn Dir, name: &str) -> Result<()> {
    match dir.remove(name) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { file: name.to_owned(), offset: None, source })
        }
        _ => Ok(()),
    }
}
