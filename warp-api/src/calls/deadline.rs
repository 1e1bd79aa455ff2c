//! Deadlines of keys that are there.

macro_rules! deadline_calls {
    ($handle:ident) => {
        impl $handle {
            /// Has a key expire this long after the call, in place of any deadline that it had. Returns whether it has a
            /// value; if not, nothing is written. Kept in milliseconds, rounded up.
            ///
            /// From its deadline on a key has no value, also after a restart, which may take longer than that; its
            /// memory comes back some seconds later. This is a write of the value with its deadline, and costs as much.
            ///
            /// ```
            /// use std::time::Duration;
            /// use warp_api::{Ttl, WarpEngine};
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("session", "ada")?;
            /// assert!(engine.expire("session", Duration::from_secs(60))?);
            /// assert!(matches!(engine.ttl("session")?, Ttl::Left(left) if left.as_secs() >= 59));
            /// assert!(engine.persist("session")?);
            /// assert_eq!(engine.ttl("session")?, Ttl::Forever);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put) and [`get`](Self::get).
            pub fn expire(&self, key: impl AsRef<[u8]>, ttl: std::time::Duration) -> $crate::Result<bool> {
                self.space().expire(key.as_ref(), ttl)
            }

            /// Takes a key's deadline away. Returns whether it had one; if not, or without a value, nothing is written.
            ///
            /// # Errors
            /// As [`put`](Self::put) and [`get`](Self::get).
            pub fn persist(&self, key: impl AsRef<[u8]>) -> $crate::Result<bool> {
                self.space().persist(key.as_ref())
            }
        }
    };
}

pub(crate) use deadline_calls;
