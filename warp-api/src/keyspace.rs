//! Keyspaces: separate sets of keys in one database, which share its log, its checkpoints and its batches.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::calls::{
    deadline_calls, link_calls, link_read_calls, read_calls, swap_calls, walk_calls, write_calls,
};
use crate::error::Result;
use crate::life::Life;
use crate::options::Durability;
use crate::shared::Shared;
use crate::space::Space;
use crate::types::Seq;
use crate::watch::Watch;

/// What the engine keeps for itself: declared links, rules, and the names of keyspaces.
pub(crate) const SYSTEM: u32 = 0;
/// What the engine's own calls are about.
pub(crate) const DEFAULT: u32 = 1;
/// The number of the first keyspace that a program makes.
pub(crate) const NUMBER_FIRST: u32 = 2;
/// The name of the default keyspace.
pub(crate) const DEFAULT_NAME: &str = "default";

/// The name of a keyspace: text that is cheap to clone.
#[derive(Clone, Default)]
pub struct KeyspaceName(
    /// `None` for the default one: threads would contend for the counter of a shared name.
    Option<Arc<str>>,
);

impl Deref for KeyspaceName {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.0.as_deref().unwrap_or(DEFAULT_NAME)
    }
}

impl AsRef<str> for KeyspaceName {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Debug for KeyspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for KeyspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl PartialEq for KeyspaceName {
    fn eq(&self, other: &KeyspaceName) -> bool {
        **self == **other
    }
}

impl Eq for KeyspaceName {}

impl PartialEq<str> for KeyspaceName {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for KeyspaceName {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl From<Arc<str>> for KeyspaceName {
    fn from(name: Arc<str>) -> KeyspaceName {
        KeyspaceName(Some(name).filter(|name| **name != *DEFAULT_NAME))
    }
}

impl From<KeyspaceName> for Arc<str> {
    fn from(name: KeyspaceName) -> Arc<str> {
        name.0.unwrap_or_else(|| DEFAULT_NAME.into())
    }
}

/// A set of keys of its own in a database: a handle that is cheap to clone and may be used from any thread.
///
/// Got from [`WarpEngine::keyspace`](crate::WarpEngine::keyspace). It has the engine's calls for keys and values,
/// which there are those of the keyspace `default`. All keyspaces share one order of writes, one log and one
/// checkpoint, and a [`WriteBatch`](crate::WriteBatch) across them is atomic. The database stays open as long as
/// there is a handle of any kind.
///
/// Every call answers `NotFound` once the keyspace was dropped, also if another was made under its name since.
///
/// ```
/// use warp_api::WarpEngine;
///
/// # fn main() -> warp_api::Result<()> {
/// let engine = WarpEngine::in_memory();
/// let sessions = engine.keyspace("sessions")?;
/// sessions.put("ada", "signed in")?;
/// assert_eq!(engine.get("ada")?, None);
/// assert_eq!(sessions.get("ada")?.as_deref(), Some(&b"signed in"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Keyspace {
    shared: Arc<Shared>,
    number: u32,
    name: Arc<str>,
    durability: Durability,
    _life: Arc<Life>,
}

impl Keyspace {
    pub(crate) fn new(
        shared: Arc<Shared>,
        number: u32,
        name: Arc<str>,
        durability: Durability,
        life: Arc<Life>,
    ) -> Keyspace {
        Keyspace { shared, number, name, durability, _life: life }
    }

    /// The name under which it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same keyspace, with another default durability for every write made through the returned handle.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> Keyspace {
        Keyspace { durability, ..self.clone() }
    }

    /// The changes from now on of this keyspace's keys that begin with `prefix`: see [`Watch`].
    ///
    /// # Errors
    /// As [`WarpEngine::watch`](crate::WarpEngine::watch); `NotFound` if the keyspace was dropped.
    pub fn watch(&self, prefix: impl AsRef<[u8]>) -> Result<Watch> {
        self.shared.check_keyspace(self.number)?;
        Watch::from_now(&self.shared, Some((self.number, Arc::clone(&self.name))), prefix.as_ref())
    }

    /// The changes with numbers above `seq` of this keyspace's keys that begin with `prefix`: see [`Watch`].
    ///
    /// # Errors
    /// As [`WarpEngine::changes_since`](crate::WarpEngine::changes_since); `NotFound` if the keyspace was dropped.
    pub fn changes_since(&self, seq: Seq, prefix: impl AsRef<[u8]>) -> Result<Watch> {
        self.shared.check_keyspace(self.number)?;
        Watch::since(&self.shared, Some((self.number, Arc::clone(&self.name))), prefix.as_ref(), seq)
    }

    /// The engine that it belongs to, and its number there.
    pub(crate) fn place(&self) -> (u64, u32) {
        (self.shared.id, self.number)
    }

    pub(crate) fn space(&self) -> Space<'_> {
        Space { shared: &self.shared, keyspace: self.number, durability: self.durability }
    }
}

read_calls!(Keyspace);
write_calls!(Keyspace);
swap_calls!(Keyspace);
deadline_calls!(Keyspace);
walk_calls!(Keyspace);
link_read_calls!(Keyspace);
link_calls!(Keyspace);
