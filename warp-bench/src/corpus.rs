//! Records held in memory for a run: all bytes in one block, so that they cost little beside the engine's.

/// Keys and values in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    bytes: Vec<u8>,
    records: Vec<Place>,
}

/// Where a record lies: the key from `start`, the value behind it.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    key_bytes: u32,
    value_bytes: u32,
}

impl Corpus {
    /// Adds a record at the end.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        let start = self.bytes.len() as u64;
        let key_bytes = u32::try_from(key.len()).expect("the data's keys are short");
        let value_bytes = u32::try_from(value.len()).expect("the data's values are a few megabytes at most");
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.records.push(Place { start, key_bytes, value_bytes });
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The key of a record.
    pub(crate) fn key(&self, record: usize) -> &[u8] {
        self.record(record).0
    }

    /// The value of a record.
    pub(crate) fn value(&self, record: usize) -> &[u8] {
        self.record(record).1
    }

    /// The key and the value of a record.
    pub(crate) fn record(&self, record: usize) -> (&[u8], &[u8]) {
        let place = self.records[record];
        let start = usize::try_from(place.start).expect("the block is in memory");
        let (key, rest) = self.bytes[start..].split_at(place.key_bytes as usize);
        (key, &rest[..place.value_bytes as usize])
    }

    /// All records in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        (0..self.len()).map(|record| self.record(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_added() {
        let mut corpus = Corpus::default();
        corpus.push(b"a", b"one");
        corpus.push(b"bc", b"");
        corpus.push(b"", b"three");
        assert_eq!(corpus.record(0), (b"a".as_slice(), b"one".as_slice()));
        assert_eq!(corpus.record(1), (b"bc".as_slice(), b"".as_slice()));
        assert_eq!(corpus.record(2), (b"".as_slice(), b"three".as_slice()));
        assert_eq!((corpus.len(), corpus.bytes()), (3, 11));
        assert_eq!(corpus.iter().count(), 3);
    }
}
