//! Composing a layer of changed entries, and of older layers that are merged with them.

use std::sync::atomic::Ordering;

use warp_checkpoint::{Layer, LayerInfo, LayerOptions, LayerWriter, Merge, Newer};

use crate::changed::{Chunk, Kept};
use crate::checkpoint::Writing;
use crate::error::{Error, ErrorKind};
use crate::from_crates::checkpoint_error;
use crate::home::Home;
use crate::pace::Stop;
use crate::progress::Task;
use crate::shared::Shared;
use crate::side_by_side::{LAYOUT_ENTRIES_MAX, SideBySide};

/// The most hashes whose entries are read at once...
const CHUNK_HASHES: usize = 1 << 10;
/// ...and the bytes that they should have. Values are shared with the table, and stay in memory as long as the chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// Of a small memory budget these bytes are a part, and so is what the layer's writer takes to remember where entries are: memory
/// may be full while a checkpoint comes to hold them.
const CHUNK_PART: u64 = 128;
const PLACES_PART: u64 = 64;
/// Entries of older layers between two looks at the pace.
const STEP_ENTRIES: usize = 1 << 8;
/// Entries between two reports of progress.
const PROGRESS_EVERY: u64 = 1 << 14;

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Composed {
    /// The layer; `None` if no entry was left for it.
    pub(crate) layer: Option<LayerInfo>,
    /// Changed entries that it has.
    pub(crate) changed: u64,
    /// Entries of older layers that it has.
    pub(crate) merged: u64,
    /// The part of its bytes that is theirs.
    pub(crate) merged_bytes: u64,
}

impl Composed {
    /// Bytes of the layer.
    pub(crate) fn bytes(&self) -> u64 {
        self.layer.map_or(0, |layer| layer.bytes)
    }
}

/// A layer that is being composed.
pub(crate) struct Compose<'a, 'b, 'c> {
    shared: &'a Shared,
    home: &'a Home,
    kept: &'a Kept,
    writing: &'a mut Writing<'b, 'c>,
    writer: LayerWriter,
    chunk: Chunk,
    /// What it takes; it is elsewhere while it is written.
    chunk_held: usize,
    /// The bytes that its entries should have.
    chunk_bytes: usize,
    /// What lists of changed keys took when it was last told.
    list_bytes: usize,
    /// How many hashes the next chunk has.
    chunk_hashes: usize,
    changed: u64,
    /// Bytes of changed entries that were written.
    changed_bytes: u64,
    /// Changed entries that were read, and how many there are, about.
    read: u64,
    total: u64,
    reported: u64,
}

impl<'a, 'b, 'c> Compose<'a, 'b, 'c> {
    pub(crate) fn new(
        shared: &'a Shared,
        home: &'a Home,
        id: u64,
        kept: &'a Kept,
        writing: &'a mut Writing<'b, 'c>,
    ) -> Result<Compose<'a, 'b, 'c>, Stop> {
        let options = LayerOptions { compress_from: shared.options.compress_values_from };
        let writer = LayerWriter::create_in(&*home.layers_dir, id, &options).map_err(checkpoint_error)?;
        let memory = shared.budget.limit();
        let writer = writer.with_memory(usize::try_from(memory / PLACES_PART).unwrap_or(usize::MAX));
        let total = writing.closed.len() as u64;
        let chunk = Chunk::default();
        let compose = Compose {
            shared,
            home,
            kept,
            writing,
            writer,
            chunk,
            chunk_held: 0,
            chunk_bytes: usize::try_from(memory / CHUNK_PART).unwrap_or(usize::MAX).min(CHUNK_BYTES),
            list_bytes: 0,
            chunk_hashes: 1,
            changed: 0,
            changed_bytes: 0,
            read: 0,
            total,
            reported: 0,
        };
        Ok(compose)
    }

    /// Writes all changed entries, merged with `inputs`, newest first. Nothing is written of entries that have no more to
    /// say; if that leaves none, there is no layer, and a file that may be removed.
    pub(crate) fn run(mut self, inputs: &[Layer]) -> Result<Composed, Stop> {
        let bytes: u64 = inputs.iter().map(Layer::bytes).sum();
        let entries: u64 = inputs.iter().map(|layer| layer.info().entries).sum();
        let listed = self.writing.closed.len();
        let beside = self.writing.left_from == u64::MAX
            && inputs.is_empty()
            && self.shared.options.physics.entanglement
            && listed <= LAYOUT_ENTRIES_MAX
            && listed as u64 <= self.shared.budget.layout_entries_max()
            && (self.writing.has_links || self.shared.has_rules());
        // Looking for partners is half of the work.
        let looks = if beside { 2 } else { 1 };
        let expected = bytes + self.shared.expected_bytes(self.writing.expected);
        self.writing.pace.expect(expected, entries + looks * listed as u64);
        self.report(0);
        // They are most now: none is given up yet.
        let lists = self.writing.closed.bytes();
        let aside = self.shared.aside_list_bytes.load(Ordering::Relaxed);
        self.shared.budget.lists_take(lists as u64 + aside + self.shared.table.memory().list_bytes);
        self.tell_memory(lists);
        let inputs: Vec<&Layer> = inputs.iter().collect();
        let mut merge = (!inputs.is_empty()).then(|| Merge::new(&inputs));
        if beside {
            self.write_beside()?;
        } else {
            self.write_in_order(merge.as_mut())?;
        }
        let merged = merge.map_or(0, |merge| merge.report().written);
        if self.writer.entries() == 0 {
            return Ok(Composed::default());
        }
        let data = self.writer.bytes().max(1);
        let (shared, changed, changed_bytes) = (self.shared, self.changed, self.changed_bytes);
        let layer = self.finish()?;
        // Index and filter are shared out as the data is.
        let own = u128::from(layer.bytes) * u128::from(changed_bytes) / u128::from(data);
        let own = if merged == 0 { layer.bytes } else { u64::try_from(own).unwrap_or(layer.bytes) };
        shared.progress(Task::Checkpoint, changed, Some(changed));
        Ok(Composed { layer: Some(layer), changed, merged, merged_bytes: layer.bytes - own.min(layer.bytes) })
    }

    /// Writes changed entries with related ones side by side.
    fn write_beside(&mut self) -> Result<(), Stop> {
        let mut all = SideBySide::new(self.writing.closed.give_up_all());
        let mut looked_at = 0;
        while let Some(hashes) = self.shared.next_beside(&mut all) {
            self.writing.pace.has_read(all.looked_at() - looked_at);
            looked_at = all.looked_at();
            if hashes.is_empty() {
                self.writing.pace.look()?;
            }
            self.write_hashes(&hashes, None)?;
            self.tell_memory(all.memory_bytes());
        }
        Ok(())
    }

    /// Writes changed entries in the order of their hashes, which is that of the inputs of a merge.
    fn write_in_order(&mut self, mut merge: Option<&mut Merge>) -> Result<(), Stop> {
        while let Some(hashes) = self.writing.closed.give_up() {
            self.write_hashes(&hashes, merge.as_deref_mut())?;
            self.tell_memory(self.writing.closed.bytes());
        }
        merge.map_or(Ok(()), |merge| self.merge_below(merge, None))
    }

    /// Writes the entries with these hashes in chunks, each as long as the one before lets expect.
    fn write_hashes(&mut self, mut hashes: &[u64], mut merge: Option<&mut Merge>) -> Result<(), Stop> {
        while !hashes.is_empty() {
            let (now, later) = hashes.split_at(self.chunk_hashes.min(hashes.len()));
            let before = self.writer.bytes();
            self.write_chunk(now, merge.as_deref_mut())?;
            let average =
                usize::try_from(self.writer.bytes() - before).unwrap_or(self.chunk_bytes) / now.len();
            let next = self.chunk_bytes / average.max(1);
            // Grows slowly: what comes may be larger.
            self.chunk_hashes = next.clamp(1, (2 * self.chunk_hashes).min(CHUNK_HASHES));
            hashes = later;
        }
        Ok(())
    }

    fn write_chunk(&mut self, hashes: &[u64], merge: Option<&mut Merge>) -> Result<(), Stop> {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.shared.read_changed(hashes, self.kept, &mut chunk, self.writing.come);
        self.chunk_held = chunk.memory_bytes();
        let before = self.writer.bytes();
        match merge {
            None => self.add_all(&chunk)?,
            Some(merge) => self.merge_all(&chunk, merge)?,
        }
        chunk.clear();
        self.chunk = chunk;
        self.writing.pace.has_read(hashes.len() as u64);
        self.report(hashes.len() as u64);
        // Who only reads does not come to a step.
        if self.writer.bytes() == before { self.writing.pace.look() } else { Ok(()) }
    }

    /// Writes the entries of a chunk.
    fn add_all(&mut self, chunk: &Chunk) -> Result<(), Stop> {
        for newer in chunk.iter().filter(|newer| newer.is_kept) {
            let before = self.writer.bytes();
            self.add(&newer)?;
            self.changed += 1;
            let written = self.writer.bytes() - before;
            self.changed_bytes += written;
            self.writing.pace.step(written)?;
        }
        Ok(())
    }

    /// Writes the entries of a chunk, and what the inputs have up to them.
    fn merge_all(&mut self, chunk: &Chunk, merge: &mut Merge) -> Result<(), Stop> {
        let entries: Vec<Newer<'_>> = chunk.iter().collect();
        for of_hash in entries.chunk_by(|a, b| a.entry.hash == b.entry.hash) {
            self.merge_below(merge, Some(of_hash[0].entry.hash))?;
            let (shared, kept, before) = (self.shared, self.kept, self.writer.bytes());
            let others = merge.report();
            merge
                .take_newer(of_hash, &mut self.writer, |entry| shared.is_taken_over(kept, entry))
                .map_err(checkpoint_error)?;
            self.writing.pace.has_read(merge.report().read - others.read);
            if merge.report().written == others.written {
                self.changed_bytes += self.writer.bytes() - before;
            }
            self.changed += of_hash.iter().filter(|newer| newer.is_kept).count() as u64;
            self.writing.pace.step(self.writer.bytes() - before)?;
        }
        Ok(())
    }

    fn add(&mut self, newer: &Newer<'_>) -> Result<(), Stop> {
        let added = match newer.raw_bytes {
            Some(raw_bytes) => self.writer.add_compressed(&newer.entry, raw_bytes),
            None => self.writer.add(&newer.entry),
        };
        Ok(added.map_err(checkpoint_error)?)
    }

    /// Takes over what the inputs have below `limit`, or all that is left of them.
    fn merge_below(&mut self, merge: &mut Merge, limit: Option<u64>) -> Result<(), Stop> {
        let (shared, kept) = (self.shared, self.kept);
        loop {
            let (before, read) = (self.writer.bytes(), merge.report().read);
            let done = merge
                .step_below(limit, &mut self.writer, STEP_ENTRIES, |entry| shared.is_taken_over(kept, entry))
                .map_err(checkpoint_error)?;
            self.writing.pace.has_read(merge.report().read - read);
            self.writing.pace.step(self.writer.bytes() - before)?;
            if done {
                return Ok(());
            }
            self.tell_memory(self.list_bytes);
        }
    }

    /// Ends the layer: its file and its name are durable, and it was read back and verified.
    fn finish(self) -> Result<LayerInfo, Stop> {
        let pace = &mut *self.writing.pace;
        pace.finishing();
        let mut stopped = None;
        let finished = self.writer.finish_with(&self.home.access, &mut |bytes| match pace.step(bytes) {
            Ok(()) => true,
            Err(stop) => {
                stopped = Some(stop);
                false
            }
        });
        if let Some(stop) = stopped {
            return Err(stop);
        }
        let info = finished.map_err(checkpoint_error)?;
        self.home.layers_dir.sync_dir().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot sync the directory of the layers").caused_by(error)
        })?;
        Ok(info)
    }

    /// Takes note of changed entries that were read, and tells whoever wants to know.
    fn report(&mut self, read: u64) {
        self.read += read;
        if self.read == 0 || self.read - self.reported >= PROGRESS_EVERY {
            self.reported = self.read;
            self.shared.progress(Task::Checkpoint, self.read, Some(self.total));
        }
    }

    /// Says how much memory the checkpoint holds, with `lists` bytes of lists.
    fn tell_memory(&mut self, lists: usize) {
        self.list_bytes = lists;
        let stubs = self.writing.come.stubs.capacity() * size_of::<u64>();
        let others = (self.writer.memory_bytes() + self.chunk_held + stubs) as u64;
        let lists = lists as u64;
        self.shared.checkpoint_memory.store(lists + others, Ordering::Relaxed);
        self.shared.closed_list_bytes.store(lists, Ordering::Relaxed);
        self.shared.budget.checkpoint_holds(others);
    }
}

impl Shared {
    /// Whether an entry of an older layer, which nothing newer shadows, goes into the merged one.
    fn is_taken_over(&self, kept: &Kept, entry: &warp_checkpoint::LayerEntryRef<'_>) -> bool {
        let is_dead = entry.is_tombstone() || self.expired(entry.deadline);
        kept.keeps(entry.keyspace, &entry.key, entry.seq, is_dead)
    }
}
