//! Walking along a log from its oldest segment to its end. `docs/format/wal.md`, section "Damage".
//!
//! A log is a sequence of *lives*, one for every time it was opened. Each begins with an open frame, which states
//! where the life before ended: up to there everything has to be readable, and what lies beyond is not
//! part of the log. Only the end of the last life is looked for. What to do at a place where the log
//! cannot be read on is decided by the table in `decide.rs`.

use std::collections::VecDeque;

use crate::decide::{Decision, Situation, decide};
use crate::deliver::{Apply, Delivery, Payload, deliver};
use crate::error::{Corruption, Error, Result};
use crate::format::{BLOCK_BYTES, align_block, align_frame};
use crate::frame::{FrameHeader, FrameKind, Statement};
use crate::lives::{Life, lives};
use crate::options::{Recovery, Start, Until};
use crate::reader::{Place, Segment, Window, open_segments};
use crate::report::{Lost, ReplayReport, Trimmed};
use crate::segment::segment_name;
use warp_io::Dir;

/// After an end that was not clean, numbers go on at the next multiple of this.
const SEQ_JUMP: u64 = 1 << 32;

/// What a walk found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) report: ReplayReport,
    pub(crate) segments: Vec<Segment>,
    /// What the next open frame has to state.
    pub(crate) statement: Statement,
    /// The last sequence that was given before the end of each segment; 0 if nothing is known of it.
    pub(crate) last_seqs: Vec<u64>,
    /// Frames that were read, and may be in the system's memory only: segment, from, to.
    pub(crate) unsynced: Vec<(usize, u64, u64)>,
    /// Segments that nothing was ever written to.
    pub(crate) unused: Vec<usize>,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    index: usize,
    offset: u64,
}

/// What lies beyond a place where the log cannot be read on.
#[derive(Default)]
struct Rest {
    /// The first whole frame with which the log may go on, and its segment.
    next: Option<(usize, FrameHeader)>,
    /// The highest watermark.
    watermark: u64,
    /// Whole frames.
    frames: u64,
    /// Bytes up to the last one that is not blank, in each segment.
    content_bytes: u64,
}

struct Walk<'a, 'd> {
    segments: Vec<Segment>,
    window: Window,
    start: Start,
    until: Until,
    delivery: &'a mut Delivery<'d>,
    progress: &'a mut dyn FnMut(u64, u64),
    report: ReplayReport,
    /// The sequence that the next frame has to begin with, where that is known.
    expected: Option<u64>,
    /// The last sequence that was recovered, or that an open frame says was.
    last_seq: u64,
    /// The highest watermark in any frame of the present life that was read.
    watermark: u64,
    /// Damage with which nothing was lost, and the sequence whose watermark says that it was not a torn write.
    harmless: Vec<(Lost, u64)>,
    /// A place that was read again because something behind it says that it was durable.
    read_again: Option<At>,
    /// Where the log ends.
    end: Option<At>,
    last_seqs: Vec<u64>,
    /// Frames of the last life that no later watermark covers: segment, from, to, sequence.
    tail: VecDeque<(usize, u64, u64, u64)>,
    /// Segments from here on were searched, and nothing was found in them if it says so.
    blank: Vec<bool>,
    /// Every frame that is part of the log, with its segment, if that is asked for.
    frames: Option<Vec<(usize, FrameHeader)>>,
    /// Bytes of the segments before the present one.
    bytes_before: u64,
    bytes_all: u64,
}

/// Reads a log from its oldest segment to its end. Changes nothing.
pub(crate) fn walk(
    dir: &dyn Dir,
    recovery: Recovery,
    start: Start,
    apply: Apply<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Found> {
    walk_until(&[dir], recovery, start, Until::default(), apply, progress)
}

/// As [`walk`], and returns every frame that is part of the log, with its segment.
pub(crate) fn walk_frames(
    dir: &dyn Dir,
    recovery: Recovery,
    start: Start,
) -> Result<(Found, Vec<(usize, FrameHeader)>)> {
    let apply = Apply::InOrder(&mut |_, _| {});
    let (read, _) = deliver(start.from..=u64::MAX, apply, |delivery| {
        let mut progress = |_, _| {};
        let mut walk = Walk::new(&[dir], start, Until::default(), delivery, &mut progress)?;
        walk.frames = Some(Vec::new());
        let frames = walk.read(recovery)?;
        Ok((walk.finish(recovery)?, frames))
    })?;
    Ok(read)
}

/// As [`walk`], through several directories, and no further than a bound.
pub(crate) fn walk_until(
    dirs: &[&dyn Dir],
    recovery: Recovery,
    start: Start,
    until: Until,
    apply: Apply<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Found> {
    let (mut found, entries) = deliver(start.from..=until.seq, apply, |delivery| {
        let mut walk = Walk::new(dirs, start, until, delivery, progress)?;
        walk.read(recovery)?;
        walk.finish(recovery)
    })?;
    found.report.entries = entries;
    Ok(found)
}

impl<'a, 'd> Walk<'a, 'd> {
    fn new(
        dirs: &[&dyn Dir],
        start: Start,
        until: Until,
        delivery: &'a mut Delivery<'d>,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Result<Walk<'a, 'd>> {
        let mut window = Window::default();
        let segments = open_segments(dirs, start, until, &mut window)?;
        let bytes_all = segments.iter().map(|segment| segment.len).sum();
        Ok(Walk {
            last_seqs: vec![0; segments.len()],
            blank: vec![false; segments.len()],
            report: ReplayReport { segments: segments.len() as u64, ..ReplayReport::default() },
            segments,
            window,
            start,
            until,
            delivery,
            progress,
            expected: None,
            last_seq: 0,
            watermark: 0,
            harmless: Vec::new(),
            read_again: None,
            end: None,
            tail: VecDeque::new(),
            frames: None,
            bytes_before: 0,
            bytes_all,
        })
    }

    /// Reads all lives, as far as the bound; returns their frames, if they are asked for.
    fn read(&mut self, recovery: Recovery) -> Result<Vec<(usize, FrameHeader)>> {
        for life in lives(&self.segments, recovery) {
            self.read_life(&life)?;
            if self.report.stopped {
                break;
            }
        }
        Ok(self.frames.take().unwrap_or_default())
    }

    fn read_life(&mut self, life: &Life) -> Result<()> {
        self.tail.clear();
        self.watermark = 0;
        self.report.clean_close = false;
        if life.stop.is_some_and(|stop| stop.last_seq < self.start.from) {
            // Nothing of it is needed, whatever state it is in.
            let last_seq = life.stop.map_or(0, |stop| stop.last_seq);
            self.last_seqs[life.first..life.end].fill(last_seq);
            self.expected = None;
            return Ok(());
        }
        self.begin(life)?;
        let mut at = self.enter(life, life.first)?;
        while let Some(next) = self.step(life, at)? {
            at = next;
        }
        // Where no sync of this life is known to have come by, it was a torn write, and nothing is missing.
        let watermark = self.watermark;
        let rotten = self.harmless.drain(..).filter(|(_, covered_by)| *covered_by <= watermark);
        self.report.lost.extend(rotten.map(|(lost, _)| lost));
        Ok(())
    }

    /// Takes over what the life's open frame states.
    fn begin(&mut self, life: &Life) -> Result<()> {
        let from = self.start.from;
        self.expected = life.statement.map(|statement| statement.next_seq);
        let Some(statement) = life.statement else { return Ok(()) };
        self.last_seq = statement.last_seq;
        let missing = life.first == 0 && from > 0 && from <= statement.last_seq;
        if !missing {
            return Ok(());
        }
        let found = Corruption::MissingSequence { expected: from, found: statement.next_seq };
        let name = &self.segments[0].name;
        if life.recovery != Recovery::Salvage {
            return Err(Error::corrupt(name, 0, found));
        }
        let seqs = Some((from, statement.last_seq));
        self.report.lost.push(Lost { file: name.clone(), offset: 0, bytes: 0, seqs, found });
        Ok(())
    }

    /// The first place of a segment, or of a later one if nothing of this one is needed.
    fn enter(&mut self, life: &Life, mut index: usize) -> Result<At> {
        while index + 1 < life.end && !life.stops_at(&self.segments[index + 1], BLOCK_BYTES) {
            let Some(next) = self.segments[index + 1].first else { break };
            if next.first_seq > self.start.from {
                break;
            }
            self.last_seqs[index] = next.first_seq.saturating_sub(1);
            self.go_on_at(life, next.first_seq);
            index += 1;
        }
        self.bytes_before = self.segments[..index].iter().map(|segment| segment.len).sum();
        let segment = &self.segments[index];
        if let (Some(found), Some(_)) = (segment.damage, segment.first) {
            // Its first frame says what the header would have said.
            self.harmless(life, At { index, offset: 0 }, BLOCK_BYTES, found)?;
        }
        self.near(life, index)
    }

    /// The place in a segment at which the caller knows of a frame that lies before what is needed; the first one, if there
    /// is none. What was written before it was durable when the caller took note of it.
    fn near(&mut self, life: &Life, index: usize) -> Result<At> {
        let first = At { index, offset: BLOCK_BYTES };
        let segment = &self.segments[index];
        let (Some(near), Some(_)) = (self.start.near, segment.first) else { return Ok(first) };
        let is_here = near.segment == segment.number
            && (BLOCK_BYTES + 1..segment.len).contains(&near.offset)
            && near.offset == align_frame(near.offset);
        if !is_here || life.stops_at(segment, near.offset) {
            return Ok(first);
        }
        let Place::Frame(header) = segment.place(&mut self.window, near.offset)? else { return Ok(first) };
        if header.first_seq > self.start.from {
            return Ok(first);
        }
        self.go_on_at(life, header.first_seq);
        self.report.latest_time = self.report.latest_time.max(header.time);
        Ok(At { index, offset: near.offset })
    }

    /// Leaves out what is in a life before the frame that begins with this sequence.
    fn go_on_at(&mut self, life: &Life, first_seq: u64) {
        self.expected = Some(first_seq);
        // Within a life numbers are given without a gap. Before its first one there may be some that never were.
        if life.statement.is_none_or(|statement| first_seq > statement.next_seq) {
            self.last_seq = first_seq.saturating_sub(1);
            self.report.last_seq = self.last_seq;
        }
    }

    /// Reads what is at a place; returns the next one, or `None` at the end of the life.
    fn step(&mut self, life: &Life, at: At) -> Result<Option<At>> {
        if life.stops_at(&self.segments[at.index], at.offset) {
            return self.stop(life, at);
        }
        match self.segments[at.index].place(&mut self.window, at.offset)? {
            Place::Frame(header) if self.continues(&header) && self.until.excludes(&header) => {
                self.report.stopped = true;
                Ok(None)
            }
            Place::Frame(header) if self.continues(&header) => {
                let next = self.read_frame(life, at, &header)?;
                // What lies behind is not looked at: a log that is being written to may hold anything there.
                self.report.stopped = self.expected.is_some_and(|expected| expected > self.until.seq);
                Ok(next.filter(|_| !self.report.stopped))
            }
            Place::Frame(header) => {
                let expected = self.expected.unwrap_or(self.start.from);
                let found = Corruption::MissingSequence { expected, found: header.first_seq };
                self.broken(life, at, at, None, found)
            }
            Place::Damaged(found) => self.broken(life, at, at, None, found),
            Place::Blank => self.blank(life, at),
        }
    }

    /// Whether nothing that is needed is missing before this frame.
    fn continues(&self, header: &FrameHeader) -> bool {
        let from = self.start.from;
        match self.expected {
            None => from == 0 || header.first_seq <= from,
            Some(expected) => {
                header.first_seq == expected || (header.first_seq > expected && header.first_seq <= from)
            }
        }
    }

    fn read_frame(&mut self, life: &Life, at: At, header: &FrameHeader) -> Result<Option<At>> {
        let segment = &self.segments[at.index];
        let needed = header.kind != FrameKind::Data || header.next_seq() > self.start.from;
        if needed {
            match segment.payload(&mut self.window, header)? {
                Err(found) => {
                    let behind = At { offset: align_frame(segment.end_of(header)), ..at };
                    return self.broken(life, at, behind, Some(header.watermark), found);
                }
                Ok(payload) if header.kind == FrameKind::Data => {
                    let (format, _) = segment.identity.unwrap_or((crate::Format::Binary, 0));
                    let offset = segment.end_of(header) - u64::from(header.payload_bytes);
                    let FrameHeader { first_seq, groups, .. } = *header;
                    let file = &segment.name;
                    self.delivery.frame(&Payload {
                        format,
                        first_seq,
                        groups,
                        bytes: payload,
                        file,
                        offset,
                    })?;
                    let first = first_seq.max(self.start.from);
                    if self.report.first_seq == 0 && groups > 0 && first <= self.until.seq {
                        self.report.first_seq = first;
                    }
                }
                Ok(_) => {}
            }
        }
        self.note(life, at, header);
        let end = self.segments[at.index].end_of(header);
        let next = At { index: at.index, offset: align_frame(end) };
        if header.kind == FrameKind::Close && life.stop.is_none() {
            // Nothing is ever written behind it in this segment, and there should be no later one.
            let end = At { index: at.index, offset: end };
            let found = Corruption::EndsEarly { expected: self.needed(), durable: self.start.durable };
            return self.broken(life, end, At { index: at.index + 1, offset: BLOCK_BYTES }, None, found);
        }
        Ok(Some(next))
    }

    /// Takes note of a frame that was read.
    fn note(&mut self, life: &Life, at: At, header: &FrameHeader) {
        let end = self.segments[at.index].end_of(header);
        self.expected = Some(header.next_seq());
        self.report.bytes += end - at.offset;
        self.report.latest_time = self.report.latest_time.max(header.time);
        self.report.clean_close = header.kind == FrameKind::Close;
        self.watermark = self.watermark.max(header.watermark);
        if let Some(frames) = &mut self.frames {
            frames.push((at.index, *header));
        }
        let mut covered_by = header.first_seq;
        if header.groups > 0 {
            covered_by = header.next_seq().saturating_sub(1);
            self.report.last_seq = covered_by;
            self.last_seq = covered_by;
        }
        self.last_seqs[at.index] = header.next_seq().saturating_sub(1);
        if life.stop.is_none() {
            // A watermark at a frame's last group, or at one behind it, says that a sync has covered the frame.
            while self.tail.front().is_some_and(|frame| frame.3 <= header.watermark) {
                self.tail.pop_front();
            }
            self.tail.push_back((at.index, at.offset, end, covered_by));
        }
        (self.progress)(self.bytes_before + end, self.bytes_all);
    }

    /// Blank space behind a frame: the next one is at a block edge, or in a later segment, or there is none.
    fn blank(&mut self, life: &Life, at: At) -> Result<Option<At>> {
        let block = align_block(at.offset);
        if block != at.offset && !life.stops_at(&self.segments[at.index], block) {
            let place = self.segments[at.index].place(&mut self.window, block)?;
            if place != Place::Blank {
                return Ok(Some(At { index: at.index, offset: block }));
            }
        }
        for index in at.index + 1..life.end {
            if life.stops_at(&self.segments[index], BLOCK_BYTES) {
                break;
            }
            match self.segments[index].place(&mut self.window, BLOCK_BYTES)? {
                Place::Blank => {}
                // Where nothing was read yet, a segment that is there and holds nothing is no place to begin.
                Place::Frame(header) if self.expected.is_some() && self.continues(&header) => {
                    return self.enter(life, index).map(Some);
                }
                Place::Frame(header) => {
                    let expected = self.expected.unwrap_or(self.start.from);
                    let found = Corruption::MissingSequence { expected, found: header.first_seq };
                    return self.broken(life, at, at, None, found);
                }
                Place::Damaged(found) => return self.broken(life, at, at, None, found),
            }
        }
        if life.stop.is_some() {
            return self.stop(life, at);
        }
        let durable = self.start.durable;
        let found = Corruption::EndsEarly { expected: self.needed(), durable };
        self.broken(life, at, at, None, found)
    }

    /// The place where the next life says that this one ended.
    fn stop(&mut self, life: &Life, at: At) -> Result<Option<At>> {
        let durable = life.stop.map_or(0, |stop| stop.last_seq);
        if durable < self.needed() {
            return Ok(None);
        }
        let found = Corruption::EndsEarly { expected: self.needed(), durable };
        self.broken(life, at, at, None, found)
    }

    /// The first sequence that is missing at the present place, if anything is.
    fn needed(&self) -> u64 {
        self.expected.unwrap_or(0).max(self.start.from).max(1)
    }

    /// A place where the log cannot be read on, and where to search from. `seen` is the watermark of a frame in
    /// between, whose header is whole.
    fn broken(
        &mut self,
        life: &Life,
        at: At,
        behind: At,
        seen: Option<u64>,
        found: Corruption,
    ) -> Result<Option<At>> {
        let needed = self.needed();
        let outside = life.stop.is_some_and(|stop| stop.last_seq < needed);
        if outside {
            self.harmless(life, at, at.offset, found)?;
            return Ok(None);
        }
        let Rest { next, watermark, frames, content_bytes } = self.search(life, at, behind)?;
        let watermark = watermark.max(seen.unwrap_or(0));
        let durable = life.stop.map_or(watermark.max(self.start.durable), |stop| stop.last_seq);
        let situation = Situation {
            goes_on: next.is_some_and(|(_, header)| header.first_seq <= needed),
            durable: durable >= needed,
            content: content_bytes > 0 || seen.is_some() || self.is_cut(at),
            recovery: life.recovery,
        };
        if situation.durable && self.read_again != Some(at) {
            // A log that is being written to may have come past this place since it was read. What a watermark
            // speaks of was there before the watermark was.
            self.read_again = Some(at);
            self.window = Window::default();
            return Ok(Some(at));
        }
        let name = self.segments[at.index].name.clone();
        match decide(&situation) {
            Decision::Corrupt => {
                let torn = !situation.goes_on && !situation.durable;
                Err(Error::corrupt(&name, at.offset, if torn { Corruption::TornTail } else { found }))
            }
            Decision::GoOn => {
                let target = next.map(|(index, header)| At { index, offset: header.offset });
                let end = target.filter(|to| to.index == at.index).map_or(at.offset, |to| to.offset);
                self.harmless(life, at, end, found)?;
                self.expected = next.map(|(_, header)| header.first_seq);
                Ok(target)
            }
            Decision::Skip => Ok(self.skip(at, next, durable, found)),
            Decision::Trim => {
                self.end = Some(at);
                let (bytes, frames_dropped) = (content_bytes, frames);
                self.report.trimmed = Some(Trimmed { file: name, offset: at.offset, bytes, frames_dropped });
                self.report.clean_close = false;
                Ok(None)
            }
            Decision::End => {
                self.end = Some(at);
                Ok(None)
            }
        }
    }

    /// Whether the file in which the log ends was cut behind its first frame, so that there may have been more.
    fn is_cut(&self, at: At) -> bool {
        let segment = &self.segments[at.index];
        segment.cut && segment.first.is_some()
    }

    /// Goes on at the next frame, or ends here; what is missing, up to `durable` at most, is lost.
    fn skip(
        &mut self,
        at: At,
        next: Option<(usize, FrameHeader)>,
        durable: u64,
        found: Corruption,
    ) -> Option<At> {
        let last = next.map_or(durable, |(_, header)| header.first_seq.saturating_sub(1));
        let segment = &self.segments[at.index];
        let bytes = match next {
            Some((index, header)) if index == at.index => header.offset - at.offset,
            _ => segment.len.saturating_sub(at.offset),
        };
        let seqs = Some((self.needed(), last));
        let file = segment.name.clone();
        self.report.lost.push(Lost { file, offset: at.offset, bytes, seqs, found });
        self.expected = Some(last.saturating_add(1));
        self.last_seq = last;
        if next.is_none() {
            self.end = Some(at);
        }
        next.map(|(index, header)| At { index, offset: header.offset })
    }

    /// Notes damage with which nothing was lost.
    fn harmless(&mut self, life: &Life, at: At, end: u64, found: Corruption) -> Result<()> {
        let name = &self.segments[at.index].name;
        if life.recovery == Recovery::Strict {
            return Err(Error::corrupt(name, at.offset, found));
        }
        let bytes = end.saturating_sub(at.offset);
        let lost = Lost { file: name.clone(), offset: at.offset, bytes, seqs: None, found };
        let covered_by = if at.offset == 0 { 0 } else { self.expected.unwrap_or(0) };
        self.harmless.push((lost, covered_by));
        Ok(())
    }

    /// Searches the rest of a life from `behind`, for what lies beyond `at`.
    fn search(&mut self, life: &Life, at: At, behind: At) -> Result<Rest> {
        let seq = self.expected.unwrap_or(0);
        let mut rest = Rest::default();
        if behind.index == at.index {
            rest.content_bytes = behind.offset - at.offset;
        }
        for index in behind.index..life.end {
            let segment = &mut self.segments[index];
            let from = if index == behind.index { behind.offset } else { BLOCK_BYTES };
            let limit = match life.stop {
                Some(stop) if segment.number > stop.end_segment => break,
                Some(stop) if segment.number == stop.end_segment => stop.end_offset,
                _ => u64::MAX,
            };
            let found = segment.search(&mut self.window, from, limit, seq)?;
            rest.frames += found.frames;
            rest.watermark = rest.watermark.max(found.watermark);
            rest.next = rest.next.or(found.next.map(|header| (index, header)));
            let content = found.content_end.saturating_sub(from);
            rest.content_bytes = rest.content_bytes.saturating_add(content);
            self.blank[index] = index > at.index && found.content_end == 0;
        }
        Ok(rest)
    }

    /// Sums up.
    fn finish(mut self, recovery: Recovery) -> Result<Found> {
        let Start { from, durable, .. } = self.start;
        let needed = self.needed();
        // A caller that knows of sequences has had the log open, and its open frame was durable by then.
        let bare = from > 1 && self.expected.is_none() && self.last_seq == 0;
        if !self.report.stopped && (durable >= needed || bare) {
            // The last life was closed, or nothing is left of it.
            let name = self.segments.last().map_or_else(|| segment_name(1), |segment| segment.name.clone());
            let found = Corruption::EndsEarly { expected: needed, durable };
            let offset = self.end.map_or(0, |at| at.offset);
            if recovery != Recovery::Salvage {
                return Err(Error::corrupt(&name, offset, found));
            }
            let seqs = Some((needed, durable.max(needed)));
            self.report.lost.push(Lost { file: name, offset, bytes: 0, seqs, found });
        }
        let next_min = needed.max(durable.saturating_add(1));
        let untouched = self.expected.is_none()
            && self.report.trimmed.is_none()
            && self.report.lost.is_empty()
            && from <= 1;
        let clean = self.report.clean_close && self.report.lost.is_empty();
        let next_seq = if clean || untouched {
            next_min
        } else {
            (next_min / SEQ_JUMP).saturating_add(1).saturating_mul(SEQ_JUMP)
        };
        let salvaged = self.report.lost.iter().any(|lost| lost.seqs.is_some());
        let last_seq = self.last_seq;
        let (end_segment, end_offset) =
            self.end.map_or((0, 0), |at| (self.segments[at.index].number, at.offset));
        let statement = Statement { end_segment, end_offset, last_seq, next_seq, salvaged };
        let unused = (0..self.segments.len()).filter(|index| self.blank[*index]).collect();
        let mut unsynced: Vec<(usize, u64, u64)> = Vec::new();
        for (index, start, end, _) in &self.tail {
            match unsynced.last_mut().filter(|last| last.0 == *index) {
                Some(last) => last.2 = *end,
                None => unsynced.push((*index, *start, *end)),
            }
        }
        Ok(Found {
            report: self.report,
            segments: self.segments,
            statement,
            last_seqs: self.last_seqs,
            unsynced,
            unused,
        })
    }
}
