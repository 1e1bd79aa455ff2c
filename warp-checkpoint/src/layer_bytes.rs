//! Bytes of a layer, wherever they are held.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// Checked bytes of a layer: a part of its memory map, or of a block that was read into memory.
///
/// It is used as the slice that it dereferences to.
///
/// ```
/// use warp_checkpoint::{Layer, LayerEntry, LayerOptions, LayerWriter, hash};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # let path = scratch.path().join("1.warp");
/// let mut writer = LayerWriter::create(&path, &LayerOptions::default())?;
/// let key = b"venus".as_slice();
/// writer.add(&LayerEntry { hash: hash(key), keyspace: 0, key, seq: 1, deadline: 0, value: None })?;
/// writer.finish()?;
/// let layer = Layer::open(&path)?;
/// let entry = layer.iter().next().expect("there is one entry")?;
/// assert_eq!(&entry.key[..], key);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LayerBytes<'a>(Held<'a>);

#[derive(Clone)]
enum Held<'a> {
    Mapped(&'a [u8]),
    Read(Bytes),
}

impl<'a> LayerBytes<'a> {
    /// Bytes of a map that outlives the result.
    #[inline]
    pub(crate) fn mapped(bytes: &'a [u8]) -> LayerBytes<'a> {
        LayerBytes(Held::Mapped(bytes))
    }

    /// Bytes in memory.
    #[inline]
    pub(crate) fn read(bytes: Bytes) -> LayerBytes<'a> {
        LayerBytes(Held::Read(bytes))
    }
}

/// Bytes that somebody else holds, to be compared with those of a layer.
impl<'a> From<&'a [u8]> for LayerBytes<'a> {
    fn from(bytes: &'a [u8]) -> LayerBytes<'a> {
        LayerBytes::mapped(bytes)
    }
}

impl Deref for LayerBytes<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Mapped(bytes) => bytes,
            Held::Read(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for LayerBytes<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for LayerBytes<'_> {
    fn eq(&self, other: &LayerBytes<'_>) -> bool {
        **self == **other
    }
}

impl Eq for LayerBytes<'_> {}

impl PartialOrd for LayerBytes<'_> {
    fn partial_cmp(&self, other: &LayerBytes<'_>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LayerBytes<'_> {
    fn cmp(&self, other: &LayerBytes<'_>) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for LayerBytes<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for LayerBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
