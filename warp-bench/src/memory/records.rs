//! Records that nobody holds: key and value follow from a number, so that the process that is measured holds the store only.

use crate::keys::{Key, Value, value};
use crate::random::Random;
use crate::zipf::{YCSB_THETA, Zipf};

/// So many records of a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Records {
    pub(crate) seed: u64,
    pub(crate) count: usize,
}

impl Records {
    /// The key of a number: the same each time, and no pattern in the order of numbers.
    pub(crate) fn key(self, number: usize) -> Key {
        let mut random = Random::new(self.seed, number as u64);
        let mut key = Key::default();
        key[..8].copy_from_slice(&random.next_u64().to_le_bytes());
        key[8..].copy_from_slice(&random.next_u64().to_le_bytes());
        key
    }

    /// The value that the record is loaded with.
    pub(crate) fn value(self, number: usize) -> Value {
        value(&self.key(number))
    }

    /// Requests for these records, a few of them often: those of one client.
    pub(crate) fn requests(self, client: u64) -> Requests {
        let zipf = Zipf::new(self.count, YCSB_THETA);
        Requests { records: self, zipf, random: Random::new(!self.seed, client) }
    }
}

/// An endless row of requests.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    records: Records,
    zipf: Zipf,
    random: Random,
}

impl Requests {
    /// The next key.
    pub(crate) fn key(&mut self) -> Key {
        self.records.key(self.zipf.scrambled(&mut self.random))
    }

    /// Whether the next request is one of so many in a hundred.
    pub(crate) fn is_one_of(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_number_has_one_key_and_requests_are_for_keys_of_numbers() {
        let records = Records { seed: 3, count: 1_000 };
        let keys: HashMap<Key, usize> = (0..1_000).map(|number| (records.key(number), number)).collect();
        assert_eq!(keys.len(), 1_000);
        assert_eq!(records.value(5)[..16], records.key(5));
        let mut requests = records.requests(1);
        let mut counts = vec![0; 1_000];
        for _ in 0..20_000 {
            counts[keys[&requests.key()]] += 1;
        }
        assert!(counts.iter().max().unwrap() > &1_500, "a few are asked for often");
        let writes = (0..10_000).filter(|_| requests.is_one_of(5)).count();
        assert!((300..700).contains(&writes), "{writes}");
    }
}
