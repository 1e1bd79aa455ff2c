//! What a log has done so far.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts since the log was opened, and sizes at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Segment files, prepared ones not included.
    pub segments: u64,
    /// Segments that are prepared and wait to be used.
    pub prepared: u64,
    /// Segments that nobody needs any more, and that will be written to again.
    pub spares: u64,
    /// How often a new segment was made from such a one.
    pub reused: u64,
    /// Size of all segment files, prepared ones and spares included, in bytes.
    pub segment_bytes_on_disk: u64,
    /// Bytes of frames that were handed to the system, headers included, preparation not.
    pub bytes_written: u64,
    /// Bytes of groups among them.
    pub payload_bytes: u64,
    /// Bytes of values as they were passed in.
    pub raw_value_bytes: u64,
    /// Bytes of values as they are stored.
    pub stored_value_bytes: u64,
    /// Frames that hold groups.
    pub frames: u64,
    /// Frames that only hold a watermark.
    pub watermark_frames: u64,
    /// Syncs of a segment that frames had been written to.
    pub syncs: u64,
    /// Changes from one segment to the next.
    pub rotations: u64,
    /// The longest time that one of them held the lock under which frames are written, in nanoseconds.
    pub longest_rotation_nanos: u64,
    /// Entries that were handed to the system.
    pub entries: u64,
    /// Groups that were handed to the system; each took one sequence.
    pub groups: u64,
    /// Size of the ring, in bytes.
    pub ring_bytes: u64,
    /// Bytes of it that are taken or promised.
    pub ring_used: u64,
    /// Admissions that could not be given at once.
    pub admission_waits: u64,
    /// Whether preparing a segment failed for want of space, and has not succeeded since.
    pub full: bool,
}

/// The counts, as they are kept.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_written: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) raw_value_bytes: AtomicU64,
    pub(crate) stored_value_bytes: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) watermark_frames: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) rotations: AtomicU64,
    pub(crate) longest_rotation_nanos: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) admission_waits: AtomicU64,
}

impl Counters {
    /// The counts as they are now, and zero for what is not counted here.
    pub(crate) fn snapshot(&self) -> LogStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            bytes_written: read(&self.bytes_written),
            payload_bytes: read(&self.payload_bytes),
            raw_value_bytes: read(&self.raw_value_bytes),
            stored_value_bytes: read(&self.stored_value_bytes),
            frames: read(&self.frames),
            watermark_frames: read(&self.watermark_frames),
            syncs: read(&self.syncs),
            rotations: read(&self.rotations),
            longest_rotation_nanos: read(&self.longest_rotation_nanos),
            entries: read(&self.entries),
            groups: read(&self.groups),
            admission_waits: read(&self.admission_waits),
            ..LogStats::default()
        }
    }
}
