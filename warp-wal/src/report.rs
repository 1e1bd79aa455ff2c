//! What reading a log found.

use crate::error::Corruption;

/// What a replay read, and what it left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Entries that were handed out.
    pub entries: u64,
    /// Bytes of the frames that were read.
    pub bytes: u64,
    /// Sequence of the first entry that was handed out; 0 if there was none.
    pub first_seq: u64,
    /// Sequence of the last group that was recovered, handed out or not; 0 if there was none.
    pub last_seq: u64,
    /// The newest wall-clock time in any frame, in milliseconds since the Unix epoch.
    pub latest_time: u64,
    /// Whether the log had been closed.
    pub clean_close: bool,
    /// What was dropped at the end of the log.
    pub trimmed: Option<Trimmed>,
    /// What was lost to damage (only with [`Recovery::Salvage`](crate::Recovery::Salvage), and in logs that
    /// were opened with it before).
    pub lost: Vec<Lost>,
    /// Segment files that there are.
    pub segments: u64,
    /// Whether reading ended at the bound that it was given, rather than at the end of the log. `last_seq` may then be
    /// above the bound: it is that of the last frame that was read.
    pub stopped: bool,
}

/// The incomplete end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// The file in which the log ends.
    pub file: String,
    /// Where it ends there, in bytes.
    pub offset: u64,
    /// Bytes from there to the end of the last thing that is recognized as written, in that and later files.
    pub bytes: u64,
    /// Whole frames among them, which are dropped since something before them is missing.
    pub frames_dropped: u64,
}

/// Something that was known to have been durable, and is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The damaged file.
    pub file: String,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// How many bytes were skipped in that file.
    pub bytes: u64,
    /// The first and the last sequence that are missing, where that is known.
    pub seqs: Option<(u64, u64)>,
    /// What was found there.
    pub found: Corruption,
}

/// What [`Log::tick`](crate::Log::tick) did not do yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// For how long nothing will be due if nothing is appended.
    pub next: std::time::Duration,
}

/// What [`dump`](crate::dump) wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpReport {
    /// Whole frames.
    pub frames: u64,
    /// Entries in them.
    pub entries: u64,
    /// Damaged places.
    pub damaged: u64,
}

/// What [`verify`](crate::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What reading the whole log gave.
    pub replay: ReplayReport,
    /// Everything that is wrong, in the order of the log.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What was found there.
    pub found: Corruption,
}
