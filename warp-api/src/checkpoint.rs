//! Taking a checkpoint: what changed since the last one becomes a layer, and a manifest names it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use warp_checkpoint::{Layer, LayerEntry, LayerInfo, LayerOptions, LayerWriter, Manifest, Published};
use warp_core::{Entry, Key, KeyRef, Table};
use warp_io::Clock;

use crate::error::{Error, ErrorKind, Result};
use crate::floors::exists;
use crate::from_crates::{checkpoint_error, log_error};
use crate::home::{Catalog, Home};
use crate::links;
use crate::progress::Task;
use crate::shared::Shared;
use crate::types::Seq;

/// Layouts of more entries than this keep the table's own order: finding who belongs with whom takes a few
/// microseconds an entry, for which a checkpoint should not take minutes.
const LAYOUT_ENTRIES_MAX: usize = 1 << 22;
/// Entries between two reports of progress.
const PROGRESS_EVERY: usize = 1 << 14;

/// What a checkpoint did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// The number of the checkpoint's manifest.
    pub number: u64,
    /// Recovery from this checkpoint replays the log from here on.
    pub replay_from: Seq,
    /// Entries that were written: those that changed since the checkpoint before.
    pub entries: u64,
    /// Bytes of the new layer; 0 if nothing had changed.
    pub bytes: u64,
    /// Layers that a read may have to look at from now on.
    pub layers: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// The closed lists of changed keys. Unless they are taken out, because a layer has the entries, they are put back:
/// after an error, and after a panic of whoever is told of the progress, too.
struct ClosedLists<'a> {
    table: &'a Table,
    hashes: Vec<u64>,
}

impl Drop for ClosedLists<'_> {
    fn drop(&mut self) {
        self.table.reopen(std::mem::take(&mut self.hashes));
    }
}

/// An entry that goes into the layer.
struct Changed {
    hash: u64,
    keyspace: u32,
    key: Key,
    entry: Entry,
}

impl Shared {
    /// Takes a checkpoint now; waits for one that is being taken.
    pub(crate) fn take_checkpoint(&self) -> Result<CheckpointReport> {
        self.check_writable()?;
        let Some(home) = &self.home else {
            return Err(Error::invalid("an engine without files takes no checkpoints"));
        };
        let mut catalog = home.catalog.lock();
        let outcome = self.checkpoint_locked(home, &mut catalog);
        match &outcome {
            Ok(report) => {
                self.counters.checkpoints.add(1);
                self.counters.checkpoint_entries.add(report.entries);
                self.counters.checkpoint_bytes.add(report.bytes);
                tracing::info!(
                    number = report.number,
                    entries = report.entries,
                    bytes = report.bytes,
                    layers = report.layers,
                    "checkpoint taken"
                );
            }
            Err(error) => {
                self.counters.checkpoint_failures.add(1);
                tracing::error!(%error, "checkpoint failed");
            }
        }
        outcome
    }

    fn checkpoint_locked(&self, home: &Home, catalog: &mut Catalog) -> Result<CheckpointReport> {
        let start = self.time.monotonic();
        // Whatever the outcome, the next attempt that is due by time or size is a full interval away.
        catalog.taken = start;
        let log =
            self.journal.log().ok_or_else(|| Error::new(ErrorKind::ReadOnly, "no log to checkpoint"))?;
        let stats = log.stats();
        catalog.log_bytes = stats.payload_bytes;
        catalog.segments = stats.segments;
        // Read before the lists are closed: every write below it is in the table, and on a closed list or in
        // an older layer, once the table has held every lock.
        let replay_from = log.next_seq();
        let mut closed =
            ClosedLists { table: &self.table, hashes: self.table.close_lists(|| log.next_seq()) };
        let layer = self.write_changed(home, catalog, &closed.hashes, replay_from)?;
        catalog.replayed_bytes = 0;
        // Clean now: a layer has them, and readers know of it. Tombstones have no more to say in memory.
        self.clean_below.store(replay_from, Ordering::Release);
        let hashes = std::mem::take(&mut closed.hashes);
        self.table.remove_clean(&hashes, replay_from, |_, entry| entry.is_tombstone());
        self.remove_obsolete(home, catalog);
        let (entries, bytes) = layer.map_or((0, 0), |layer| (layer.entries, layer.bytes));
        Ok(CheckpointReport {
            number: catalog.manifest.number,
            replay_from: Seq(catalog.manifest.replay_from),
            entries,
            bytes,
            layers: catalog.manifest.layers.len(),
            elapsed: self.time.monotonic().saturating_sub(start),
        })
    }

    /// Writes the layer, and publishes the manifest that names it.
    fn write_changed(
        &self,
        home: &Home,
        catalog: &mut Catalog,
        closed: &[u64],
        replay_from: u64,
    ) -> Result<Option<LayerInfo>> {
        let log = self.journal.log().ok_or_else(Error::closed)?;
        // Taken after the lists were closed, so that every floor below the start of replay is among them; and used
        // throughout, so that what is left out is what the manifest says does not exist.
        let floors = self.floors.all();
        let (changed, seen) = self.collect(closed, &floors, catalog.manifest.layers.is_empty());
        let layer = if changed.is_empty() { None } else { Some(self.write_layer(home, catalog, changed)?) };
        let highest = seen.max(replay_from.saturating_sub(1));
        // A manifest never speaks of what the log has not got: recovery would take that for damage.
        log.sync_to(highest).map_err(log_error)?;
        self.waiters.wake(self.journal.durable_seq());
        let unchanged = layer.is_none()
            && catalog.manifest.replay_from == replay_from
            && catalog.manifest.floors == floors;
        if unchanged {
            return Ok(None);
        }
        let mut layers = catalog.manifest.layers.clone();
        layers.splice(0..0, layer);
        let next = Manifest { replay_from, highest, layers, floors, ..catalog.manifest.clone() };
        let opened =
            layer.as_ref().map(|layer| Layer::open_with(&*home.layers_dir, layer, &home.access)).transpose();
        let opened = opened.map_err(checkpoint_error)?;
        self.publish(home, catalog, next)?;
        if let Some(opened) = opened {
            let mut list = self.layers.snapshot().layers.clone();
            list.insert(0, opened);
            self.layers.publish(list);
        }
        Ok(layer)
    }

    /// Publishes `next` under the next number; the catalog then names it as the newest.
    pub(crate) fn publish(&self, home: &Home, catalog: &mut Catalog, next: Manifest) -> Result<()> {
        self.check_writable()?;
        let next = Manifest {
            number: catalog.next_manifest,
            next_layer: catalog.next_layer,
            time: self.time.unix_millis(),
            ..next
        };
        // The number is spent even if publishing fails: whether it took place may then be unknown.
        catalog.next_manifest = catalog.next_manifest.saturating_add(1);
        warp_checkpoint::publish(&*home.dir, &next).map_err(|error| {
            // Either of two manifests may be the current one after a crash, so that both must find their files.
            catalog.may_remove &= error.published == Published::No;
            checkpoint_error(error.source)
        })?;
        home.current.store(Arc::new(next.clone()));
        catalog.manifest = next;
        Ok(())
    }

    /// The present versions of the changed entries, and the highest sequence that has made them what they are: a
    /// checkpoint must not outlive a write that has replaced or removed what it would else have.
    fn collect(&self, closed: &[u64], floors: &[(u32, u64)], lowest: bool) -> (Vec<Changed>, u64) {
        let mut changed = Vec::with_capacity(closed.len());
        let mut seen = 0;
        for &hash in closed {
            self.table.entries(hash, |entry| {
                let (keyspace, key) = (entry.keyspace(), entry.key());
                let mut entry = entry.to_entry();
                seen = seen.max(entry.seq);
                if self.expired(entry.deadline) {
                    entry.value = None;
                }
                let is_gone = !exists(floors, keyspace, key, entry.seq);
                // With no layer below there is nothing that a tombstone would have to hide.
                if is_gone || (lowest && entry.is_tombstone()) {
                    return;
                }
                changed.push(Changed { hash, keyspace, key: Key::from(key), entry });
            });
        }
        // Read last: a clear or a drop that came meanwhile has taken entries away before they were looked at.
        let seen = seen.max(self.floors.raised());
        (changed, seen)
    }

    fn write_layer(&self, home: &Home, catalog: &mut Catalog, changed: Vec<Changed>) -> Result<LayerInfo> {
        let id = catalog.next_layer;
        // Spent even if writing fails: a name is never used twice.
        catalog.next_layer = catalog.next_layer.saturating_add(1);
        let options = LayerOptions { compress_from: self.options.compress_values_from };
        let written = self.write_entries(home, id, &options, &changed);
        if written.is_err() {
            // Best effort: what stays behind is removed by the next checkpoint or open.
            let _ = home.layers_dir.remove(&warp_checkpoint::layer_name(id));
        }
        written
    }

    fn write_entries(
        &self,
        home: &Home,
        id: u64,
        options: &LayerOptions,
        changed: &[Changed],
    ) -> Result<LayerInfo> {
        let mut writer = LayerWriter::create_in(&*home.layers_dir, id, options).map_err(checkpoint_error)?;
        let total = changed.len();
        for (done, index) in self.layout(changed).into_iter().enumerate() {
            let Changed { hash, keyspace, key, entry } = &changed[index];
            let entry = LayerEntry {
                hash: *hash,
                keyspace: *keyspace,
                key,
                seq: entry.seq,
                deadline: entry.deadline,
                value: entry.value.as_deref(),
            };
            writer.add(&entry).map_err(checkpoint_error)?;
            if done % PROGRESS_EVERY == 0 {
                self.progress(Task::Checkpoint, done as u64, Some(total as u64));
            }
        }
        let info = finish_layer(home, writer)?;
        self.progress(Task::Checkpoint, total as u64, Some(total as u64));
        Ok(info)
    }

    /// The order in which to lay the entries out, as the physics layer advises. `changed` is in the order of hashes.
    fn layout(&self, changed: &[Changed]) -> Vec<usize> {
        let count = changed.len();
        let in_order = || (0..count).collect();
        if count > LAYOUT_ENTRIES_MAX || !self.may_have_partners(changed) {
            return in_order();
        }
        let mut asked = 0;
        let order = self.advice.layout(count, &mut |index| {
            asked += 1;
            let item = &changed[index];
            let partners = self.links_in_memory(item.keyspace, &item.key);
            partners.iter().filter_map(|link| find(changed, self.key(link.keyspace, &link.key))).collect()
        });
        if !is_permutation(&order, count) {
            return in_order();
        }
        // Whoever was not asked for partners of its own was laid beside the one whose partner it is.
        self.counters.laid_out.add((count - count.min(asked)) as u64);
        order
    }

    /// Whether any of the entries can have a partner: there are rules, or declared links among them.
    fn may_have_partners(&self, changed: &[Changed]) -> bool {
        !self.entanglement.load().rules().is_empty()
            || changed.iter().any(|item| links::is_links_key(item.keyspace, &item.key))
    }

    /// Removes what no kept checkpoint needs: manifests, layers, and segments of the log. A failure is reported, and
    /// tried again after the next checkpoint: what should have gone harms nobody.
    pub(crate) fn remove_obsolete(&self, home: &Home, catalog: &Catalog) {
        if !catalog.may_remove {
            return;
        }
        if let Err(error) = self.try_remove_obsolete(home) {
            tracing::warn!(%error, "files that no checkpoint needs could not be removed");
        }
    }

    fn try_remove_obsolete(&self, home: &Home) -> Result<()> {
        // A log that has no space left is worth more than older checkpoints.
        let is_full = self.journal.log().is_some_and(|log| log.stats().full);
        let kept = if is_full { 1 } else { self.options.checkpoints_kept };
        let obsolete =
            warp_checkpoint::obsolete(&*home.dir, &*home.layers_dir, kept).map_err(checkpoint_error)?;
        let nobody_reads = home.removing.write();
        let files = obsolete.manifests.len() + obsolete.layers.len() + obsolete.temporary.len();
        // The manifests go first, then what only they needed: a crash in between leaves no checkpoint in want.
        let log_from =
            warp_checkpoint::remove(&*home.dir, &*home.layers_dir, &obsolete).map_err(checkpoint_error)?;
        self.counters.removed_files.add(files as u64);
        drop(nobody_reads);
        self.retire_segments(home, log_from)
    }
}

fn is_permutation(order: &[usize], count: usize) -> bool {
    let mut seen = vec![false; count];
    order.len() == count
        && order.iter().all(|&index| index < count && !std::mem::replace(&mut seen[index], true))
}

/// Ends a layer: its file and its name are durable, and it was read back and verified.
pub(crate) fn finish_layer(home: &Home, writer: LayerWriter) -> Result<LayerInfo> {
    let info = writer.finish_with(&home.access).map_err(checkpoint_error)?;
    home.layers_dir.sync_dir().map_err(|error| {
        Error::new(ErrorKind::Io, "cannot sync the directory of the layers").caused_by(error)
    })?;
    Ok(info)
}

/// Where an entry is among those that changed, which are in the order of hashes.
fn find(changed: &[Changed], key: KeyRef<'_>) -> Option<usize> {
    let first = changed.partition_point(|item| item.hash < key.hash);
    let same = changed[first..].iter().take_while(|item| item.hash == key.hash);
    let place =
        same.into_iter().position(|item| item.keyspace == key.keyspace && item.key[..] == *key.bytes)?;
    Some(first + place)
}

#[cfg(test)]
mod tests {
    use super::is_permutation;

    #[test]
    fn only_permutations_are_followed() {
        assert!(is_permutation(&[], 0));
        assert!(is_permutation(&[2, 0, 1], 3));
        assert!(!is_permutation(&[0, 1], 3));
        assert!(!is_permutation(&[0, 1, 1], 3));
        assert!(!is_permutation(&[0, 1, 3], 3));
    }
}
