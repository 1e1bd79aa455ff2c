//! What the law that was kept is worth after a restart: the second half of a trace, by an engine that has seen the first one and
//! was closed between them.

use super::engine::{Database, Mode};
use super::{Job, Row};
use crate::report::{Cell, Table};
use crate::run::Outcome;

/// The first of so many parts of the second half is told apart.
const WINDOWS: usize = 10;

/// Reads served after a restart, with the law and without.
#[derive(Debug)]
pub(super) struct Restarts {
    table: Table,
    /// Points that the law gained in the first window, and over all.
    gained: Vec<[f64; 2]>,
}

impl Restarts {
    pub(super) fn new() -> Restarts {
        let columns = ["trace", "first tenth: law kept", "forgotten", "all: law kept", "forgotten"];
        let title = "The second half of each trace after a restart: share of reads served from memory";
        Restarts { table: Table::new(title, &columns), gained: Vec::new() }
    }

    /// Adds a trace, at the budget of a row.
    pub(super) fn add(&mut self, job: &Job, database: &Database, row: &Row, keys: &[u32]) -> Outcome<()> {
        let (before, after) = keys.split_at(keys.len() / 2);
        let replay = |database: &Database, keys: &[u32], windows| {
            database.replay(row.budget, Mode::Law, &job.clock, keys, windows)
        };
        let served = |is_kept: bool| -> Outcome<[f64; 2]> {
            replay(database.forget()?, before, 1)?;
            let known = if is_kept { database } else { database.forget()? };
            let served = replay(known, after, WINDOWS)?.served;
            Ok([served.shares()[0], served.share()])
        };
        let (kept, forgotten) = (served(true)?, served(false)?);
        self.gained.push([0, 1].map(|of| (kept[of] - forgotten[of]) * 100.0));
        self.table.row([
            Cell::text(&row.label),
            Cell::share(kept[0]),
            Cell::share(forgotten[0]),
            Cell::share(kept[1]),
            Cell::share(forgotten[1]),
        ]);
        Ok(())
    }

    pub(super) fn report(mut self, job: &mut Job) {
        let mean = |of: usize| {
            self.gained.iter().map(|gained| gained[of]).sum::<f64>() / self.gained.len().max(1) as f64
        };
        self.table.note(format!(
            "Without a warm start, so that memory begins empty. On the mean the law gains {:+.2} points in the first tenth,",
            mean(0)
        ));
        self.table.note(format!("and {:+.2} over all.", mean(1)));
        job.report.table(self.table);
    }
}
