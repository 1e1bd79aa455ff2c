//! Checks all of a layer. See `docs/format/checkpoint.md`, "What a reader does with damage".

use crate::checked::Checked;
use crate::error::{Corruption, Error, Result, corrupt};
use crate::format::INDEX_ENTRY_BYTES;
use crate::sparse::Compared;
use crate::writer::STEP_BYTES;
use crate::{Layer, LayerInfo};

/// Entries of the index that are looked at in one step.
const STEP_RANKS: u32 = 1 << 12;

/// What [`Layer::verify`] went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Entries, tombstones included.
    pub entries: u64,
    /// Blocks of 4 KiB, the last one perhaps shorter.
    pub blocks: u64,
}

/// Offsets of entries, in no particular order: two walks that saw the same ones have equal values, except with a
/// probability of 2^-64.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offsets(u64);

impl Offsets {
    fn add(&mut self, offset: usize) {
        self.0 = self.0.wrapping_add(mix(offset as u64));
    }
}

/// Checks all of a layer; `step` is called with the number of bytes that were looked at since, and says whether to go on.
pub(crate) fn verify(layer: &Layer, step: &mut dyn FnMut(u64) -> bool) -> Result<VerifyReport> {
    let source = layer.source();
    layer.check_ends()?;
    let blocks = source.check_all(step)?;
    let (counted, in_data) = walk_data(layer, step)?;
    compare_counts(source, layer.info(), &counted)?;
    let in_index = walk_index(layer, step)?;
    if in_data != in_index {
        let offset = source.layout().footer_offset as u64;
        return Err(corrupt(source.file(), offset, Corruption::OutOfOrder));
    }
    Ok(VerifyReport { entries: counted.entries, blocks })
}

/// Goes through the data area from front to back: decodes everything, leaves no byte out, and counts.
fn walk_data(layer: &Layer, step: &mut dyn FnMut(u64) -> bool) -> Result<(LayerInfo, Offsets)> {
    let (data, source) = (layer.data(), layer.source());
    let whole = source.whole();
    let mut counted = LayerInfo { seq_min: u64::MAX, ..LayerInfo::default() };
    let mut offsets = Offsets::default();
    let mut offset = data.start;
    let mut stepped = offset;
    while offset < data.end {
        if (offset - stepped) as u64 >= STEP_BYTES {
            go_on(layer, step((offset - stepped) as u64))?;
            stepped = offset;
        }
        let head = match whole {
            Some(body) => layer.head_at(offset, |range| Ok(&body[range]))?,
            None => layer.head_at(offset, |range| source.checked(range))?,
        };
        if head.raw_bytes.is_some() {
            layer.entry_at(0, offset)?.value()?;
        }
        counted.entries += 1;
        counted.tombstones += u64::from(head.value_bytes.is_none());
        counted.seq_min = counted.seq_min.min(head.seq);
        counted.seq_max = counted.seq_max.max(head.seq);
        counted.raw_value_bytes += head.raw_value_bytes() as u64;
        counted.stored_value_bytes += head.value_bytes.unwrap_or(0) as u64;
        offsets.add(offset);
        offset += head.ranges().1.end;
    }
    if counted.entries == 0 {
        counted.seq_min = 0;
    }
    Ok((counted, offsets))
}

fn compare_counts(source: &Checked, footer: &LayerInfo, counted: &LayerInfo) -> Result<()> {
    let pairs = [
        (footer.entries, counted.entries),
        (footer.tombstones, counted.tombstones),
        (footer.seq_min, counted.seq_min),
        (footer.seq_max, counted.seq_max),
        (footer.raw_value_bytes, counted.raw_value_bytes),
        (footer.stored_value_bytes, counted.stored_value_bytes),
    ];
    match pairs.into_iter().find(|(expected, found)| expected != found) {
        None => Ok(()),
        Some((expected, found)) => {
            let offset = source.layout().footer_offset as u64;
            Err(corrupt(source.file(), offset, Corruption::Miscounted { expected, found }))
        }
    }
}

/// Goes through the index: ascending hashes, each in its slot, passed by the filter, no key twice, and the
/// sparse index made of it.
fn walk_index(layer: &Layer, step: &mut dyn FnMut(u64) -> bool) -> Result<Offsets> {
    let (source, index) = (layer.source(), layer.index());
    let whole = source.whole();
    let mut offsets = Offsets::default();
    let mut run = Vec::new(); // offsets of the entries that have `run_hash`
    let mut run_hash = 0;
    let mut slot = (0, index.slot(source, 0)?);
    let mut compared = Compared::default();
    for rank in 0..index.entries() {
        if rank.is_multiple_of(STEP_RANKS) {
            go_on(layer, step(u64::from(STEP_RANKS) * INDEX_ENTRY_BYTES as u64))?;
        }
        let (hash, offset) = match whole {
            Some(body) => index.entry_in(body, rank),
            None => index.at(source, rank)?,
        };
        let damaged = |found| corrupt(source.file(), offset as u64, found);
        if index.slot_of(hash) != slot.0 {
            slot = (index.slot_of(hash), index.slot(source, hash)?);
        }
        if hash < run_hash || !slot.1.contains(&rank) {
            return Err(damaged(Corruption::OutOfOrder));
        }
        if !layer.may_contain(hash)? {
            return Err(damaged(Corruption::MissingFromFilter));
        }
        if hash != run_hash {
            check_distinct(layer, run_hash, &run)?;
            run.clear();
            run_hash = hash;
        }
        if let Some(sparse) = layer.sparse() {
            compared.entry(source, sparse, (hash, offset))?;
        }
        run.push(offset);
        offsets.add(offset);
    }
    check_distinct(layer, run_hash, &run)?;
    if let Some(sparse) = layer.sparse() {
        compared.finish(source, sparse)?;
    }
    Ok(offsets)
}

fn go_on(layer: &Layer, yes: bool) -> Result<()> {
    if yes { Ok(()) } else { Err(Error::Stopped { file: layer.source().file().to_owned() }) }
}

/// Checks that the entries at these offsets, which have the same hash, have different keys.
fn check_distinct(layer: &Layer, hash: u64, offsets: &[usize]) -> Result<()> {
    if offsets.len() < 2 {
        return Ok(());
    }
    let mut keys = Vec::with_capacity(offsets.len());
    for &offset in offsets {
        let entry = layer.entry_at(hash, offset)?;
        keys.push((entry.keyspace, entry.key, offset));
    }
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].1 == pair[1].1) {
        None => Ok(()),
        Some(pair) => {
            Err(corrupt(layer.source().file(), pair[1].2 as u64, Corruption::DuplicateKey { hash }))
        }
    }
}

/// Spreads a number over 64 bits: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
