//! The declared wormholes: which named regions are linked, and how strongly.

mod stored;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::strength::{BadStrength, checked};

pub use stored::BadWormholes;

/// Longest name of a region, in bytes.
pub const REGION_NAME_BYTES_MAX: usize = 255;

/// Most wormholes in one set. All of them are one stored value, which is written anew with every change.
pub const WORMHOLES_MAX: usize = 4096;

/// A set of weighted, undirected edges between named regions, ordered by name: what an engine stores.
///
/// A pair of regions is linked at most once, and no region with itself. The bytes are described in
/// `docs/format/stored.md`, "Wormholes". [`WormholeNetwork`](crate::WormholeNetwork) finds routes through them.
///
/// ```
/// use warp_physics::Wormholes;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut wormholes = Wormholes::new();
/// wormholes.establish("oslo", "rome", 0.5)?;
/// assert_eq!(wormholes.strength("rome", "oslo"), Some(0.5)); // both ways
/// assert_eq!(Wormholes::from_bytes(&wormholes.to_bytes())?, wormholes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wormholes {
    /// The lesser name of a pair comes first.
    links: BTreeMap<(Arc<str>, Arc<str>), f64>,
}

/// Why a wormhole is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WormholeError {
    /// The strength is not in `0.0..=1.0`.
    #[error(transparent)]
    BadStrength(#[from] BadStrength),
    /// The name of a region is empty.
    #[error("the name of a region is empty")]
    NameEmpty,
    /// The name of a region is longer than [`REGION_NAME_BYTES_MAX`].
    #[error("a region's name of {bytes} bytes is longer than the limit of {REGION_NAME_BYTES_MAX}")]
    NameTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Both ends are the same region.
    #[error("a wormhole must lead to another region")]
    Itself,
    /// There are as many wormholes as there may be.
    #[error("there are {WORMHOLES_MAX} wormholes already")]
    TooMany,
    /// There are as many regions as a network may have.
    #[error("there are {regions} regions already")]
    TooManyRegions {
        /// How many that are.
        regions: usize,
    },
}

impl Wormholes {
    /// No wormholes.
    pub fn new() -> Wormholes {
        Wormholes::default()
    }

    /// Links two regions, or replaces the strength of their link. Returns whether anything changed.
    ///
    /// # Errors
    /// [`WormholeError`]; nothing has changed then.
    pub fn establish(&mut self, a: &str, b: &str, strength: f64) -> Result<bool, WormholeError> {
        let strength = check(a, b, strength)?;
        let pair = pair(a, b);
        let is_new = !self.links.contains_key(&pair);
        if is_new && self.links.len() >= WORMHOLES_MAX {
            return Err(WormholeError::TooMany);
        }
        Ok(self.links.insert(pair, strength) != Some(strength))
    }

    /// Removes the link between two regions. Returns whether there was one.
    pub fn close(&mut self, a: &str, b: &str) -> bool {
        self.links.remove(&pair(a, b)).is_some()
    }

    /// How strongly two regions are linked, in either order; `None` if they are not.
    pub fn strength(&self, a: &str, b: &str) -> Option<f64> {
        self.links.get(&pair(a, b)).copied()
    }

    /// All of them, each once, its lesser name first, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str, f64)> {
        self.links.iter().map(|((a, b), strength)| (&**a, &**b, *strength))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}

/// The strength of a wormhole that may be established, as it is kept.
pub(crate) fn check(a: &str, b: &str, strength: f64) -> Result<f64, WormholeError> {
    for name in [a, b] {
        match name.len() {
            0 => return Err(WormholeError::NameEmpty),
            bytes if bytes > REGION_NAME_BYTES_MAX => return Err(WormholeError::NameTooLong { bytes }),
            _ => {}
        }
    }
    if a == b {
        return Err(WormholeError::Itself);
    }
    Ok(checked(strength)?)
}

fn pair(a: &str, b: &str) -> (Arc<str>, Arc<str>) {
    if a <= b { (a.into(), b.into()) } else { (b.into(), a.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_linked_once_whichever_end_is_named_first() {
        let mut wormholes = Wormholes::new();
        assert_eq!(wormholes.establish("b", "a", 0.25), Ok(true));
        assert_eq!(wormholes.establish("a", "b", 0.25), Ok(false));
        assert_eq!(wormholes.establish("a", "b", 0.5), Ok(true));
        assert_eq!(wormholes.iter().collect::<Vec<_>>(), [("a", "b", 0.5)]);
        assert!(wormholes.close("b", "a") && !wormholes.close("a", "b"));
    }

    #[test]
    fn what_is_outside_the_limits_is_refused() {
        let mut wormholes = Wormholes::new();
        let long = "n".repeat(REGION_NAME_BYTES_MAX + 1);
        assert_eq!(wormholes.establish("", "b", 0.5), Err(WormholeError::NameEmpty));
        assert_eq!(wormholes.establish("a", &long, 0.5), Err(WormholeError::NameTooLong { bytes: 256 }));
        assert_eq!(wormholes.establish("a", "a", 0.5), Err(WormholeError::Itself));
        assert!(matches!(wormholes.establish("a", "b", 1.5), Err(WormholeError::BadStrength(_))));
        for number in 0..WORMHOLES_MAX {
            wormholes.establish("hub", &format!("{number}"), 1.0).unwrap();
        }
        assert_eq!(wormholes.establish("a", "b", 0.5), Err(WormholeError::TooMany));
        assert_eq!(wormholes.establish("hub", "7", 0.5), Ok(true), "one that is there may change");
    }
}
