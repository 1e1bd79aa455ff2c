//! Several layers into one.

use std::cmp::Reverse;

use crate::{Layer, LayerEntry, LayerEntryRef, LayerWriter, Result};

/// What a merge did with the entries that it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// Entries of the inputs.
    pub read: u64,
    /// Entries that the output has.
    pub written: u64,
    /// Entries that a higher sequence number of the same key made useless.
    pub shadowed: u64,
    /// Entries that the caller did not want to keep.
    pub dropped: u64,
}

/// Merges `inputs`, newest first, into `writer`, in one go.
///
/// Of each key the entry with the highest sequence number remains; if there are several, that of the newest input.
/// Then `keep` decides whether it is written. A caller drops a tombstone only if no layer below the inputs, and no
/// log that may be replayed, can hold an older entry of the key.
///
/// The caller finishes the writer. The output is in the order of the hashes.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if an input is damaged, and those of [`LayerWriter::add`]. The output
/// is of no use then, and the inputs are as they were.
pub fn merge(
    inputs: &[&Layer],
    writer: &mut LayerWriter,
    mut keep: impl FnMut(&LayerEntryRef<'_>) -> bool,
) -> Result<MergeReport> {
    let mut merge = Merge::new(inputs);
    while !merge.step(writer, usize::MAX, &mut keep)? {}
    Ok(merge.report())
}

/// An entry that is newer than all entries of a merge's inputs; see [`Merge::take_newer`].
#[derive(Clone, Copy, Debug)]
pub struct Newer<'a> {
    /// The entry.
    pub entry: LayerEntry<'a>,
    /// The length of its value before compression, if the entry holds it compressed, as
    /// [`LayerWriter::add_compressed`] takes it.
    pub raw_bytes: Option<u32>,
    /// Whether it is written. Whether or not, those of the inputs for its key are not.
    pub is_kept: bool,
}

/// A merge in steps of a bounded size, so that it can be paced. See [`merge`] for what it does.
///
/// ```
/// use warp_checkpoint::{Layer, LayerEntry, LayerOptions, LayerWriter, Merge, hash};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # let path = |name: &str| scratch.path().join(name);
/// let layer = |name: &str, seq, value: &[u8]| -> warp_checkpoint::Result<Layer> {
///     let mut writer = LayerWriter::create(path(name), &LayerOptions::default())?;
///     let (key, value) = (b"moon".as_slice(), Some(value));
///     writer.add(&LayerEntry { hash: hash(key), keyspace: 0, key, seq, deadline: 0, value })?;
///     writer.finish()?;
///     Layer::open(path(name))
/// };
/// let (newer, older) = (layer("2.warp", 9, b"full")?, layer("1.warp", 4, b"new")?);
///
/// let mut writer = LayerWriter::create(path("3.warp"), &LayerOptions::default())?;
/// let mut merge = Merge::new(&[&newer, &older]);
/// while !merge.step(&mut writer, 100, |entry| !entry.is_tombstone())? {
///     // other work, or a pause
/// }
/// writer.finish()?;
/// let merged = Layer::open(path("3.warp"))?.get(hash(b"moon"), 0, b"moon")?.unwrap();
/// assert_eq!((merged.seq, merged.value.as_deref()), (9, Some(b"full".as_slice())));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Merge {
    inputs: Vec<Input>,
    report: MergeReport,
}

/// An input, and how far it was read.
#[derive(Debug)]
struct Input {
    layer: Layer,
    /// The rank of the next entry.
    next: u32,
    /// The hash and the offset of the next entry; `None` at the end.
    head: Option<(u64, usize)>,
    started: bool,
    /// How far the system was asked to read the data area ahead.
    data_asked: usize,
    /// How far it was asked to read the index, as a rank.
    index_asked: u32,
}

/// Bytes of an input's data area for which the system is asked at once, when it is read from front to back.
const AHEAD_BYTES: usize = 4 << 20;
/// Entries of its index, likewise.
const AHEAD_RANKS: u32 = 1 << 16;

impl Merge {
    /// A merge of `inputs`, newest first, that has not begun.
    #[must_use]
    pub fn new(inputs: &[&Layer]) -> Merge {
        let input = |layer: &&Layer| Input {
            layer: (*layer).clone(),
            next: 0,
            head: None,
            started: false,
            data_asked: 0,
            index_asked: 0,
        };
        Merge { inputs: inputs.iter().map(input).collect(), report: MergeReport::default() }
    }

    /// Reads about `entries` entries of the inputs, and at least one; returns whether all were read.
    ///
    /// # Errors
    /// Those of [`merge`]. The merge cannot be continued after one.
    pub fn step(
        &mut self,
        writer: &mut LayerWriter,
        entries: usize,
        keep: impl FnMut(&LayerEntryRef<'_>) -> bool,
    ) -> Result<bool> {
        self.step_below(None, writer, entries, keep)
    }

    /// As [`step`](Merge::step), of entries whose hash is below `limit`, if there is one; returns whether all of them were
    /// read.
    ///
    /// # Errors
    /// Those of [`merge`]. The merge cannot be continued after one.
    pub fn step_below(
        &mut self,
        limit: Option<u64>,
        writer: &mut LayerWriter,
        entries: usize,
        mut keep: impl FnMut(&LayerEntryRef<'_>) -> bool,
    ) -> Result<bool> {
        self.start()?;
        let target = self.report.read.saturating_add(entries.max(1) as u64);
        loop {
            let Some(hash) = self.next_hash().filter(|hash| limit.is_none_or(|limit| *hash < limit)) else {
                return Ok(true);
            };
            if self.report.read >= target {
                return Ok(false);
            }
            self.merge_hash(hash, &[], writer, &mut keep)?;
        }
    }

    /// Writes those of `newer` that are to be kept, which have the same hash, and reads all entries of that hash in the
    /// inputs: those of other keys are merged as ever, those of the same keys are shadowed.
    ///
    /// All entries with lower hashes were read by [`step_below`](Merge::step_below) before, and none with higher ones.
    ///
    /// # Errors
    /// Those of [`merge`]. The merge cannot be continued after one.
    ///
    /// # Panics
    /// If the entries do not all have one hash, or an entry of a lower one is still to be read.
    pub fn take_newer(
        &mut self,
        newer: &[Newer<'_>],
        writer: &mut LayerWriter,
        mut keep: impl FnMut(&LayerEntryRef<'_>) -> bool,
    ) -> Result<()> {
        let Some(hash) = newer.first().map(|newer| newer.entry.hash) else { return Ok(()) };
        assert!(newer.iter().all(|newer| newer.entry.hash == hash), "entries of one hash at a time");
        self.start()?;
        assert!(self.next_hash().is_none_or(|next| next >= hash), "lower hashes come first");
        for Newer { entry, raw_bytes, .. } in newer.iter().filter(|newer| newer.is_kept) {
            match raw_bytes {
                Some(raw_bytes) => writer.add_compressed(entry, *raw_bytes)?,
                None => writer.add(entry)?,
            }
        }
        self.merge_hash(hash, newer, writer, &mut keep)
    }

    /// What was done so far, with the entries of the inputs.
    #[must_use]
    pub fn report(&self) -> MergeReport {
        self.report
    }

    fn start(&mut self) -> Result<()> {
        for input in self.inputs.iter_mut().filter(|input| !input.started) {
            input.look_ahead()?;
            input.started = true;
        }
        Ok(())
    }

    fn next_hash(&self) -> Option<u64> {
        self.inputs.iter().filter_map(|input| Some(input.head?.0)).min()
    }

    /// Merges all entries of one hash: nearly always those of one key. Those of a key in `newer` are shadowed.
    fn merge_hash(
        &mut self,
        hash: u64,
        newer: &[Newer<'_>],
        writer: &mut LayerWriter,
        keep: &mut impl FnMut(&LayerEntryRef<'_>) -> bool,
    ) -> Result<()> {
        let mut offsets = Vec::new();
        let mut only = None;
        for (age, input) in self.inputs.iter_mut().enumerate() {
            while let Some((_, offset)) = input.head.filter(|head| head.0 == hash) {
                // Mostly there is one, and no list is needed.
                offsets.extend(only.replace((age, offset)));
                input.next += 1;
                input.look_ahead()?;
            }
        }
        let Some(last) = only else { return Ok(()) };
        let layer = |age: usize| &self.inputs[age].layer;
        let is_shadowed = |entry: &LayerEntryRef<'_>| {
            newer.iter().any(|Newer { entry: newer, .. }| {
                newer.keyspace == entry.keyspace && *newer.key == *entry.key
            })
        };
        self.report.read += offsets.len() as u64 + 1;
        if offsets.is_empty() {
            let entry = layer(last.0).entry_at(hash, last.1)?;
            let is_shadowed = is_shadowed(&entry);
            return self.report.take(&entry, is_shadowed, writer, keep);
        }
        offsets.push(last);
        let mut entries = Vec::with_capacity(offsets.len());
        for (age, offset) in offsets {
            entries.push((age, layer(age).entry_at(hash, offset)?));
        }
        entries.sort_by(|(age, entry), (other_age, other)| {
            let order = |entry: &LayerEntryRef<'_>, age: usize| (Reverse(entry.seq), age);
            (entry.keyspace, &entry.key)
                .cmp(&(other.keyspace, &other.key))
                .then_with(|| order(entry, *age).cmp(&order(other, *other_age)))
        });
        let mut previous = None;
        for (_, entry) in &entries {
            let key = Some((entry.keyspace, &entry.key));
            self.report.take(entry, key == previous || is_shadowed(entry), writer, keep)?;
            previous = key;
        }
        Ok(())
    }
}

impl MergeReport {
    /// Writes an entry, if it is neither shadowed nor unwanted, and counts it.
    fn take(
        &mut self,
        entry: &LayerEntryRef<'_>,
        is_shadowed: bool,
        writer: &mut LayerWriter,
        keep: &mut impl FnMut(&LayerEntryRef<'_>) -> bool,
    ) -> Result<()> {
        if is_shadowed {
            self.shadowed += 1;
        } else if keep(entry) {
            writer.add_ref(entry)?;
            self.written += 1;
        } else {
            self.dropped += 1;
        }
        Ok(())
    }
}

impl Input {
    fn look_ahead(&mut self) -> Result<()> {
        let (index, source) = (self.layer.index(), self.layer.source());
        if self.next >= index.entries() {
            self.head = None;
            return Ok(());
        }
        if self.next >= self.index_asked {
            self.index_asked = self.next.saturating_add(AHEAD_RANKS);
            source.will_need(index.bytes_of(self.next..self.index_asked));
        }
        let (hash, offset) = index.at(source, self.next)?;
        // A layer that lies in the order of its hashes is read from front to back; of any other, pages come one by one.
        let is_next = offset >= self.data_asked && offset <= self.data_asked.saturating_add(AHEAD_BYTES);
        if is_next {
            self.data_asked = offset.saturating_add(AHEAD_BYTES).min(self.layer.data().end);
            source.will_need(offset..self.data_asked);
        }
        self.head = Some((hash, offset));
        Ok(())
    }
}
