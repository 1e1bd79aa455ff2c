//! YCSB's mixes: what share of requests reads, updates, inserts, and which records they name.
//!
//! Cooper, Silberstein, Tam, Ramakrishnan, Sears, "Benchmarking cloud serving systems with YCSB", SoCC 2010.
//! Workload E (short ranges) is absent, since a scan first walks and sorts all keys.

use crate::random::Random;
use crate::zipf::{YCSB_THETA, Zipf};

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads one record.
    Read,
    /// Writes a record that is there.
    Update,
    /// Writes a record that is not there yet.
    Insert,
    /// Reads a record and writes it back, in one atomic step.
    ReadModifyWrite,
}

/// How a request's rank becomes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Popular records are scattered over all of them.
    Scrambled,
    /// Popular records are the ones inserted last.
    Latest,
}

/// One of YCSB's core workloads.
#[derive(Debug)]
pub(crate) struct Mix {
    /// YCSB's letter.
    pub(crate) letter: char,
    /// The shares in words.
    pub(crate) title: &'static str,
    /// How records are chosen.
    pub(crate) order: Order,
    /// Percent of reads; the others are `write`.
    reads_percent: usize,
    /// What the requests that are not reads do.
    write: Kind,
}

/// The mixes in the order in which they run: D inserts what the load held back, so it comes last.
pub(crate) const MIXES: [Mix; 5] = [
    Mix {
        letter: 'A',
        title: "50 % read, 50 % update",
        order: Order::Scrambled,
        reads_percent: 50,
        write: Kind::Update,
    },
    Mix {
        letter: 'B',
        title: "95 % read, 5 % update",
        order: Order::Scrambled,
        reads_percent: 95,
        write: Kind::Update,
    },
    Mix { letter: 'C', title: "read only", order: Order::Scrambled, reads_percent: 100, write: Kind::Read },
    Mix {
        letter: 'F',
        title: "50 % read, 50 % read-modify-write",
        order: Order::Scrambled,
        reads_percent: 50,
        write: Kind::ReadModifyWrite,
    },
    Mix {
        letter: 'D',
        title: "95 % read latest, 5 % insert",
        order: Order::Latest,
        reads_percent: 95,
        write: Kind::Insert,
    },
];

/// One request, small enough that a thread reads its stream in order without missing the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// What to do.
    pub(crate) kind: Kind,
    /// The record, or with [`Order::Latest`] how many records it lies before the newest.
    pub(crate) record: u32,
}

/// A stream of `count` requests over `records` records, made ahead of time so that making it is not measured.
pub(crate) fn stream(mix: &Mix, zipf: &Zipf, count: usize, random: &mut Random) -> Vec<Request> {
    (0..count)
        .map(|_| {
            let kind = if random.below(100) < mix.reads_percent { Kind::Read } else { mix.write };
            let record = match mix.order {
                Order::Scrambled => zipf.scrambled(random),
                Order::Latest => zipf.rank(random),
            };
            Request { kind, record: u32::try_from(record).expect("a corpus has fewer than 2^32 records") }
        })
        .collect()
}

/// The distribution that all mixes share.
pub(crate) fn popularity(records: usize) -> Zipf {
    Zipf::new(records, YCSB_THETA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_mix() {
        let zipf = popularity(1000);
        for (mix, reads_expected) in MIXES.iter().zip([0.50, 0.95, 1.00, 0.50, 0.95]) {
            let requests = stream(mix, &zipf, 100_000, &mut Random::new(3, 0));
            let reads = requests.iter().filter(|request| request.kind == Kind::Read).count();
            let share = reads as f64 / requests.len() as f64;
            assert!((share - reads_expected).abs() < 0.005, "{}: {share}", mix.letter);
            assert!(requests.iter().all(|r| r.kind == Kind::Read || r.kind == mix.write));
            assert!(requests.iter().all(|request| request.record < 1000));
        }
    }

    #[test]
    fn latest_names_the_newest_most() {
        let zipf = popularity(1000);
        let requests = stream(&MIXES[4], &zipf, 10_000, &mut Random::new(3, 0));
        let newest = requests.iter().filter(|request| request.record == 0).count();
        assert!((1000..1800).contains(&newest), "{newest}");
    }

    #[test]
    fn one_seed_gives_one_stream() {
        let zipf = popularity(1000);
        let records = |seed| -> Vec<u32> {
            stream(&MIXES[0], &zipf, 100, &mut Random::new(seed, 0)).iter().map(|r| r.record).collect()
        };
        assert_eq!(records(5), records(5));
        assert_ne!(records(5), records(6));
    }
}
