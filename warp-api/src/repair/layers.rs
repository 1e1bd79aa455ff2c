//! The layers of a repaired database: the sound ones as they are, of the damaged ones what is whole.

use std::collections::{BTreeMap, HashSet};

use warp_checkpoint::{
    Layer, LayerAccess, LayerEntry, LayerInfo, LayerOptions, LayerWriter, Manifest, Missing, Salvage,
    layer_name,
};
use warp_core::KeyRef;
use warp_io::Dir;

use super::survey::{Base, Survey};
use super::{LostLayer, OwnedKey, RepairReport};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::from_crates::checkpoint_error;
use crate::home::LAYERS_DIR;
use crate::keyspace::SYSTEM;
use crate::open::nothing;
use crate::types::Seq;

/// What the new manifest names.
pub(super) struct Rebuilt {
    /// What it says beside its layers.
    pub(super) manifest: Manifest,
    pub(super) layers: Vec<LayerInfo>,
    pub(super) next_layer: u64,
    pub(super) suspects: Vec<Suspect>,
}

/// An entry that may be lost, unless there is a newer version of its key.
pub(super) struct Suspect {
    pub(super) file: String,
    pub(super) offset: u64,
    pub(super) hash: Option<u64>,
    pub(super) key: Option<OwnedKey>,
    pub(super) seq: Option<u64>,
    /// The newest older version, which is hidden now.
    pub(super) older: Option<u64>,
    /// The version that the key has, if it was left.
    pub(super) stays: Option<u64>,
    /// The place of the layer among all, newest first: what is before it is newer.
    pub(super) layer: usize,
}

/// Writes what has to be written anew; whatever is there stays.
pub(super) fn rebuild(
    survey: &Survey,
    base: &Base,
    layers_dir: &dyn Dir,
    access: &LayerAccess,
    environment: &Environment,
    report: &mut RepairReport,
) -> Result<Rebuilt> {
    let next_layer = survey.ids().last().map_or(1, |last| last.saturating_add(1));
    let manifest = base.manifest.clone().unwrap_or_else(|| nothing(environment));
    let mut rebuilding = Rebuilding {
        layers_dir,
        access,
        next_layer: next_layer.max(manifest.next_layer),
        seed: manifest.hash_seed,
        layers: Vec::new(),
        suspects: Vec::new(),
        report,
    };
    match &base.manifest {
        Some(manifest) => {
            // Oldest first, so that what lies below a damaged one is sound by then.
            for (place, info) in manifest.layers.iter().enumerate().rev() {
                if survey.is_sound_layer(info.id) {
                    rebuilding.take(info)?;
                } else {
                    rebuilding.salvage(info, place)?;
                }
            }
        }
        None if base.is_log_enough => {}
        None => rebuilding.merge_all(survey.ids())?,
    }
    let Rebuilding { layers, next_layer, suspects, .. } = rebuilding;
    let layers = layers.iter().map(|layer| *layer.info()).collect();
    Ok(Rebuilt { manifest, layers, next_layer, suspects })
}

struct Rebuilding<'a> {
    layers_dir: &'a dyn Dir,
    access: &'a LayerAccess,
    next_layer: u64,
    seed: u64,
    /// Newest first.
    layers: Vec<Layer>,
    suspects: Vec<Suspect>,
    report: &'a mut RepairReport,
}

impl Rebuilding<'_> {
    fn take(&mut self, info: &LayerInfo) -> Result<()> {
        let layer = Layer::open_with(self.layers_dir, info, self.access).map_err(checkpoint_error)?;
        self.layers.insert(0, layer);
        Ok(())
    }

    /// Writes a layer of what is whole in a damaged one.
    fn salvage(&mut self, info: &LayerInfo, place: usize) -> Result<()> {
        let file = format!("{LAYERS_DIR}/{}", layer_name(info.id));
        let salvage = match Salvage::open(self.layers_dir, info) {
            Ok(salvage) => salvage,
            Err(error) => {
                tracing::error!(%error, file, "nothing of a layer can be read");
                self.lost_layer(file, info.entries, info);
                // So that the others keep their places.
                let writer = self.writer()?;
                return self.finish(writer);
            }
        };
        let mut writer = self.writer()?;
        let mut failed = None;
        let mut hashes = HashSet::new();
        let seed = self.seed;
        let missing = salvage.read(
            |keyspace, key| KeyRef::new(seed, keyspace, key).hash,
            |entry| {
                hashes.insert(entry.hash);
                if failed.is_none() {
                    failed = writer.add(entry).err();
                }
            },
        );
        if let Some(error) = failed {
            return Err(checkpoint_error(error));
        }
        self.report.entries_salvaged += hashes.len() as u64;
        self.hide(&file, &missing, place, &mut writer)?;
        if missing.unknown > 0 {
            self.lost_layer(file.clone(), missing.unknown, info);
            self.doubt(&file, &salvage, &hashes, place)?;
        }
        self.finish(writer)
    }

    /// Hides the older versions of entries that are lost, and takes note of them.
    fn hide(&mut self, file: &str, missing: &Missing, place: usize, writer: &mut LayerWriter) -> Result<()> {
        for entry in &missing.entries {
            let suspect = |key, seq, older, stays| Suspect {
                file: file.to_owned(),
                offset: entry.offset,
                hash: entry.hash,
                key,
                seq,
                older,
                stays,
                layer: place,
            };
            let older = self.older(entry.hash.unwrap_or(0), entry.key.as_ref());
            if older.is_empty() {
                let known = entry.key.clone();
                let seq = known.as_ref().map(|(_, _, seq)| *seq);
                let key = known.map(|(keyspace, key, _)| (keyspace, key));
                self.suspects.push(suspect(key, seq, None, None));
            }
            for ((keyspace, key), (older, is_tombstone)) in older {
                let seq = entry.key.as_ref().map(|(_, _, seq)| *seq);
                let place = Some((keyspace, key.clone()));
                if keyspace == SYSTEM && !is_tombstone {
                    // What the engine keeps for itself is of more use as it was than not at all.
                    self.suspects.push(suspect(place, seq, None, Some(older)));
                    continue;
                }
                if !is_tombstone {
                    // Above the older version, and not above any newer one: the lost one is between them.
                    let hash = entry.hash.unwrap_or(0);
                    let tombstone = LayerEntry {
                        hash,
                        keyspace,
                        key: &key,
                        seq: seq.unwrap_or(older.saturating_add(1)),
                        deadline: 0,
                        value: None,
                    };
                    writer.add(&tombstone).map_err(checkpoint_error)?;
                }
                let older = (!is_tombstone).then_some(older);
                self.suspects.push(suspect(place, seq, older, None));
            }
        }
        Ok(())
    }

    /// The versions below of the keys that have a hash, or of the one key that is meant: the newest of each.
    fn older(&self, hash: u64, key: Option<&(u32, Vec<u8>, u64)>) -> BTreeMap<OwnedKey, (u64, bool)> {
        let mut found = BTreeMap::new();
        for layer in &self.layers {
            for entry in layer.with_hash(hash).unwrap_or_default() {
                if key.is_none_or(|(keyspace, key, _)| *keyspace == entry.keyspace && key[..] == *entry.key) {
                    let version = (entry.seq, entry.is_tombstone());
                    found.entry((entry.keyspace, entry.key.to_vec())).or_insert(version);
                }
            }
        }
        found
    }

    /// Takes note of the keys below of which there may have been a version that nothing is known of.
    fn doubt(&mut self, file: &str, salvage: &Salvage, known: &HashSet<u64>, place: usize) -> Result<()> {
        let mut seen: HashSet<OwnedKey> = HashSet::new();
        for layer in &self.layers {
            for entry in layer.iter() {
                let entry = entry.map_err(checkpoint_error)?;
                if known.contains(&entry.hash) || !salvage.may_hold(entry.hash) {
                    continue;
                }
                let key = (entry.keyspace, entry.key.to_vec());
                if seen.insert(key.clone()) && !entry.is_tombstone() {
                    self.suspects.push(Suspect {
                        file: file.to_owned(),
                        offset: 0,
                        hash: Some(entry.hash),
                        key: Some(key),
                        seq: None,
                        older: None,
                        stays: Some(entry.seq),
                        layer: place,
                    });
                }
            }
        }
        Ok(())
    }

    fn lost_layer(&mut self, file: String, entries: u64, info: &LayerInfo) {
        if entries > 0 {
            let seqs = (Seq(info.seq_min), Seq(info.seq_max));
            self.report.lost_layers.push(LostLayer { file, entries, seqs });
        }
    }

    /// Makes one layer of all that are there: of each key the version with the highest sequence. For want of a manifest
    /// nobody knows which of them belong together.
    fn merge_all(&mut self, ids: &[u64]) -> Result<()> {
        let mut newest: BTreeMap<OwnedKey, (u64, u64, Option<Vec<u8>>)> = BTreeMap::new();
        for id in ids {
            let file = format!("{LAYERS_DIR}/{}", layer_name(*id));
            let layer = match Layer::open_file(self.layers_dir, *id, self.access) {
                Ok(layer) => layer,
                Err(error @ warp_checkpoint::Error::Unsupported { .. }) => {
                    return Err(checkpoint_error(error));
                }
                Err(error) => {
                    tracing::error!(%error, file, "nothing of a layer can be read");
                    let seqs = (Seq(0), Seq(0));
                    self.report.lost_layers.push(LostLayer { file, entries: 0, seqs });
                    continue;
                }
            };
            let salvage = Salvage::open(self.layers_dir, layer.info()).map_err(checkpoint_error)?;
            let missing = salvage.read(
                |_, _| 0,
                |entry| {
                    self.report.entries_salvaged += 1;
                    let key = (entry.keyspace, entry.key.to_vec());
                    if newest.get(&key).is_none_or(|(seq, _, _)| *seq < entry.seq) {
                        newest.insert(key, (entry.seq, entry.deadline, entry.value.map(<[u8]>::to_vec)));
                    }
                },
            );
            let lost = missing.unknown + missing.entries.len() as u64;
            self.lost_layer(file, lost, layer.info());
        }
        let mut writer = self.writer()?;
        for ((keyspace, key), (seq, deadline, value)) in &newest {
            let hash = KeyRef::new(self.seed, *keyspace, key).hash;
            let (keyspace, seq, deadline, value) = (*keyspace, *seq, *deadline, value.as_deref());
            writer
                .add(&LayerEntry { hash, keyspace, key, seq, deadline, value })
                .map_err(checkpoint_error)?;
        }
        self.finish(writer)
    }

    fn writer(&mut self) -> Result<LayerWriter> {
        let id = self.next_layer;
        self.next_layer = id
            .checked_add(1)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a layer with a number that was never given"))?;
        LayerWriter::create_in(self.layers_dir, id, &LayerOptions::default()).map_err(checkpoint_error)
    }

    fn finish(&mut self, writer: LayerWriter) -> Result<()> {
        let info = writer.finish_with(self.access, &mut |_| true).map_err(checkpoint_error)?;
        self.layers_dir.sync_dir().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot sync the directory of the layers").caused_by(error)
        })?;
        self.take(&info)
    }
}
