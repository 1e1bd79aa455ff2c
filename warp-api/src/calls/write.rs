//! Putting and deleting keys.

macro_rules! write_calls {
    ($handle:ident) => {
        impl $handle {
            /// Puts a value, and returns its place in the order of writes. A deadline that the key had goes.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// let first = engine.put("key", "value")?;
            /// assert!(engine.put("key", "another")? > first);
            /// assert_eq!(engine.get("key")?.as_deref(), Some(&b"another"[..]));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// `Invalid` beyond the limits of keys and values; `NotFound` if the keyspace was dropped; `Full`,
            /// `ReadOnly`, `Poisoned`, `Closed`: nothing was written. `Io` if a sync failed that the write had to wait
            /// for: the write is made, and may or may not survive a restart.
            pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> $crate::Result<$crate::Seq> {
                self.space().put(key.as_ref(), value.as_ref())
            }

            /// Puts a value with options of its own.
            ///
            /// ```
            /// use std::time::Duration;
            /// use warp_api::{Priority, PutOptions, Ttl, WarpEngine};
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// let options = PutOptions::new().ttl(Duration::from_secs(60)).priority(Priority::High);
            /// engine.put_with("session", "ada", &options)?;
            /// assert!(matches!(engine.ttl("session")?, Ttl::Left(left) if left <= Duration::from_secs(60)));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put); `Busy` where the options say not to wait.
            pub fn put_with(
                &self,
                key: impl AsRef<[u8]>,
                value: impl AsRef<[u8]>,
                options: &$crate::PutOptions,
            ) -> $crate::Result<$crate::Seq> {
                let written = self.space().put_with(key.as_ref(), value.as_ref(), options)?;
                Ok($crate::Seq(written.seq))
            }

            /// Deletes a key, and returns whether it had a value. If it had none, nothing is written.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("key", "value")?;
            /// assert!(engine.delete("key")?);
            /// assert!(!engine.delete("key")?);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put) and [`get`](Self::get). A full disk does not refuse deletions as long as the
            /// space that is kept for them lasts.
            pub fn delete(&self, key: impl AsRef<[u8]>) -> $crate::Result<bool> {
                Ok(self.space().delete(key.as_ref())?.is_some())
            }

            /// Deletes a key, and returns the value that it had. Of several callers at once one gets it.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("job", "print")?;
            /// assert_eq!(engine.take("job")?.as_deref(), Some(&b"print"[..]));
            /// assert_eq!(engine.take("job")?, None);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`delete`](Self::delete).
            pub fn take(&self, key: impl AsRef<[u8]>) -> $crate::Result<Option<$crate::Value>> {
                Ok(self.space().delete(key.as_ref())?.map(|(found, _)| found.value))
            }

            /// Makes all writes of a batch, or none of them: after a crash, too. Returns their sequence number; that of
            /// the last write, if there is nothing to write. What the batch names no keyspace for is in that of this
            /// handle.
            ///
            /// # Errors
            /// As [`put`](Self::put); `Conflict` if a requirement of the batch does not hold; `Invalid` for a keyspace
            /// of another engine. Nothing of the batch was written then.
            pub fn write(&self, batch: &$crate::WriteBatch) -> $crate::Result<$crate::Seq> {
                self.space().write(batch)
            }

            /// Deletes every key of the keyspace, at once and as a whole. Declared links and rules stay.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("key", "value")?;
            /// engine.clear()?;
            /// assert_eq!(engine.iter().count(), 0);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`delete`](Self::delete).
            pub fn clear(&self) -> $crate::Result<$crate::Seq> {
                self.space().clear()
            }
        }
    };
}

pub(crate) use write_calls;
