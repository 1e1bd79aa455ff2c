//! When it pays to ask for pages before they are read.

use std::time::Duration;

/// Reads that take at least this long have waited for a device: a page that is in memory is read in a tenth of it,
/// and asking for one costs about as much as reading it there.
pub const PREFETCH_FROM: Duration = Duration::from_micros(20);

/// Whether asking beforehand for several pages pays, given how long reads have taken of late.
///
/// Where the pages are in memory already, asking costs a system call each and gains nothing; where they are not,
/// the waits for the device overlap.
///
/// ```
/// use std::time::Duration;
/// use warp_physics::prefetch_pays;
///
/// assert!(!prefetch_pays(Duration::from_micros(2))); // the page cache answers
/// assert!(prefetch_pays(Duration::from_micros(90))); // the disk does
/// ```
pub fn prefetch_pays(recent_read: Duration) -> bool {
    recent_read >= PREFETCH_FROM
}
