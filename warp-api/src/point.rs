//! Points in time: what a view may be asked for.

use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind};
use crate::types::Seq;

/// A moment in the history of a database.
///
/// The log records the time when writes are handed to the system, in milliseconds, for all that are handed over together:
/// a write counts from at most 10 ms after its call, as long as the machine lets the log's thread run and the disk
/// answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PointInTime {
    /// After the write with this sequence number, and before the next one. Deadlines are compared with the time that
    /// the log records for it.
    Seq(Seq),
    /// After the last write whose recorded time is not later than this. Deadlines are compared with this time, or with
    /// the present one if it is yet to come.
    Time(SystemTime),
}

/// Which points in time of a database can be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PointRange {
    /// The first sequence number; 0, the empty database, if the log is there from its beginning.
    pub first: Seq,
    /// The last sequence number.
    pub last: Seq,
    /// The earliest time; the Unix epoch if the log is there from its beginning.
    pub since: SystemTime,
}

impl PointRange {
    pub(crate) fn new(first: u64, last: u64, since_millis: u64) -> PointRange {
        PointRange { first: Seq(first), last: Seq(last), since: time_of(since_millis) }
    }

    /// The error that says that a point is not among these.
    pub(crate) fn refuse(self) -> Error {
        let PointRange { first, last, since } = self;
        let message = format!(
            "this point in time cannot be had: sequences {first} to {last} can, and times from {} Unix milliseconds on",
            millis_of(since)
        );
        Error::new(ErrorKind::OutOfRange, message).with_points(self)
    }
}

/// Unix milliseconds of a time, rounded down; 0 for one before the epoch.
pub(crate) fn millis_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time of so many Unix milliseconds; the epoch for one that is beyond the system's clock.
pub(crate) fn time_of(unix_millis: u64) -> SystemTime {
    let since = Duration::from_millis(unix_millis);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_milliseconds() {
        for millis in [0, 1, 1_700_000_000_123] {
            assert_eq!(millis_of(time_of(millis)), millis);
            assert_eq!(millis_of(time_of(millis) + Duration::from_micros(999)), millis);
        }
        assert_eq!(millis_of(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
