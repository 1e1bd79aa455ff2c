//! Several layers into one.

use std::cmp::Reverse;

use crate::{Layer, LayerEntryRef, LayerWriter, Result};

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
    next: u32,
    /// The hash of the next entry; `None` at the end.
    hash: Option<u64>,
    started: bool,
}

impl Merge {
    /// A merge of `inputs`, newest first, that has not begun.
    #[must_use]
    pub fn new(inputs: &[&Layer]) -> Merge {
        let input = |layer: &&Layer| Input { layer: (*layer).clone(), next: 0, hash: None, started: false };
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
        mut keep: impl FnMut(&LayerEntryRef<'_>) -> bool,
    ) -> Result<bool> {
        for input in self.inputs.iter_mut().filter(|input| !input.started) {
            input.look_ahead()?;
            input.started = true;
        }
        let target = self.report.read.saturating_add(entries.max(1) as u64);
        while self.report.read < target {
            let Some(hash) = self.inputs.iter().filter_map(|input| input.hash).min() else {
                return Ok(true);
            };
            self.merge_hash(hash, writer, &mut keep)?;
        }
        Ok(self.inputs.iter().all(|input| input.hash.is_none()))
    }

    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> MergeReport {
        self.report
    }

    /// Merges all entries of one hash: nearly always those of one key.
    fn merge_hash(
        &mut self,
        hash: u64,
        writer: &mut LayerWriter,
        keep: &mut impl FnMut(&LayerEntryRef<'_>) -> bool,
    ) -> Result<()> {
        let mut entries = Vec::with_capacity(self.inputs.len());
        for (age, input) in self.inputs.iter_mut().enumerate() {
            let first = input.next;
            while input.hash == Some(hash) {
                input.next += 1;
                input.look_ahead()?;
            }
            for rank in first..input.next {
                entries.push((age, input.layer.entry_of_rank(rank)?));
            }
        }
        entries.sort_by(|(age, entry), (other_age, other)| {
            let order = |entry: &LayerEntryRef<'_>, age: usize| (Reverse(entry.seq), age);
            (entry.keyspace, &entry.key)
                .cmp(&(other.keyspace, &other.key))
                .then_with(|| order(entry, *age).cmp(&order(other, *other_age)))
        });
        self.report.read += entries.len() as u64;
        let mut previous = None;
        for (_, entry) in &entries {
            let key = Some((entry.keyspace, &entry.key));
            if key == previous {
                self.report.shadowed += 1;
            } else if keep(entry) {
                writer.add_ref(entry)?;
                self.report.written += 1;
            } else {
                self.report.dropped += 1;
            }
            previous = key;
        }
        Ok(())
    }
}

impl Input {
    fn look_ahead(&mut self) -> Result<()> {
        let index = self.layer.index();
        self.hash = if self.next < index.entries() {
            Some(index.at(self.layer.source(), self.next)?.0)
        } else {
            None
        };
        Ok(())
    }
}
