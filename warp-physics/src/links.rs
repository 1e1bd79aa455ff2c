//! The declared links of one key.

mod stored;

use std::cmp::Ordering;

use crate::strength::{BadStrength, checked};

pub use stored::{BadLinks, StoredLinks};

/// Most declared links a key has. Bounds what reading and rewriting one hub costs.
pub const LINKS_MAX: usize = 1024;

/// Longest key that a link names, in bytes.
pub const LINK_KEY_BYTES_MAX: usize = 64 << 10;

/// Where a link comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub enum Origin {
    /// A program declared it between these two keys.
    Declared,
    /// A [rule](crate::Rules) made it from the names of the keys.
    Rule,
    /// It was [learned](crate::Bell) from what is read together.
    Learned,
}

/// One edge of the association graph, seen from the key that was asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The keyspace of the other key.
    pub keyspace: u32,
    /// The other key.
    pub key: Vec<u8>,
    /// How strongly the two belong together, in `0.0..=1.0`; higher is stronger.
    pub strength: f64,
    /// Where the link comes from.
    pub origin: Origin,
}

/// A declared link, lent by whatever holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkRef<'a> {
    /// The keyspace of the other key.
    pub keyspace: u32,
    /// The other key.
    pub key: &'a [u8],
    /// How strongly the two belong together, in `0.0..=1.0`; higher is stronger.
    pub strength: f64,
}

impl<'a> From<&'a Link> for LinkRef<'a> {
    fn from(link: &'a Link) -> LinkRef<'a> {
        LinkRef { keyspace: link.keyspace, key: &link.key, strength: link.strength }
    }
}

impl From<LinkRef<'_>> for Link {
    fn from(link: LinkRef<'_>) -> Link {
        let LinkRef { keyspace, key, strength } = link;
        Link { keyspace, key: key.to_vec(), strength, origin: Origin::Declared }
    }
}

/// The declared links of one key: what an engine stores beside that key.
///
/// Ordered by strength, highest first, then by keyspace and key; a key is in it at most once. At most
/// [`LINKS_MAX`] links. The bytes are described in `docs/format/stored.md`, "Links".
///
/// ```
/// use warp_physics::Links;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut links = Links::new();
/// links.declare(0, b"basket:7", 0.9)?;
/// links.declare(0, b"basket:7", 0.4)?; // declaring again replaces
/// assert_eq!(links.len(), 1);
/// assert_eq!(Links::from_bytes(&links.to_bytes())?, links);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Links {
    /// In the order of [`strongest_first`].
    links: Vec<Link>,
}

impl Links {
    /// No links.
    pub fn new() -> Links {
        Links::default()
    }

    /// Declares a link to a key, or replaces the strength of the one that is there. Returns whether anything
    /// changed.
    ///
    /// # Errors
    /// [`LinkError`] for a strength outside of `0.0..=1.0`, for a key of more than [`LINK_KEY_BYTES_MAX`] bytes,
    /// and for one link more than [`LINKS_MAX`]. Nothing has changed then.
    pub fn declare(&mut self, keyspace: u32, key: &[u8], strength: f64) -> Result<bool, LinkError> {
        let strength = checked_link(key, strength)?;
        let former = self.position(keyspace, key);
        match former {
            Some(index) if self.links[index].strength == strength => return Ok(false),
            Some(index) => drop(self.links.remove(index)),
            None if self.links.len() >= LINKS_MAX => return Err(LinkError::TooMany),
            None => {}
        }
        let link = LinkRef { keyspace, key, strength };
        let at = self.links.partition_point(|other| strongest_first(other.into(), link) == Ordering::Less);
        self.links.insert(at, link.into());
        Ok(true)
    }

    /// Removes the link to a key. Returns whether there was one.
    pub fn remove(&mut self, keyspace: u32, key: &[u8]) -> bool {
        let position = self.position(keyspace, key);
        if let Some(index) = position {
            self.links.remove(index);
        }
        position.is_some()
    }

    /// The links, strongest first, each as a value of its own; [`Links::as_slice`] lends them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Link> + '_ {
        self.links.iter().cloned()
    }

    /// The links, strongest first.
    pub fn as_slice(&self) -> &[Link] {
        &self.links
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    fn position(&self, keyspace: u32, key: &[u8]) -> Option<usize> {
        self.links.iter().position(|link| link.keyspace == keyspace && link.key == key)
    }
}

/// Why a link was not declared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The strength is not in `0.0..=1.0`.
    #[error(transparent)]
    BadStrength(#[from] BadStrength),
    /// The key has more than [`LINK_KEY_BYTES_MAX`] bytes.
    #[error("a link to a key of {bytes} bytes; the most is {LINK_KEY_BYTES_MAX}")]
    KeyTooLong {
        /// How many it has.
        bytes: usize,
    },
    /// The key has [`LINKS_MAX`] links already. Remove one first.
    #[error("more than {LINKS_MAX} declared links of one key")]
    TooMany,
}

/// The order of links: strength, highest first, then keyspace and key.
fn strongest_first(a: LinkRef<'_>, b: LinkRef<'_>) -> Ordering {
    let keys = || a.keyspace.cmp(&b.keyspace).then_with(|| compare(a.key, b.key));
    b.strength.total_cmp(&a.strength).then_with(keys)
}

/// The order of bytes; keys that differ in their first eight, as most do, need no call for it.
#[inline]
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        (Some(a), Some(b)) if a != b => a.cmp(b),
        _ => a.cmp(b),
    }
}

fn checked_link(key: &[u8], strength: f64) -> Result<f64, LinkError> {
    if key.len() > LINK_KEY_BYTES_MAX {
        return Err(LinkError::KeyTooLong { bytes: key.len() });
    }
    Ok(checked(strength)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(links: &Links) -> Vec<(u32, String, f64)> {
        let name = |link: Link| (link.keyspace, String::from_utf8(link.key).unwrap(), link.strength);
        links.iter().map(name).collect()
    }

    #[test]
    fn strongest_come_first_and_ties_go_by_keyspace_and_key() {
        let mut links = Links::new();
        for (keyspace, key, strength) in [(2, "a", 0.5), (1, "b", 0.5), (1, "a", 0.5), (9, "z", 0.9)] {
            assert_eq!(links.declare(keyspace, key.as_bytes(), strength), Ok(true));
        }
        let expected = [(9, "z", 0.9), (1, "a", 0.5), (1, "b", 0.5), (2, "a", 0.5)];
        assert_eq!(names(&links), expected.map(|(keyspace, key, s)| (keyspace, key.to_owned(), s)));
    }

    #[test]
    fn declaring_again_replaces_and_says_whether_it_did() {
        let mut links = Links::new();
        assert_eq!(links.declare(0, b"k", 0.3), Ok(true));
        assert_eq!(links.declare(0, b"k", 0.3), Ok(false));
        assert_eq!(links.declare(0, b"k", 0.7), Ok(true));
        assert_eq!(names(&links), [(0, "k".to_owned(), 0.7)]);
        assert!(links.remove(0, b"k"));
        assert!(!links.remove(0, b"k"));
        assert!(links.is_empty());
    }

    #[test]
    fn limits_refuse_and_leave_the_links_alone() {
        let mut links = Links::new();
        for index in 0..LINKS_MAX {
            links.declare(0, index.to_string().as_bytes(), 0.5).unwrap();
        }
        let before = links.clone();
        assert_eq!(links.declare(0, b"one more", 0.5), Err(LinkError::TooMany));
        assert!(matches!(links.declare(0, b"0", 1.5), Err(LinkError::BadStrength(_))));
        let long = vec![0; LINK_KEY_BYTES_MAX + 1];
        assert_eq!(links.declare(0, &long, 0.5), Err(LinkError::KeyTooLong { bytes: long.len() }));
        assert_eq!(links, before);
        assert_eq!(links.declare(0, b"0", 0.6), Ok(true), "replacing needs no room");
    }
}
