//! Laws: what holds for the values of one level, as the program has set it. How they are stored: `docs/format/stored.md`,
//! "Laws".

use serde::Serialize;

use crate::engine::WarpEngine;
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::put_options::{AccessPattern, PutOptions};
use crate::shared::Shared;
use crate::system::{SystemEntry, reload};
use crate::types::{LEVELS, Level, Seq};
use crate::write::Terms;

/// The first byte of stored laws; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;
/// Durability, pace, capacity and entropy limit of one level.
const LAW_BYTES: usize = 1 + 8 + 8 + 8;

/// The settings of one level. They are logged like any write, and hold over restarts.
///
/// ```
/// use warp_api::{Durability, Laws, Level, WarpEngine};
///
/// # fn main() -> warp_api::Result<()> {
/// let engine = WarpEngine::in_memory();
/// let laws = Laws { durability: Some(Durability::Sync), ..engine.laws(Level::Hot) };
/// engine.set_laws(Level::Hot, laws)?;
/// assert_eq!(engine.laws(Level::Hot).durability, Some(Durability::Sync));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Laws {
    /// When a put is acknowledged whose [`access_pattern`](crate::PutOptions::access_pattern) names the level and which says
    /// nothing else. Default: `None`, as the handle says.
    pub durability: Option<Durability>,
    /// The pace of background work on the level, against the engine's own: 0.5 is half of it. In `0.0..=16.0`; default 1.
    /// That of [`Level::Hot`] is how fast a warm start, whose course [`WarmStartMetrics`](crate::WarmStartMetrics) tell,
    /// brings values into memory, and how fast layers are read ahead, not at all with 0; that of
    /// [`Level::Cold`] is how fast checkpoints and merges write for which nobody waits, some 6 MiB a second with 0. Nothing
    /// is done in the background for [`Level::Warm`].
    pub pace: f64,
    /// The most bytes that the level takes. That of [`Level::Hot`] counts: memory holds no more, warm values among it, as if
    /// it were the [`memory_budget`](crate::Options::memory_budget); never more than that says, nor less than the least that it
    /// may be. Default: `None`, what the budget says.
    pub capacity_bytes: Option<u64>,
    /// The evenness of writes over the shards below which the background moves slots, in `0.0..=1.0`; that of [`Level::Hot`] counts.
    /// Default: `None`, what [`Physics::rebalance_below`](crate::Physics::rebalance_below) says.
    pub entropy_limit: Option<f64>,
}

/// The highest pace.
const PACE_MAX: f64 = 16.0;

impl Default for Laws {
    fn default() -> Laws {
        Laws { durability: None, pace: 1.0, capacity_bytes: None, entropy_limit: None }
    }
}

/// The laws of all levels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct AllLaws([Laws; LEVELS]);

/// What is wrong with bytes that should be laws.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum BadLaws {
    UnknownVersion(u8),
    NotLaws,
}

impl std::fmt::Display for BadLaws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadLaws::UnknownVersion(version) => write!(f, "laws in the unknown format {version}"),
            BadLaws::NotLaws => f.write_str("bytes that are no laws"),
        }
    }
}

impl std::error::Error for BadLaws {}

impl AllLaws {
    pub(crate) fn of(&self, level: Level) -> Laws {
        self.0[usize::from(level.code())]
    }
}

impl SystemEntry for AllLaws {
    const KEY: &'static [u8] = b"laws";
    const NAME: &'static str = "laws";
    type Bad = BadLaws;

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for law in &self.0 {
            out.push(match law.durability {
                None => 0,
                Some(Durability::Sync) => 1,
                Some(Durability::Interval) => 2,
                Some(Durability::Os) => 3,
            });
            out.extend(law.pace.to_le_bytes());
            out.extend(law.capacity_bytes.unwrap_or(u64::MAX).to_le_bytes());
            out.extend(law.entropy_limit.unwrap_or(-1.0).to_le_bytes());
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<AllLaws, BadLaws> {
        match bytes.split_first() {
            Some((&VERSION, rest)) if rest.len() == LEVELS * LAW_BYTES => {
                let mut laws = AllLaws::default();
                for (law, bytes) in laws.0.iter_mut().zip(rest.chunks_exact(LAW_BYTES)) {
                    *law = read_law(bytes).filter(|law| check(law).is_ok()).ok_or(BadLaws::NotLaws)?;
                }
                Ok(laws)
            }
            Some((&version, _)) if version != VERSION => Err(BadLaws::UnknownVersion(version)),
            _ => Err(BadLaws::NotLaws),
        }
    }

    fn is_newer(bad: &BadLaws) -> bool {
        matches!(bad, BadLaws::UnknownVersion(_))
    }
}

fn read_law(bytes: &[u8]) -> Option<Laws> {
    let (durability, rest) = bytes.split_first()?;
    let (pace, rest) = rest.split_first_chunk()?;
    let (capacity, rest) = rest.split_first_chunk()?;
    let (limit, _) = rest.split_first_chunk()?;
    let limit = f64::from_le_bytes(*limit);
    Some(Laws {
        durability: match durability {
            0 => None,
            1 => Some(Durability::Sync),
            2 => Some(Durability::Interval),
            3 => Some(Durability::Os),
            _ => return None,
        },
        pace: f64::from_le_bytes(*pace),
        capacity_bytes: Some(u64::from_le_bytes(*capacity)).filter(|bytes| *bytes != u64::MAX),
        #[expect(clippy::float_cmp, reason = "the very number that stands for none")]
        entropy_limit: Some(limit).filter(|limit| *limit != -1.0),
    })
}

fn check(laws: &Laws) -> Result<()> {
    if !(0.0..=PACE_MAX).contains(&laws.pace) {
        return Err(Error::invalid(format!("a pace of {} is not in 0.0..={PACE_MAX}", laws.pace)));
    }
    match laws.entropy_limit {
        Some(limit) if !(0.0..=1.0).contains(&limit) => {
            Err(Error::invalid(format!("an entropy limit of {limit} is not in 0.0..=1.0")))
        }
        _ => Ok(()),
    }
}

impl Shared {
    /// The laws of a level that are followed: those that are stored, or the default where they are switched off.
    pub(crate) fn laws(&self, level: Level) -> Laws {
        if self.options.physics.laws { self.laws_set(level) } else { Laws::default() }
    }

    /// The laws of a level as they were set, followed or not.
    fn laws_set(&self, level: Level) -> Laws {
        self.laws.load().of(level)
    }

    /// Sets the laws of a level. Returns the sequence of the write.
    pub(crate) fn set_laws(&self, level: Level, laws: Laws, terms: Terms) -> Result<u64> {
        check(&laws)?;
        let place = usize::from(level.code());
        let ((), seq) = self.change_stored(terms, |all: &mut AllLaws| {
            all.0[place] = laws;
            Ok(())
        })?;
        self.load_laws()?;
        Ok(seq)
    }

    /// The durability that a write with these options asks for: its own, or else that by the law of the level that its hint
    /// names.
    pub(crate) fn durability_of(&self, options: &PutOptions) -> Option<Durability> {
        options.durability.or_else(|| self.durability_by_law(options.access_pattern))
    }

    fn durability_by_law(&self, pattern: Option<AccessPattern>) -> Option<Durability> {
        let level = match pattern? {
            AccessPattern::Hot => Level::Hot,
            AccessPattern::Warm => Level::Warm,
            AccessPattern::Cold => Level::Cold,
            AccessPattern::Balanced => return None,
        };
        self.laws(level).durability
    }

    /// The evenness of writes below which the background moves slots.
    pub(crate) fn entropy_limit(&self) -> f64 {
        self.laws(Level::Hot).entropy_limit.unwrap_or(self.options.physics.rebalance_below)
    }

    /// Takes the laws that are stored into use.
    pub(crate) fn load_laws(&self) -> Result<()> {
        let outcome = reload(&self.laws, || self.stored());
        let least = self.options.budget_bytes_min();
        self.budget.cap(self.laws(Level::Hot).capacity_bytes, least);
        self.want_memory();
        outcome
    }
}

impl WarpEngine {
    /// What was set for a level. It holds unless [`Physics::laws`](crate::Physics::laws) is off.
    #[must_use]
    pub fn laws(&self, level: Level) -> Laws {
        self.shared.laws_set(level)
    }

    /// Sets what holds for a level, as durably as any write.
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put); `Invalid` for a pace outside `0.0..=16.0` or an entropy limit outside `0.0..=1.0`.
    pub fn set_laws(&self, level: Level, laws: Laws) -> Result<Seq> {
        self.shared.check_writable()?;
        self.shared.set_laws(level, laws, self.terms()).map(Seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_come_back_and_damage_is_told() {
        let mut laws = AllLaws::default();
        laws.0[1] = Laws {
            durability: Some(Durability::Os),
            pace: 0.5,
            capacity_bytes: Some(7),
            entropy_limit: Some(0.25),
        };
        let bytes = laws.to_bytes();
        assert_eq!(AllLaws::from_bytes(&bytes), Ok(laws));
        for length in 0..bytes.len() {
            assert_eq!(AllLaws::from_bytes(&bytes[..length]), Err(BadLaws::NotLaws), "cut at {length}");
        }
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            AllLaws::from_bytes(&bytes)
        };
        assert_eq!(changed(0, &[2]), Err(BadLaws::UnknownVersion(2)));
        assert_eq!(changed(1, &[4]), Err(BadLaws::NotLaws));
        assert_eq!(changed(2, &f64::NAN.to_le_bytes()), Err(BadLaws::NotLaws));
        assert_eq!(changed(18, &2.0_f64.to_le_bytes()), Err(BadLaws::NotLaws));
    }

    #[test]
    fn laws_are_stored_as_documented() {
        let document = include_str!("../../docs/format/stored.md");
        let (_, example) = document.split_once("```hex laws\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let bytes = example.lines().flat_map(|line| line.split(';').next().unwrap_or("").split_whitespace());
        let documented: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let mut laws = AllLaws::default();
        laws.0[0] = Laws {
            durability: Some(Durability::Sync),
            pace: 0.5,
            capacity_bytes: Some(1 << 20),
            entropy_limit: Some(0.75),
        };
        assert_eq!(laws.to_bytes(), documented);
        assert_eq!(AllLaws::from_bytes(&documented), Ok(laws));
    }
}
