//! How ready records become frames in segments.
//!
//! Whoever holds the writer's lock is the consumer of the ring: a caller that waits for a sync or for room, or
//! the log thread. The lock is not held during a sync, so that the next frame can be gathered meanwhile.

use crate::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use warp_io::{File, write_all_at};

use crate::admission::Charge;
use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, FRAME_PAYLOAD_BYTES, align_block, align_frame, blocks};
use crate::frame::{FrameHeader, FrameKind};
use crate::log::Log;
use crate::options::{Format, Position};
use crate::payload::set_seq;
use crate::prepare::Prepared;
use crate::ring::{Consumer, Ready, Ring};

/// The segment that frames go into.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Arc<dyn File>,
    pub(crate) name: String,
    number: u64,
    tag: u64,
    pub(crate) capacity: u64,
    /// Where the last frame ends.
    pub(crate) cursor: u64,
    /// The last sequence that was given before its end.
    pub(crate) last_seq: u64,
    /// Whether it begins with this life's open frame, which is durable.
    pub(crate) has_open_frame: bool,
    /// Whether there are frames in it that were not there at its last sync.
    pub(crate) dirty: bool,
    /// Blocks at its end that may stay unused because a group does not fit into them.
    pub(crate) waste_blocks: u64,
}

impl Active {
    pub(crate) fn new(segment: Prepared, waste_blocks: u64, last_seq: u64) -> Active {
        Active {
            file: segment.file,
            name: segment.name,
            number: segment.number,
            tag: segment.tag,
            capacity: segment.capacity,
            cursor: BLOCK_BYTES,
            last_seq,
            has_open_frame: false,
            dirty: false,
            waste_blocks,
        }
    }

    /// Blocks that admitted groups can count on here.
    pub(crate) fn usable_blocks(&self) -> u64 {
        // One block is kept for a close frame.
        (self.capacity / BLOCK_BYTES)
            .saturating_sub(blocks(self.cursor) + 1)
            .saturating_sub(self.waste_blocks)
    }
}

/// A segment that is not written to any more.
#[derive(Clone, Debug)]
pub(crate) struct Retired {
    pub(crate) name: String,
    /// The last sequence that was given before its end: a segment that holds nothing but an open frame is needed
    /// until the numbers that frame speaks of are not.
    pub(crate) last_seq: u64,
    pub(crate) bytes: u64,
}

/// A file with frames that no sync has covered yet.
pub(crate) type Unsynced = (Arc<dyn File>, String);

/// What belongs to the one who writes.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) active: Active,
    /// Earlier segments with frames that no sync has covered.
    pub(crate) unsynced: Vec<Unsynced>,
    pub(crate) consumer: Consumer,
    /// The next frame starts at a block edge, since a sync covers what stands before it.
    pub(crate) to_block: bool,
    /// Where the last frame begins.
    pub(crate) last_frame: Option<Position>,
    /// The highest watermark in any frame so far.
    pub(crate) watermark: u64,
    /// The newest time in any frame so far, in Unix milliseconds.
    pub(crate) time: u64,
    /// When ready records were last handed to the system.
    pub(crate) drained_at: Duration,
    /// When the oldest frame was written that no sync has covered.
    pub(crate) unsynced_since: Option<Duration>,
    /// The frame that is being gathered.
    frame: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(active: Active, consumer: Consumer) -> Writer {
        Writer {
            active,
            unsynced: Vec::new(),
            consumer,
            to_block: false,
            last_frame: None,
            watermark: 0,
            time: 0,
            drained_at: Duration::ZERO,
            unsynced_since: None,
            frame: Vec::new(),
        }
    }

    /// Where the next frame starts.
    fn frame_start(&self) -> u64 {
        let cursor = self.active.cursor;
        if self.to_block { align_block(cursor) } else { align_frame(cursor) }
    }

    /// Bytes that a frame's payload can have in the active segment; `None` if not even a header fits.
    pub(crate) fn payload_room(&self, format: Format) -> Option<u64> {
        let end = self.active.capacity.saturating_sub(BLOCK_BYTES);
        end.checked_sub(self.frame_start().saturating_add(format.frame_header_bytes() as u64))
    }

    /// Takes all files that the next sync has to cover, oldest first; later frames start at a new block.
    pub(crate) fn take_unsynced(&mut self) -> Vec<Unsynced> {
        let mut files = std::mem::take(&mut self.unsynced);
        if self.active.dirty {
            self.active.dirty = false;
            self.to_block = true;
            files.push((Arc::clone(&self.active.file), self.active.name.clone()));
        }
        self.unsynced_since = None;
        files
    }
}

impl Log {
    /// Hands everything that is ready at this moment to the system.
    pub(crate) fn drain(&self, writer: &mut Writer) -> Result<()> {
        self.check_alive()?;
        writer.drained_at = self.clock.monotonic();
        let stop = self.ring.next_seq();
        while writer.consumer.seq() + 1 < stop {
            let Some(ready) = self.ring.peek(&writer.consumer) else { break };
            let room = writer.payload_room(self.options.format);
            if room.is_none_or(|room| room < ready.bytes as u64) {
                self.next_segment(writer)?;
            } else if ready.by_reference {
                self.write_large_group(writer, &ready)?;
            } else {
                self.write_groups(writer)?;
            }
        }
        self.room.notify();
        Ok(())
    }

    /// Gathers ready records into one frame and writes it.
    fn write_groups(&self, writer: &mut Writer) -> Result<()> {
        let format = self.options.format;
        let header_bytes = format.frame_header_bytes();
        let room = writer.payload_room(format).unwrap_or(0);
        let mut frame = std::mem::take(&mut writer.frame);
        frame.clear();
        frame.resize(header_bytes, 0);
        let first_seq = writer.consumer.seq() + 1;
        let mut gathered = Gathered::default();
        while let Some(ready) = self.ring.peek(&writer.consumer) {
            let at = frame.len();
            let payload = at - header_bytes + ready.bytes;
            let large = gathered.groups > 0 && payload > FRAME_PAYLOAD_BYTES;
            if ready.by_reference || large || payload as u64 > room {
                break;
            }
            let (seq, words) = self.ring.take(&mut writer.consumer, &ready, &mut frame);
            let entries = set_seq(format, &mut frame[at..], seq);
            gathered.add(&ready, entries, Charge { words, blocks: format.frame_blocks(ready.bytes as u64) });
        }
        // The records are copied: their room can be used again while they are written.
        self.admission.give(Charge { words: gathered.charge.words, blocks: 0 });
        let header =
            self.frame_header(writer, FrameKind::Data, first_seq, gathered.groups, &frame[header_bytes..]);
        header.encode(format, &mut frame);
        let written = self.write_frame(writer, &header, &[&frame], gathered.charge.blocks);
        writer.frame = frame;
        written?;
        self.groups_written(writer, &header, &gathered);
        Ok(())
    }

    /// Writes the record at the head, whose payload is held outside of the ring, as a frame of its own.
    fn write_large_group(&self, writer: &mut Writer, ready: &Ready) -> Result<()> {
        let format = self.options.format;
        let (seq, _) = self.ring.take(&mut writer.consumer, ready, &mut Vec::new());
        let payload = self.large.lock().remove(&seq);
        // It was put there before the record became ready.
        let mut payload = payload.ok_or(Error::Invalid { what: "a large group without content" })?;
        let mut gathered = Gathered::default();
        let entries = set_seq(format, &mut payload, seq);
        let words = self.words_for(ready.bytes);
        gathered.add(ready, entries, Charge { words, blocks: format.frame_blocks(ready.bytes as u64) });
        let header = self.frame_header(writer, FrameKind::Data, seq, 1, &payload);
        let mut head = vec![0; format.frame_header_bytes()];
        header.encode(format, &mut head);
        let written = self.write_frame(writer, &header, &[&head, &payload], gathered.charge.blocks);
        self.large_bytes.fetch_sub(payload.len() as u64, Ordering::Relaxed);
        drop(payload);
        written?;
        self.admission.give(Charge { words, blocks: 0 });
        self.groups_written(writer, &header, &gathered);
        Ok(())
    }

    /// Writes a frame without groups.
    pub(crate) fn write_bare_frame(
        &self,
        writer: &mut Writer,
        kind: FrameKind,
        payload: &[u8],
    ) -> Result<()> {
        self.check_alive()?;
        let next_seq = writer.consumer.seq() + 1;
        let header = self.frame_header(writer, kind, next_seq, 0, payload);
        let mut head = vec![0; self.options.format.frame_header_bytes()];
        header.encode(self.options.format, &mut head);
        let charged = u64::from(kind == FrameKind::Mark);
        self.write_frame(writer, &header, &[&head, payload], charged)
    }

    fn frame_header(
        &self,
        writer: &mut Writer,
        kind: FrameKind,
        first_seq: u64,
        groups: u32,
        payload: &[u8],
    ) -> FrameHeader {
        writer.time = writer.time.max(self.clock.unix_millis());
        FrameHeader {
            kind,
            tag: writer.active.tag,
            offset: writer.frame_start(),
            first_seq,
            groups,
            // A frame holds at most one group above 1 MiB, whose length has 31 bits.
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_crc: crc32c::crc32c(payload),
            time: writer.time,
            watermark: self.durable.load(Ordering::Acquire),
        }
    }

    /// Writes a frame at the place that its header names, and gives back what it was charged too much.
    fn write_frame(
        &self,
        writer: &mut Writer,
        header: &FrameHeader,
        parts: &[&[u8]],
        charged_blocks: u64,
    ) -> Result<()> {
        let usable = writer.active.usable_blocks();
        let mut offset = header.offset;
        for part in parts {
            write_all_at(&*writer.active.file, offset, part)
                .map_err(|source| self.fail(Error::io(&writer.active.name, offset, source)))?;
            offset += part.len() as u64;
        }
        writer.last_frame = Some(Position { segment: writer.active.number, offset: header.offset });
        writer.active.cursor = offset;
        writer.active.dirty = true;
        writer.to_block = false;
        writer.watermark = header.watermark;
        if header.groups > 0 {
            writer.active.last_seq = header.next_seq() - 1;
            writer.unsynced_since.get_or_insert(writer.drained_at);
        }
        let used = usable - writer.active.usable_blocks();
        self.admission.give(Charge { words: 0, blocks: charged_blocks.saturating_sub(used) });
        self.counters.bytes_written.fetch_add(offset - header.offset, Ordering::Relaxed);
        Ok(())
    }

    fn groups_written(&self, writer: &Writer, header: &FrameHeader, gathered: &Gathered) {
        self.written.store(writer.consumer.seq(), Ordering::Release);
        let counters = &self.counters;
        counters.frames.fetch_add(1, Ordering::Relaxed);
        counters.groups.fetch_add(u64::from(header.groups), Ordering::Relaxed);
        counters.payload_bytes.fetch_add(u64::from(header.payload_bytes), Ordering::Relaxed);
        counters.entries.fetch_add(gathered.entries, Ordering::Relaxed);
        counters.raw_value_bytes.fetch_add(gathered.raw_value_bytes, Ordering::Relaxed);
        counters.stored_value_bytes.fetch_add(gathered.stored_value_bytes, Ordering::Relaxed);
    }

    /// Goes on in the next prepared segment. What was admitted is known to fit, so that there is one.
    pub(crate) fn next_segment(&self, writer: &mut Writer) -> Result<()> {
        let start = self.clock.monotonic();
        let Some(next) = self.ready.lock().pop_front() else {
            return Err(self.fail(Error::Full));
        };
        let waste_blocks = self.group_blocks_max().saturating_sub(1);
        let active = Active::new(next, waste_blocks, writer.consumer.seq());
        self.switch_to(writer, active);
        let took = self.clock.monotonic().saturating_sub(start);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counters.longest_rotation_nanos.fetch_max(nanos, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a segment the active one. The one before is synced with the next sync.
    pub(crate) fn switch_to(&self, writer: &mut Writer, next: Active) {
        let last = std::mem::replace(&mut writer.active, next);
        self.retired.lock().push(Retired {
            name: last.name.clone(),
            last_seq: last.last_seq,
            bytes: last.capacity,
        });
        if last.dirty {
            writer.unsynced.push((last.file, last.name));
        }
        writer.to_block = false;
        self.counters.rotations.fetch_add(1, Ordering::Relaxed);
    }

    /// Words of the ring that a group is charged: what it takes there, or what it takes elsewhere, so that all
    /// memory of the log is bounded by the ring and two groups. Never more than half of the ring: a group that had to wait
    /// until all of it is free would wait for as long as others write.
    pub(crate) fn words_for(&self, bytes: usize) -> u64 {
        Ring::record_words(bytes).min(self.ring.capacity() / 2)
    }
}

/// The sums of a frame.
#[derive(Default)]
struct Gathered {
    groups: u32,
    entries: u64,
    raw_value_bytes: u64,
    stored_value_bytes: u64,
    charge: Charge,
}

impl Gathered {
    fn add(&mut self, ready: &Ready, entries: u64, charge: Charge) {
        self.groups += 1;
        self.entries += entries;
        self.raw_value_bytes += ready.raw_value_bytes;
        self.stored_value_bytes += ready.stored_value_bytes;
        self.charge.words += charge.words;
        self.charge.blocks += charge.blocks;
    }
}
