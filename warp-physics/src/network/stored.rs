//! The bytes in which what was learned of traffic is kept: `docs/format/advice.md`, "Traffic of routes".

use std::collections::HashSet;
use std::sync::Arc;

use super::regions::Regions;
use super::{RegionId, WormholeNetwork, pair_of};
use crate::bytes::{Reader, len_u32};
use crate::space_saving::Count;
use crate::wormholes::REGION_NAME_BYTES_MAX;

/// The first byte; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;
const COUNT_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + 2 * COUNT_BYTES;
const FIGURE_BYTES: usize = 8;
/// The largest figure. Sums of many of these are finite, and so exact that one more is not lost in them.
const FIGURE_MAX: f64 = 1e15;

/// A pair of names, with the figures that stand behind them.
type Named<'a, const N: usize> = (&'a str, &'a str, [f64; N]);

// The length of a name is stored in one byte.
const _: () = assert!(REGION_NAME_BYTES_MAX <= u8::MAX as usize);

/// Bytes that should be the traffic of a network, and are not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("bytes that are not the traffic of a network")]
pub struct BadTraffic;

impl WormholeNetwork {
    /// The traffic that is remembered, and the shortcuts that were learned from it, with the names of the regions: in at most
    /// `bytes_max` bytes, shortcuts first and then the heaviest pairs. `None` if there is nothing.
    #[must_use]
    pub fn traffic_to_bytes(&self, bytes_max: usize) -> Option<Vec<u8>> {
        // First, so that the numbers of regions stay what they are.
        let draft = self.draft.lock();
        let counts = self.traffic.lock().all();
        let shortcuts = draft.learned.iter().map(|shortcut| (shortcut.ends, [shortcut.used]));
        let pairs = counts.into_iter().map(|(key, count)| (pair_of(key), [count.count, count.error]));
        let mut left = bytes_max.checked_sub(HEAD_BYTES)?;
        let mut out = vec![VERSION];
        let written = encode(&mut out, &draft.regions, shortcuts, &mut left)
            + encode(&mut out, &draft.regions, pairs, &mut left);
        (written > 0).then_some(out)
    }

    /// Takes back what [`WormholeNetwork::traffic_to_bytes`] made, in the place of what was counted until now. What is about a region that
    /// the network does not have is left out, and so are shortcuts beyond [`learned_max`](super::NetworkOptions::learned_max).
    ///
    /// # Errors
    /// [`BadTraffic`] for any bytes that it does not make; nothing has changed then.
    pub fn restore_traffic(&self, bytes: &[u8]) -> Result<(), BadTraffic> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().filter(|version| *version == VERSION);
        let shortcuts = version.and_then(|_| decode::<1>(&mut reader)).ok_or(BadTraffic)?;
        let pairs = decode::<2>(&mut reader).filter(|_| reader.len() == 0).ok_or(BadTraffic)?;
        let mut draft = self.draft.lock();
        let regions = Arc::clone(&draft.regions);
        let ends = |a: &str, b: &str| Some((regions.id(a)?, regions.id(b)?));
        let counts = pairs.into_iter();
        let counts = counts.filter_map(|(a, b, [count, error])| Some((ends(a, b)?, Count { count, error })));
        let shortcuts = shortcuts.into_iter().filter_map(|(a, b, [used])| Some((ends(a, b)?, used)));
        self.set_learned(&mut draft, &mut self.traffic.lock(), counts, shortcuts);
        if draft.table.is_some() {
            self.publish(&draft);
        }
        Ok(())
    }
}

/// Writes how many of these there are, and those that fit; returns how many that were.
fn encode<const N: usize>(
    out: &mut Vec<u8>,
    regions: &Regions,
    all: impl Iterator<Item = ((RegionId, RegionId), [f64; N])>,
    left: &mut usize,
) -> usize {
    let (at, mut count) = (out.len(), 0);
    out.extend_from_slice(&[0; COUNT_BYTES]);
    for ((u, v), figures) in all {
        // A region that is gone has no name.
        let (Some(a), Some(b)) = (regions.name(u), regions.name(v)) else { continue };
        let bytes = 2 + a.len() + b.len() + N * FIGURE_BYTES;
        if bytes > *left {
            break;
        }
        *left -= bytes;
        count += 1;
        for name in [a, b] {
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(name.as_bytes());
        }
        figures.iter().for_each(|figure| out.extend_from_slice(&figure.min(FIGURE_MAX).to_le_bytes()));
    }
    out[at..at + COUNT_BYTES].copy_from_slice(&len_u32(count).to_le_bytes());
    count
}

/// `None` for what [`encode`] does not make. Memory stays within a small multiple of the bytes.
fn decode<'a, const N: usize>(reader: &mut Reader<'a>) -> Option<Vec<Named<'a, N>>> {
    let count = reader.u32()?;
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    for _ in 0..count {
        let (a, b) = (read_name(reader)?, read_name(reader)?);
        let mut figures = [0.0; N];
        for figure in &mut figures {
            *figure = reader.f64().filter(|figure| (0.0..=FIGURE_MAX).contains(figure))?;
        }
        // A pair is the same whichever is named first.
        if a == b || !seen.insert((a.min(b), a.max(b))) {
            return None;
        }
        all.push((a, b, figures));
    }
    Some(all)
}

fn read_name<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = reader.u8()?;
    std::str::from_utf8(reader.bytes(usize::from(length))?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::NetworkOptions;
    use super::*;

    fn ring(learned_max: usize) -> WormholeNetwork {
        let network = WormholeNetwork::new(NetworkOptions { learned_max, ..NetworkOptions::default() });
        for region in 0..20 {
            // Between 3 and 4 no shortcut is of use.
            let strength = if region == 3 { 1.0 } else { 0.5 };
            network.establish(&format!("{region}"), &format!("{}", (region + 1) % 20), strength).unwrap();
        }
        network
    }

    /// A network that has learned a shortcut from its traffic.
    fn learned() -> WormholeNetwork {
        let network = ring(2);
        (0..64).for_each(|_| assert!(network.traffic("0", "10", 1.0)));
        (0..8).for_each(|_| assert!(network.traffic("3", "4", 1.0)));
        network.learn();
        assert_eq!(network.route("0", "10").unwrap().cost, 1.0);
        network
    }

    #[test]
    fn what_was_learned_comes_back_and_fades_from_there() {
        let bytes = learned().traffic_to_bytes(1 << 16).unwrap();
        let network = ring(2);
        network.restore_traffic(&bytes).unwrap();
        assert_eq!(network.route("0", "10").unwrap().cost, 1.0);
        assert_eq!(network.traffic_to_bytes(1 << 16).unwrap(), bytes);
        assert_eq!(network.learn().pairs, 2);
        // 64, halved before it was written, and once for each of these.
        (0..5).for_each(|_| assert_eq!(network.learn().learned, 1));
        (0..3).for_each(|_| _ = network.learn());
        assert_eq!(network.route("0", "10").unwrap().cost, 19.0);
    }

    #[test]
    fn what_is_not_known_or_not_wanted_is_left_out() {
        let bytes = learned().traffic_to_bytes(1 << 16).unwrap();
        let other = WormholeNetwork::new(NetworkOptions { learned_max: 2, ..NetworkOptions::default() });
        other.establish("3", "4", 0.5).unwrap();
        other.restore_traffic(&bytes).unwrap();
        assert_eq!((other.stats().learned, other.learn().pairs), (0, 1));
        let none = ring(0);
        none.restore_traffic(&bytes).unwrap();
        assert_eq!((none.stats().learned, none.route("0", "10").unwrap().cost), (0, 19.0));
        assert_eq!(ring(2).traffic_to_bytes(1 << 16), None);
    }

    #[test]
    fn no_more_is_written_than_there_is_room_for() {
        let network = learned();
        let full = network.traffic_to_bytes(1 << 16).unwrap().len();
        for bytes_max in 0..full {
            if let Some(bytes) = network.traffic_to_bytes(bytes_max) {
                assert!(bytes.len() <= bytes_max);
                let less = ring(2);
                less.restore_traffic(&bytes).unwrap();
                assert_eq!(less.route("0", "10").unwrap().cost, 1.0, "shortcuts come first");
            }
        }
    }

    #[test]
    fn any_bytes_are_traffic_or_refused_and_change_nothing_then() {
        let good = learned().traffic_to_bytes(1 << 16).unwrap();
        for length in 0..good.len() {
            assert_eq!(ring(2).restore_traffic(&good[..length]), Err(BadTraffic));
        }
        assert_eq!(ring(2).restore_traffic(&[&good[..], &[0]].concat()), Err(BadTraffic));
        let network = learned();
        let before = network.traffic_to_bytes(1 << 16);
        for place in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[place] = byte;
                match ring(2).restore_traffic(&bytes) {
                    Ok(()) => {}
                    Err(BadTraffic) => {
                        assert_eq!(network.restore_traffic(&bytes), Err(BadTraffic));
                        assert_eq!(network.traffic_to_bytes(1 << 16), before);
                    }
                }
            }
        }
        let mut negative = good.clone();
        // The sign of the last figure.
        *negative.last_mut().unwrap() |= 0x80;
        negative[good.len() - 2] = 0x40;
        assert_eq!(ring(2).restore_traffic(&negative), Err(BadTraffic));
    }

    /// Bytes with these pairs, and no shortcut.
    fn with_pairs(pairs: &[(&str, &str, f64)]) -> Vec<u8> {
        let mut out = vec![VERSION, 0, 0, 0, 0];
        out.extend_from_slice(&len_u32(pairs.len()).to_le_bytes());
        for (a, b, figure) in pairs {
            for name in [a, b] {
                out.push(u8::try_from(name.len()).unwrap());
                out.extend_from_slice(name.as_bytes());
            }
            out.extend_from_slice(&figure.to_le_bytes());
            out.extend_from_slice(&0_f64.to_le_bytes());
        }
        out
    }

    #[test]
    fn figures_beyond_the_largest_are_refused() {
        let restored = |figure| ring(2).restore_traffic(&with_pairs(&[("0", "1", figure), ("0", "2", 0.0)]));
        assert_eq!(restored(FIGURE_MAX), Ok(()));
        for figure in [FIGURE_MAX.next_up(), f64::MAX, f64::INFINITY, f64::NAN, -1.0] {
            assert_eq!(restored(figure), Err(BadTraffic), "{figure}");
        }
    }

    #[test]
    fn figures_beyond_the_largest_are_not_written() {
        let network = ring(2);
        (0..2).for_each(|_| assert!(network.traffic("0", "10", f64::MAX)));
        network.learn();
        let bytes = network.traffic_to_bytes(1 << 16).unwrap();
        assert_eq!(ring(2).restore_traffic(&bytes), Ok(()));
    }

    #[test]
    fn a_pair_that_comes_twice_is_refused() {
        for again in [("0", "1", 1.0), ("1", "0", 1.0)] {
            assert_eq!(ring(2).restore_traffic(&with_pairs(&[("0", "1", 1.0), again])), Err(BadTraffic));
        }
    }
}
