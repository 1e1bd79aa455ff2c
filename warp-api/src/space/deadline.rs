//! Deadlines of keys that are there. What is logged is the value with its new deadline, a state like any other.

use std::borrow::Cow;
use std::time::Duration;

use warp_io::Clock;

use crate::error::Result;
use crate::space::Space;
use crate::space::swap::Decision;
use crate::types::Ttl;

impl Space<'_> {
    pub(crate) fn expire(self, key: &[u8], ttl: Duration) -> Result<bool> {
        // Counted from the call, however often it has to look again.
        let deadline = self.shared.deadline(Some(ttl));
        self.set_deadline(key, deadline, |_| true)
    }

    pub(crate) fn persist(self, key: &[u8]) -> Result<bool> {
        self.set_deadline(key, 0, |present| present != 0)
    }

    /// Gives a key that is there another deadline, if the one that it has is to change.
    fn set_deadline(self, key: &[u8], deadline: u64, changes: impl Fn(u64) -> bool) -> Result<bool> {
        let (changed, _) = self.decide(key, |found| {
            Ok(match found {
                Some(found) if changes(found.deadline) => {
                    Decision::Put { value: Cow::Owned(found.value.to_vec()), deadline, answer: true }
                }
                _ => Decision::Leave(false),
            })
        })?;
        Ok(changed)
    }

    pub(crate) fn ttl(self, key: &[u8]) -> Result<Ttl> {
        self.check()?;
        let Some(found) = self.shared.find_counted(self.key(key))? else { return Ok(Ttl::Missing) };
        Ok(match found.deadline {
            0 => Ttl::Forever,
            deadline => {
                Ttl::Left(Duration::from_millis(deadline.saturating_sub(self.shared.time.unix_millis())))
            }
        })
    }
}
