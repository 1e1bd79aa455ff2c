//! What was promised once, beside what this run measured.

use std::time::Duration;

use crate::report::{Cell, Table};

/// A figure that was promised for this engine before it could be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    Get,
    Put,
    RecoverThousand,
    RecoverHundredThousand,
    RecoverMillion,
    Resident,
    Threads,
    Efficiency,
    ParallelFactor,
    PhysicsOverhead,
}

/// What was promised, in words and in numbers: the only numbers here that this run did not measure.
const PROMISES: [(Promise, &str, f64, &str); 10] = [
    (Promise::Get, "get, at least", 151_745.0, "/s"),
    (Promise::Put, "put, at least", 30_458.0, "/s"),
    (Promise::RecoverThousand, "recovery below 1,000 entries, at most", 20_000.0, "us"),
    (Promise::RecoverHundredThousand, "recovery of 100,000 entries, at most", 1_000_000.0, "us"),
    (Promise::RecoverMillion, "recovery of 1,000,000 entries, at most", 5_000_000.0, "us"),
    (Promise::Resident, "resident memory, everything on, at most", 80.3 * 1024.0 * 1024.0, "B"),
    (Promise::Threads, "threads, everything on, at most", 78.0, ""),
    (Promise::Efficiency, "partners found / requested, at least", 85.5, "%"),
    (Promise::ParallelFactor, "single gets / one quantum_get, at least", 3.2, "x"),
    (Promise::PhysicsOverhead, "cost of physics to an operation, at most", 2.0, "%"),
];

/// The measurements that answer promises.
#[derive(Debug, Default)]
pub(crate) struct Promises(Vec<(Promise, f64, String)>);

impl Promises {
    /// Takes a measurement, in the promise's unit, with how it was made.
    pub(crate) fn measured(&mut self, promise: Promise, value: f64, how: impl Into<String>) {
        self.0.push((promise, value, how.into()));
    }

    pub(crate) fn measured_time(&mut self, promise: Promise, value: Duration, how: impl Into<String>) {
        self.measured(promise, value.as_secs_f64() * 1e6, how);
    }

    /// One row a measurement, and one without a figure for what this run did not measure.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(
            "Promised once, measured here",
            &["what", "promised once", "measured here", "kept", "how"],
        );
        for (promise, what, figure, unit) in PROMISES {
            let rows = self.0.iter().filter(|(answered, ..)| *answered == promise);
            let mut answered = false;
            for (_, value, how) in rows {
                answered = true;
                let kept = if what.ends_with("at least") { *value >= figure } else { *value <= figure };
                table.row([
                    Cell::text(what),
                    Cell::number(figure, unit),
                    Cell::number(*value, unit),
                    Cell::text(if kept { "yes" } else { "NO" }),
                    Cell::text(how),
                ]);
            }
            if !answered {
                let promised = Cell::number(figure, unit);
                table.row([
                    Cell::text(what),
                    promised,
                    Cell::Absent(()),
                    Cell::text("-"),
                    Cell::text("not in this run"),
                ]);
            }
        }
        table.note("The promises are those made for an earlier design of this engine, on another machine.");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_promise_has_a_row_and_a_verdict() {
        let mut promises = Promises::default();
        promises.measured(Promise::Get, 151_744.0, "one below");
        promises.measured_time(Promise::RecoverThousand, Duration::from_millis(20), "just so");
        let text = serde_json::to_string(&promises.table()).unwrap();
        assert!(text.contains(r#""NO","one below""#), "{text}");
        assert!(text.contains(r#""yes","just so""#), "{text}");
        for (_, what, ..) in PROMISES {
            assert!(text.contains(what), "{what}");
        }
    }
}
