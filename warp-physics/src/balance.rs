//! Where slots were moved to and how the load was: what an engine stores, so that both outlive it.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::bytes::{Reader, len_u16};

/// Most samples that are kept: the latest.
pub const SAMPLES_MAX: usize = 256;

/// The first byte of a stored balance; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;

/// How the load was at one look, and what was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EntropySample {
    /// When, in Unix milliseconds.
    pub time: u64,
    /// Evenness of the writes over the shards before anything was moved, in `0.0..=1.0`.
    pub entropy: f64,
    /// The highest load over the mean, at that time.
    pub max_over_mean: f64,
    /// Slots that were moved then.
    pub moved: u32,
}

impl EntropySample {
    /// A sample.
    #[must_use]
    pub fn new(time: u64, entropy: f64, max_over_mean: f64, moved: u32) -> EntropySample {
        EntropySample { time, entropy, max_over_mean, moved }
    }

    /// The 28 bytes of a sample: time, entropy, highest load over mean, and slots moved, little-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..8].copy_from_slice(&self.time.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.entropy.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.max_over_mean.to_le_bytes());
        bytes[24..].copy_from_slice(&self.moved.to_le_bytes());
        bytes
    }
}

/// The places of slots that are not at home, and the latest samples of load. The bytes are described in
/// `docs/format/stored.md`, "Balance".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balance {
    /// The shard of each slot that is not where a new database has it.
    places: BTreeMap<u16, u16>,
    samples: VecDeque<EntropySample>,
}

impl Balance {
    /// Nothing moved, nothing sampled.
    #[must_use]
    pub fn new() -> Balance {
        Balance::default()
    }

    /// Notes that a slot is on this shard now.
    pub fn place(&mut self, slot: u16, shard: u16) {
        self.places.insert(slot, shard);
    }

    /// The slots that were moved, in order, each with its shard.
    pub fn places(&self) -> impl ExactSizeIterator<Item = (u16, u16)> + '_ {
        self.places.iter().map(|(slot, shard)| (*slot, *shard))
    }

    /// Adds a sample; the oldest leaves when there are more than [`SAMPLES_MAX`].
    pub fn sample(&mut self, sample: EntropySample) {
        self.samples.push_back(sample);
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = EntropySample> + '_ {
        self.samples.iter().copied()
    }

    /// The bytes to store.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "there are fewer slots than a u16 counts")]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        // All 65,536 slots that a number may name are never moved: an engine has fewer.
        out.extend(u32::try_from(self.places.len()).expect("numbers of slots have 16 bits").to_le_bytes());
        for (slot, shard) in self.places() {
            out.extend(slot.to_le_bytes());
            out.extend(shard.to_le_bytes());
        }
        out.extend(len_u16(self.samples.len()).to_le_bytes());
        self.samples.iter().for_each(|sample| out.extend(sample.to_bytes()));
        out
    }

    /// Reads what [`Balance::to_bytes`] made.
    ///
    /// # Errors
    /// [`BadBalance`] for any bytes that `to_bytes` does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Balance, BadBalance> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok_or(BadBalance::Cut)?;
        if version != VERSION {
            return Err(BadBalance::UnknownVersion(version));
        }
        let mut balance = Balance::new();
        for _ in 0..reader.u32().ok_or(BadBalance::Cut)? {
            let slot = reader.u16().ok_or(BadBalance::Cut)?;
            let shard = reader.u16().ok_or(BadBalance::Cut)?;
            if balance.places.last_key_value().is_some_and(|(last, _)| *last >= slot) {
                return Err(BadBalance::OutOfOrder { slot });
            }
            balance.place(slot, shard);
        }
        let samples = reader.u16().ok_or(BadBalance::Cut)?;
        if usize::from(samples) > SAMPLES_MAX {
            return Err(BadBalance::TooMany { samples });
        }
        for _ in 0..samples {
            balance.samples.push_back(read_sample(&mut reader)?);
        }
        match reader.len() {
            0 => Ok(balance),
            bytes => Err(BadBalance::LeftOver { bytes }),
        }
    }
}

fn read_sample(reader: &mut Reader<'_>) -> Result<EntropySample, BadBalance> {
    let time = reader.u64().ok_or(BadBalance::Cut)?;
    let entropy = reader.f64().ok_or(BadBalance::Cut)?;
    let max_over_mean = reader.f64().ok_or(BadBalance::Cut)?;
    let moved = reader.u32().ok_or(BadBalance::Cut)?;
    let is_load = (0.0..=1.0).contains(&entropy) && (1.0..f64::INFINITY).contains(&max_over_mean);
    if !is_load {
        return Err(BadBalance::NotALoad { entropy, max_over_mean });
    }
    Ok(EntropySample { time, entropy, max_over_mean, moved })
}

/// What is wrong with bytes that should be a balance.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadBalance {
    /// The first byte names a format that this version does not know.
    #[error("a balance in the unknown format {0}")]
    UnknownVersion(u8),
    /// The bytes end within a field.
    #[error("a balance is cut off")]
    Cut,
    /// There are bytes after the last sample.
    #[error("{bytes} bytes after the last sample")]
    LeftOver {
        /// How many there are.
        bytes: usize,
    },
    /// There are more than [`SAMPLES_MAX`] samples.
    #[error("{samples} samples; the most is {SAMPLES_MAX}")]
    TooMany {
        /// What it says.
        samples: u16,
    },
    /// Slots do not ascend.
    #[error("slot {slot} is out of order")]
    OutOfOrder {
        /// Which slot.
        slot: u16,
    },
    /// A sample that no load has.
    #[error("no load has an entropy of {entropy} and a highest share of {max_over_mean} times the mean")]
    NotALoad {
        /// What it says of the entropy.
        entropy: f64,
        /// What it says of the highest load.
        max_over_mean: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_damage_is_told() {
        let mut balance = Balance::new();
        balance.place(7, 3);
        balance.place(4095, 0);
        (0..300).for_each(|time| balance.sample(EntropySample::new(time, 0.5, 2.0, 1)));
        let bytes = balance.to_bytes();
        assert_eq!(Balance::from_bytes(&bytes), Ok(balance.clone()));
        assert_eq!((balance.samples().len(), balance.samples().next().unwrap().time), (SAMPLES_MAX, 44));
        for len in 0..bytes.len() {
            assert_eq!(Balance::from_bytes(&bytes[..len]), Err(BadBalance::Cut), "cut to {len}");
        }
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            Balance::from_bytes(&bytes)
        };
        assert_eq!(changed(0, &[9]), Err(BadBalance::UnknownVersion(9)));
        assert_eq!(changed(9, &[7, 0]), Err(BadBalance::OutOfOrder { slot: 7 }));
        assert_eq!(changed(13, &[1, 2]), Err(BadBalance::TooMany { samples: 513 }));
        assert_eq!(changed(13, &[1, 0]), Err(BadBalance::LeftOver { bytes: 255 * 28 }));
        assert!(matches!(changed(23, &f64::NAN.to_le_bytes()), Err(BadBalance::NotALoad { .. })));
    }
}
