//! Merging layers, so that a read has few to look at, and overwritten and deleted data gives its space back.

use warp_checkpoint::{Layer, LayerInfo, LayerOptions, LayerWriter, Manifest, Merge};

use crate::checkpoint::finish_layer;
use crate::error::Result;
use crate::floors::exists;
use crate::from_crates::checkpoint_error;
use crate::home::{Catalog, Home};
use crate::shared::Shared;

/// More layers than this are merged.
pub(crate) const LAYERS_MAX: usize = 6;
/// The run of newest layers that is merged is extended by the next older layer as long as that is at most this
/// many times as large as the run: sizes then grow geometrically, and each byte is rewritten a logarithmic
/// number of times (size-tiered merging).
const TIER_FACTOR: u64 = 2;
/// Entries a step of a merge handles; between steps the engine may be closed.
const STEP_ENTRIES: usize = 1 << 12;

impl Shared {
    /// Merges layers until there are no more than [`LAYERS_MAX`].
    pub(crate) fn merge_layers(&self) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let mut catalog = home.catalog.lock();
        while catalog.manifest.layers.len() > LAYERS_MAX
            && catalog.unmergeable != Some(catalog.manifest.number)
        {
            self.check_writable()?;
            let count = run_to_merge(&catalog.manifest.layers);
            match self.merge_newest(home, &mut catalog, count) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    catalog.unmergeable = Some(catalog.manifest.number);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Replaces the newest `count` layers by one. `false` if the engine is being closed meanwhile.
    fn merge_newest(&self, home: &Home, catalog: &mut Catalog, count: usize) -> Result<bool> {
        let layers = self.layers.snapshot();
        let inputs: Vec<Layer> = layers.layers[..count].to_vec();
        let lowest = count == layers.layers.len();
        let id = catalog.next_layer;
        catalog.next_layer = catalog.next_layer.saturating_add(1);
        // The published floors: one that was raised since may yet be lost, and with it what was left out for it.
        let floors = catalog.manifest.floors.clone();
        let merged = self.write_merged(home, id, &inputs, &floors, lowest);
        let merged = match merged {
            Ok(Some(merged)) => merged,
            other => {
                // Best effort: what stays behind is removed by the next checkpoint or open.
                let _ = home.layers_dir.remove(&warp_checkpoint::layer_name(id));
                return other.map(|_| false);
            }
        };
        let opened = Layer::open_with(&*home.layers_dir, &merged, &home.access).map_err(checkpoint_error)?;
        let mut infos = catalog.manifest.layers.clone();
        infos.splice(..count, [merged]);
        let next = Manifest { layers: infos, ..catalog.manifest.clone() };
        self.publish(home, catalog, next)?;
        let mut list = layers.layers.clone();
        list.splice(..count, [opened]);
        self.layers.publish(list);
        self.counters.merges.add(1);
        self.counters.merged_bytes.add(merged.bytes);
        tracing::info!(layers = count, entries = merged.entries, bytes = merged.bytes, "layers merged");
        self.remove_obsolete(home, catalog);
        Ok(true)
    }

    /// Writes the merged layer; `None` if the engine is being closed meanwhile.
    fn write_merged(
        &self,
        home: &Home,
        id: u64,
        inputs: &[Layer],
        floors: &[(u32, u64)],
        lowest: bool,
    ) -> Result<Option<LayerInfo>> {
        let options = LayerOptions { compress_from: self.options.compress_values_from };
        let mut writer = LayerWriter::create_in(&*home.layers_dir, id, &options).map_err(checkpoint_error)?;
        let inputs: Vec<&Layer> = inputs.iter().collect();
        let mut merge = Merge::new(&inputs);
        loop {
            let done = merge
                .step(&mut writer, STEP_ENTRIES, |entry| {
                    let dead = entry.is_tombstone() || self.expired(entry.deadline);
                    exists(floors, entry.keyspace, &entry.key, entry.seq) && !(lowest && dead)
                })
                .map_err(checkpoint_error)?;
            if done {
                break;
            }
            if self.is_ending() || self.check_writable().is_err() {
                return Ok(None);
            }
        }
        finish_layer(home, writer).map(Some)
    }
}

/// How many of the newest layers to merge; `layers` is newest first, and has at least two.
fn run_to_merge(layers: &[LayerInfo]) -> usize {
    let mut run = layers[0].bytes + layers[1].bytes;
    let mut count = 2;
    while count < layers.len() && layers[count].bytes <= TIER_FACTOR * run {
        run += layers[count].bytes;
        count += 1;
    }
    count
}
