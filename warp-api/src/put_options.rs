//! Settings of a single put: plain data, with a default for everything.

use std::time::Duration;

use crate::options::Durability;

/// How a value is going to be used: sets the mass with which it begins, until its use is known.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AccessPattern {
    /// Often: it begins as if it had been used 15 times.
    Hot,
    /// Now and then: as if 3 times.
    Warm,
    /// Hardly ever: as if never; it is among the first to leave memory.
    Cold,
    /// Unknown: as if once, like every value that is put without a hint.
    Balanced,
}

/// How much a value matters to the program: sets the mass with which it begins, beside its [`AccessPattern`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Priority {
    /// The largest mass there is: it leaves memory only after many half-lives without a use.
    Critical,
    /// Four times the mass, and three uses more.
    High,
    /// As the access pattern says.
    Normal,
    /// A quarter of the mass.
    Low,
    /// No mass at all.
    Background,
}

/// How a single value is put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    pub(crate) durability: Option<Durability>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) entangled_with: Vec<Vec<u8>>,
    pub(crate) no_wait: bool,
    pub(crate) access_pattern: Option<AccessPattern>,
    pub(crate) priority: Option<Priority>,
    pub(crate) pin: Option<bool>,
}

impl PutOptions {
    /// The handle's durability, no deadline, no links, and waiting where the log is behind.
    #[must_use]
    pub fn new() -> PutOptions {
        PutOptions::default()
    }

    /// When this write is acknowledged, whatever the handle's default is.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> PutOptions {
        self.durability = Some(durability);
        self
    }

    /// The value is gone this long after the put. Kept in milliseconds, rounded up.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> PutOptions {
        self.ttl = Some(ttl);
        self
    }

    /// Declares links of full strength between the key and these, in the same atomic write.
    #[must_use]
    pub fn entangled_with<K: AsRef<[u8]>>(mut self, partners: &[K]) -> PutOptions {
        self.entangled_with = partners.iter().map(|partner| partner.as_ref().to_vec()).collect();
        self
    }

    /// How the value is going to be used. It is advice about what stays in memory once the memory budget is used up, is not
    /// logged, and gives way to what is measured.
    ///
    /// ```
    /// use warp_api::{AccessPattern, PutOptions, Priority, WarpEngine};
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// let session = PutOptions::new().access_pattern(AccessPattern::Hot).priority(Priority::High);
    /// engine.put_with("session", "..", &session)?;
    /// engine.put_with("audit", "..", &PutOptions::new().access_pattern(AccessPattern::Cold))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn access_pattern(mut self, pattern: AccessPattern) -> PutOptions {
        self.access_pattern = Some(pattern);
        self
    }

    /// How much the value matters: advice, as [`access_pattern`](PutOptions::access_pattern) is.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> PutOptions {
        self.priority = Some(priority);
        self
    }

    /// Whether the key stays in memory whatever its use, until a put says otherwise, it is deleted, or the engine is
    /// closed. What is pinned may take half of the memory budget; a pin beyond that is not followed.
    #[must_use]
    pub fn pin(mut self, pin: bool) -> PutOptions {
        self.pin = Some(pin);
        self
    }

    /// Answers `Busy` instead of waiting while the log's buffer or the memory budget is full, or the log too far ahead of
    /// the checkpoints ([`Options::replay_bytes_max`](crate::Options::replay_bytes_max)).
    #[must_use]
    pub fn no_wait(mut self) -> PutOptions {
        self.no_wait = true;
        self
    }
}
