//! Writing a layer.

use std::io;
use std::path::Path;
use std::sync::Arc;

use warp_io::{Dir, File, write_all_at};

use crate::access::{BlockCache, LayerAccess};
use crate::blocks::{BlockWriter, Body};
use crate::compress::compress;
use crate::entry::{EntryHead, LayerEntry, Stored};
use crate::entry_ref::LayerEntryRef;
use crate::error::{Corruption, Error, Result, io_at};
use crate::filter;
use crate::format::{
    BLOCK_BYTES, DATA_END_MAX, ENTRIES_MAX, Footer, HEADER_BYTES, KEY_BYTES_MAX, SECTION_ALIGN,
    SPARSE_ENTRIES, Section, TRAILER_MAGIC, Trailer, VALUE_BYTES_MAX, encode_header,
};
use crate::index::{self, slot_bits_for};
use crate::layer::{Layer, LayerInfo};
use crate::names::{layer_name, parse_layer_name, places_name, temporary_name};
use crate::place::split_path;
use crate::places::Places;
use crate::raw::Raw;
use crate::verify::verify;

/// Values below this size are rarely worth a decompression at each read.
const COMPRESS_FROM_BYTES_DEFAULT: usize = 256;

/// Blocks that are kept while a file is read back from front to back.
const READ_BACK_BYTES: usize = 1 << 20;

/// Memory for compressing that is kept from one value to the next.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// After so many blocks it is clear whether entries are so large that there will be no sparse index.
const FIRSTS_TRIED: u64 = 1 << 12;

/// Bytes of a step of the completion of a file.
pub(crate) const STEP_BYTES: u64 = 64 << 10;

/// How a layer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerOptions {
    /// Values of at least so many bytes are compressed with LZ4 where that saves at least an eighth; `None` for
    /// never. Default: 256. Compressed values take less disk and page cache, and are copied when they are read.
    pub compress_from: Option<usize>,
}

impl Default for LayerOptions {
    fn default() -> LayerOptions {
        LayerOptions { compress_from: Some(COMPRESS_FROM_BYTES_DEFAULT) }
    }
}

/// Writes a layer file: entries in any order, then [`finish`](LayerWriter::finish).
///
/// Entries that are read together are best added one after the other, since they are stored in that order. The
/// writer holds about three megabytes of memory, or less [if told](LayerWriter::with_memory), however many there are; if they do not come in ascending order of their
/// hashes, about 11 bytes for each while it finishes. Dropping it without finishing removes the file.
#[derive(Debug)]
pub struct LayerWriter {
    target: Target,
    out: Option<BlockWriter>,
    compress_from: Option<usize>,
    id: u64,
    entries: Places,
    firsts: Firsts,
    counts: Footer,
    head: Vec<u8>,
    compressed: Vec<u8>,
}

/// Where the file goes.
#[derive(Debug)]
struct Target {
    dir: Arc<dyn Dir>,
    name: String,
    /// The name that the file gets when it is finished, if it is not its name from the beginning.
    rename_to: Option<String>,
    finished: bool,
}

impl LayerWriter {
    /// Starts a layer at `path`. The file appears under that name when it is finished, in one step, and replaces
    /// one that had the name before; until then it is `<path>.tmp`.
    ///
    /// The layer's id is the number in a name like `17.warp`, and 0 for any other name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, options: &LayerOptions) -> Result<LayerWriter> {
        let (dir, name) = split_path(path.as_ref())?;
        let temporary = temporary_name(&name);
        // Of an attempt that a crash ended. Whether there was one, and whether it is gone, `start` finds out.
        let _ = dir.remove(&temporary);
        let id = parse_layer_name(&name).unwrap_or(0);
        let target = Target { dir: Arc::new(dir), name: temporary, rename_to: Some(name), finished: false };
        LayerWriter::start(target, id, options)
    }

    /// Starts the layer of that id in `dir`, under its own name, which must be new: nothing refers to it until a
    /// manifest does.
    ///
    /// # Errors
    /// [`Error::Io`], with [`io::ErrorKind::AlreadyExists`] if there is a file of that name.
    pub fn create_in(dir: &dyn Dir, id: u64, options: &LayerOptions) -> Result<LayerWriter> {
        let target = Target { dir: dir.handle(), name: layer_name(id), rename_to: None, finished: false };
        LayerWriter::start(target, id, options)
    }

    fn start(mut target: Target, id: u64, options: &LayerOptions) -> Result<LayerWriter> {
        let file = match target.dir.create_new(&target.name) {
            Ok(file) => file,
            Err(source) => {
                target.finished = true; // nothing of ours to remove
                return Err(Error::Io { file: target.name.clone(), offset: None, source });
            }
        };
        let mut out = BlockWriter::new(file);
        out.push(&encode_header(id)).map_err(io_at(&target.name))?;
        let places = || Places::new(Arc::clone(&target.dir), places_name(id));
        let (entries, firsts) = (places(), Firsts::new(places()));
        Ok(LayerWriter {
            target,
            out: Some(out),
            compress_from: options.compress_from,
            id,
            entries,
            firsts,
            counts: Footer { id, seq_min: u64::MAX, ..Footer::default() },
            head: Vec::new(),
            compressed: Vec::new(),
        })
    }

    /// The same writer, which remembers where entries are in about so many bytes of memory, for as far as that is less than by
    /// itself: the rest goes to a file.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> LayerWriter {
        self.entries.limit_memory(bytes / 2);
        self.firsts.places.limit_memory(bytes / 2);
        self
    }

    /// Adds an entry. Each pair of keyspace and key may be added once; [`finish`](LayerWriter::finish) notices if
    /// one was added twice.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`] and [`Error::LayerFull`] leave the layer as it was. After
    /// [`Error::Io`] the writer is of no more use.
    pub fn add(&mut self, entry: &LayerEntry<'_>) -> Result<()> {
        let mut compressed = std::mem::take(&mut self.compressed);
        let stored = match entry.value {
            None => Stored::Tombstone,
            Some(value) if value.len() > VALUE_BYTES_MAX => {
                return Err(Error::ValueTooLong { bytes: value.len() });
            }
            Some(value) => self.stored_form(value, &mut compressed),
        };
        let answer = self.write(entry, stored);
        if compressed.len() <= SCRATCH_BYTES_MAX {
            self.compressed = compressed;
        }
        answer
    }

    /// Adds an entry whose value is compressed already: `entry.value` is an LZ4 block without a frame, which decompresses to
    /// `raw_bytes` bytes. A tombstone is added as by [`add`](LayerWriter::add).
    ///
    /// # Errors
    /// Those of [`add`](LayerWriter::add). What the block holds is not looked at: one that does not decompress is found
    /// by [`finish`](LayerWriter::finish).
    pub fn add_compressed(&mut self, entry: &LayerEntry<'_>, raw_bytes: u32) -> Result<()> {
        let longest = raw_bytes as usize;
        let stored = match entry.value {
            None => Stored::Tombstone,
            Some(bytes) if longest.max(bytes.len()) > VALUE_BYTES_MAX => {
                return Err(Error::ValueTooLong { bytes: longest.max(bytes.len()) });
            }
            Some(bytes) => Stored::Compressed { bytes, raw_bytes },
        };
        self.write(entry, stored)
    }

    /// Adds an entry of another layer. Its value is taken over as it is stored there.
    ///
    /// # Errors
    /// Those of [`add`](LayerWriter::add), and [`Error::Corrupt`] if the value's blocks in the other layer are
    /// damaged, which leaves this one as it was.
    pub fn add_ref(&mut self, entry: &LayerEntryRef<'_>) -> Result<()> {
        let &LayerEntryRef { hash, keyspace, ref key, seq, deadline, .. } = entry;
        let bytes = entry.stored()?;
        let stored = match (&bytes, entry.head.raw_bytes) {
            (None, _) => Stored::Tombstone,
            (Some(bytes), None) => Stored::Plain(bytes),
            (Some(bytes), Some(raw_bytes)) => Stored::Compressed { bytes, raw_bytes },
        };
        self.write(&LayerEntry { hash, keyspace, key, seq, deadline, value: None }, stored)
    }

    /// Bytes of memory that the writer holds at this moment, without the value that it is compressing.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let out = self.out.as_ref().map_or(0, BlockWriter::memory_bytes);
        self.entries.memory_bytes() + self.firsts.places.memory_bytes() + out
    }

    /// How many entries were added so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.len()
    }

    /// How many bytes the file has so far, without index and filter.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.out.as_ref().map_or(0, BlockWriter::position)
    }

    /// Completes the file: writes index, filter and checksums, syncs it, reads it back through a map, and verifies
    /// it in full.
    ///
    /// A layer made with [`create_in`](LayerWriter::create_in) is not yet safe from a power loss: its name is not.
    /// The caller syncs the directory, and publishes a manifest. A layer made with [`create`](LayerWriter::create)
    /// gets its name here, and the directory is synced.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::DuplicateKey`]; [`Error::Corrupt`] if the disk does not give back what was written.
    /// The file is removed in all these cases; only if the directory cannot be synced may it be there or not.
    pub fn finish(self) -> Result<LayerInfo> {
        self.finish_with(&LayerAccess::Map, &mut |_| true)
    }

    /// As [`finish`](LayerWriter::finish), and reads the file back as `access` says; through a cache of its own, so that
    /// what is read once pushes nothing out of the given one.
    ///
    /// It goes in steps, so that it can be paced: `step` is called again and again with the number of bytes that were
    /// written or read back since, some ten thousand, and says whether to go on. One step is not bounded: that which waits
    /// for the disk.
    ///
    /// # Errors
    /// Those of [`finish`](LayerWriter::finish); [`Error::Stopped`] if `step` said no.
    pub fn finish_with(
        mut self,
        access: &LayerAccess,
        step: &mut dyn FnMut(u64) -> bool,
    ) -> Result<LayerInfo> {
        let out = self.out.take().ok_or_else(|| self.target.writer_failed())?;
        let (footer, body) = self.finish_body(out, step)?;
        let (tail, root) = encode_tail(&footer, &body);
        let name = &self.target.name;
        write_all_at(&*body.file, body.bytes, &tail).map_err(io_at(name))?;
        body.file.sync_data().map_err(io_at(name))?;
        let info = footer.info(body.bytes + tail.len() as u64, root);
        self.entries.clear();
        self.firsts.places.clear();
        self.read_back(&body.file, &info, access, step)?;
        self.target.publish()?;
        Ok(info)
    }

    /// The form in which a value is stored.
    fn stored_form<'a>(&self, value: &'a [u8], scratch: &'a mut Vec<u8>) -> Stored<'a> {
        let worth_trying = self.compress_from.is_some_and(|from| value.len() >= from);
        match u32::try_from(value.len()) {
            Ok(raw_bytes) if worth_trying => match compress(value, scratch) {
                Some(bytes) => Stored::Compressed { bytes, raw_bytes },
                None => Stored::Plain(value),
            },
            _ => Stored::Plain(value),
        }
    }

    /// Writes an entry whose value is `stored`, whatever `entry` holds as one.
    fn write(&mut self, entry: &LayerEntry<'_>, stored: Stored<'_>) -> Result<()> {
        if entry.key.len() > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong { bytes: entry.key.len() });
        }
        let Some(out) = &mut self.out else { return Err(self.target.writer_failed()) };
        let offset = out.position();
        let head = EntryHead {
            keyspace: entry.keyspace,
            seq: entry.seq,
            deadline: entry.deadline,
            key_bytes: entry.key.len(),
            value_bytes: (!matches!(stored, Stored::Tombstone)).then(|| stored.bytes().len()),
            raw_bytes: match stored {
                Stored::Compressed { raw_bytes, .. } => Some(raw_bytes),
                _ => None,
            },
        };
        let end = offset.saturating_add(head.ranges().1.end as u64);
        if self.entries.len() >= ENTRIES_MAX || end > DATA_END_MAX {
            return Err(Error::LayerFull { file: self.target.name.clone() });
        }
        self.head.clear();
        head.encode(&mut self.head);
        let (entries, firsts) = (&mut self.entries, &mut self.firsts);
        let written = out
            .push(&self.head)
            .and_then(|()| out.push(entry.key))
            .and_then(|()| out.push(stored.bytes()))
            .and_then(|()| entries.add(entry.hash, offset))
            .and_then(|()| firsts.add(self.counts.entries, entry.hash, offset));
        if let Err(source) = written {
            self.out = None;
            return Err(Error::Io { file: self.target.name.clone(), offset: None, source });
        }
        let counts = &mut self.counts;
        counts.entries += 1;
        counts.tombstones += u64::from(head.value_bytes.is_none());
        counts.seq_min = counts.seq_min.min(entry.seq);
        counts.seq_max = counts.seq_max.max(entry.seq);
        counts.raw_value_bytes += head.raw_value_bytes() as u64;
        counts.stored_value_bytes += stored.bytes().len() as u64;
        Ok(())
    }

    /// Writes directory, index and filter, and says in the footer where they are.
    fn finish_body(
        &mut self,
        mut out: BlockWriter,
        step: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(Footer, Body)> {
        let mut footer = self.counts;
        if footer.entries == 0 {
            footer.seq_min = 0;
        }
        footer.slot_bits = slot_bits_for(footer.entries);
        footer.data = Section { offset: HEADER_BYTES as u64, bytes: out.position() - HEADER_BYTES as u64 };
        let (entries, firsts) = (&mut self.entries, &mut self.firsts);
        let mut is_stopped = false;
        let mut stepped = out.position();
        let mut go_on = |position: u64| {
            if position - stepped >= STEP_BYTES {
                is_stopped |= !step(position - stepped);
                stepped = position;
            }
            if is_stopped { Err(io::Error::from(io::ErrorKind::Interrupted)) } else { Ok(()) }
        };
        let written = (|| {
            if let Some(places) = firsts.worth_it(footer.entries) {
                footer.sparse = section(&mut out, |out| push_index(places, out, &mut go_on))?;
            }
            let directory = directory(entries, footer.slot_bits);
            footer.directory = section(&mut out, |out| out.push(&directory))?;
            footer.index = section(&mut out, |out| push_index(entries, out, &mut go_on))?;
            // In a second walk, since its lines lie in the order of the hashes, so that one is enough at a time.
            footer.filter = section(&mut out, |out| {
                let mut filter = FilterWriter::new(entries.len());
                entries.sorted()?.try_for_each(|pair| {
                    filter.add(pair?.0, out)?;
                    go_on(out.position())
                })?;
                filter.finish(out)
            })?;
            out.finish()
        })();
        if is_stopped {
            return Err(Error::Stopped { file: self.target.name.clone() });
        }
        let body = written.map_err(io_at(&self.target.name))?;
        Ok((footer, body))
    }

    /// Verifies the written file, and that it is the one that was written.
    fn read_back(
        &self,
        file: &Arc<dyn File>,
        info: &LayerInfo,
        access: &LayerAccess,
        step: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        let access = match access {
            LayerAccess::Map => LayerAccess::Map,
            LayerAccess::Read(_) => LayerAccess::Read(BlockCache::new(READ_BACK_BYTES)),
        };
        let name = &self.target.name;
        let raw = Raw::open(name, file, &access)?;
        let verified = Layer::of_raw(name.clone(), raw, Some(self.id), Some(info))
            .and_then(|layer| verify(&layer, step));
        match verified {
            Err(Error::Corrupt { file, found: Corruption::DuplicateKey { hash }, .. }) => {
                Err(Error::DuplicateKey { file, hash })
            }
            other => other.map(|_| ()),
        }
    }
}

impl Target {
    fn writer_failed(&self) -> Error {
        Error::WriterFailed { file: self.name.clone() }
    }

    /// Gives the file its name.
    fn publish(&mut self) -> Result<()> {
        if let Some(to) = &self.rename_to {
            self.dir.rename(&self.name, to).map_err(io_at(to))?;
            self.finished = true;
            self.dir.sync_dir().map_err(io_at(to))?;
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is found by `obsolete` later.
            let _ = self.dir.remove(&self.name);
        }
    }
}

/// Writes a section at the next place where one may begin.
fn section(
    out: &mut BlockWriter,
    write: impl FnOnce(&mut BlockWriter) -> io::Result<()>,
) -> io::Result<Section> {
    out.pad_to(SECTION_ALIGN)?;
    let offset = out.position();
    write(out)?;
    Ok(Section { offset, bytes: out.position() - offset })
}

/// Writes pairs of a hash and an offset in their order; `go_on` is asked with the position in the file.
fn push_index(
    places: &mut Places,
    out: &mut BlockWriter,
    go_on: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    places.sorted()?.try_for_each(|pair| {
        let (hash, offset) = pair?;
        out.push(&index::encode_entry(hash, offset))?;
        go_on(out.position())
    })
}

/// The first entry that begins in each block, as long as entries come in the order of their hashes, and are not large: the sparse
/// index.
#[derive(Debug)]
struct Firsts {
    places: Places,
    /// The hash and the block of the last entry.
    last: Option<(u64, u64)>,
    is_of_use: bool,
}

impl Firsts {
    fn new(places: Places) -> Firsts {
        Firsts { places, last: None, is_of_use: true }
    }

    /// Takes note of an entry, which is that number of its layer.
    fn add(&mut self, number: u64, hash: u64, offset: u64) -> io::Result<()> {
        let block = offset / BLOCK_BYTES as u64;
        let last = self.last.replace((hash, block));
        let are_large = self.places.len() > FIRSTS_TRIED && self.places.len() > number / 2;
        if self.is_of_use && (last.is_some_and(|(before, _)| hash < before) || are_large) {
            self.is_of_use = false;
            self.places.clear();
        }
        if self.is_of_use && last.is_none_or(|(_, before)| block != before) {
            self.places.add(hash, offset)?;
        }
        Ok(())
    }

    /// Those of a layer of so many entries, if they save enough.
    fn worth_it(&mut self, entries: u64) -> Option<&mut Places> {
        let is_worth_it = self.is_of_use && self.places.len() <= entries / SPARSE_ENTRIES;
        is_worth_it.then_some(&mut self.places)
    }
}

/// The ranks at which the slots begin, and the number of entries.
fn directory(entries: &Places, slot_bits: u32) -> Vec<u8> {
    let mut sum: u32 = 0;
    let mut bytes = Vec::with_capacity(index::directory_bytes(slot_bits));
    bytes.extend_from_slice(&sum.to_le_bytes());
    for count in entries.in_slots(slot_bits) {
        sum += count;
        bytes.extend_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// Writes the filter of a layer line by line. Hashes come in ascending order, in which the lines lie.
struct FilterWriter {
    lines: usize,
    line: [u8; filter::LINE_BYTES],
    /// The number of that line.
    number: usize,
}

impl FilterWriter {
    fn new(entries: u64) -> FilterWriter {
        let lines = usize::try_from(filter::lines_for(entries))
            .expect("there are fewer lines than entries in 32 bits");
        FilterWriter { lines, line: [0; filter::LINE_BYTES], number: 0 }
    }

    fn add(&mut self, hash: u64, out: &mut BlockWriter) -> io::Result<()> {
        self.go_to(filter::line_of(hash, self.lines), out)?;
        filter::insert(&mut self.line, hash);
        Ok(())
    }

    /// Writes the lines before `number`.
    fn go_to(&mut self, number: usize, out: &mut BlockWriter) -> io::Result<()> {
        while self.number < number {
            out.push(&self.line)?;
            self.line = [0; filter::LINE_BYTES];
            self.number += 1;
        }
        Ok(())
    }

    fn finish(mut self, out: &mut BlockWriter) -> io::Result<()> {
        self.go_to(self.lines, out)
    }
}

/// Everything behind the body: the check array, the checksums of its pieces, the footer, and the trailer; and the
/// root.
fn encode_tail(footer: &Footer, body: &Body) -> (Vec<u8>, u32) {
    let mut tail: Vec<u8> = body.checks.iter().flat_map(|check| check.to_le_bytes()).collect();
    let pieces: Vec<u32> = tail.chunks(BLOCK_BYTES).map(crc32c::crc32c).collect();
    let pieces_offset = tail.len();
    tail.extend(pieces.iter().flat_map(|check| check.to_le_bytes()));
    tail.extend_from_slice(&footer.encode());
    let before_root = Trailer::encode_before_root(body.bytes);
    let root = crc32c::crc32c_append(crc32c::crc32c(&tail[pieces_offset..]), &before_root);
    tail.extend_from_slice(&before_root);
    tail.extend_from_slice(&root.to_le_bytes());
    tail.extend_from_slice(&TRAILER_MAGIC);
    (tail, root)
}
