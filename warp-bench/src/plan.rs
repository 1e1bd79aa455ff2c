//! How much is done: the full run, and the short one for CI.

use std::time::Duration;

/// Client threads of every part that runs more than one.
pub(crate) const THREADS: usize = 2;

/// The sizes and times of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Records that the run uses; `None` is all of them.
    pub(crate) records: Option<usize>,
    /// How long each mix runs.
    pub(crate) mix_time: Duration,
    /// How many characters `quantum_get` is asked for.
    pub(crate) related: usize,
    /// How many characters are read from the disk with their partners.
    pub(crate) from_disk: usize,
    /// Repetitions of everything of which the median is reported.
    pub(crate) repeats: usize,
    /// Operations of one pass over engine or table.
    pub(crate) pass: usize,
    /// Entries and repetitions of the restarts.
    pub(crate) restarts: Vec<(usize, usize)>,
    /// How often a writing process is killed.
    pub(crate) kills: usize,
    /// Records in the database of the process that is killed.
    pub(crate) crash_records: usize,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Plan {
        if quick { Plan::quick() } else { Plan::full() }
    }

    fn full() -> Plan {
        Plan {
            records: None,
            mix_time: Duration::from_secs(2),
            related: 50_000,
            from_disk: 1_000,
            repeats: 5,
            pass: 200_000,
            restarts: vec![(1_000, 3), (100_000, 3), (1_000_000, 3)],
            kills: 3,
            crash_records: 100_000,
        }
    }

    fn quick() -> Plan {
        Plan {
            records: Some(100_000),
            mix_time: Duration::from_millis(200),
            related: 5_000,
            from_disk: 200,
            repeats: 3,
            pass: 20_000,
            restarts: vec![(1_000, 1), (20_000, 1)],
            kills: 1,
            crash_records: 10_000,
        }
    }
}
