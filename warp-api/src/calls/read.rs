//! Reading keys.

macro_rules! read_calls {
    ($handle:ident) => {
        impl $handle {
            /// The value of a key: a cheap handle, without a copy of large values.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("key", "value")?;
            /// let value = engine.get("key")?;
            /// engine.put("key", "later")?;
            /// assert_eq!(value.as_deref(), Some(&b"value"[..]));
            /// assert_eq!(engine.get("other")?, None);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// `Closed`; `NotFound` if the keyspace was dropped; `Io` or `Corrupt` if the value had to be read from a
            /// file and could not.
            #[inline]
            pub fn get(&self, key: impl AsRef<[u8]>) -> $crate::Result<Option<$crate::Value>> {
                let mut answer = Ok(None);
                self.space().get_into(key.as_ref(), &mut answer);
                answer
            }

            /// Calls `read` with the value of a key, where it lies, and returns what that returns; `None`, without a
            /// call, if there is no value. The fastest read.
            ///
            /// No lock is held meanwhile, so that `read` may call the engine; but memory that others free may have to
            /// wait for it, so that it should not take long.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("key", "value")?;
            /// assert_eq!(engine.with_value("key", |value| value.len())?, Some(5));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn with_value<R>(
                &self,
                key: impl AsRef<[u8]>,
                read: impl FnOnce(&[u8]) -> R,
            ) -> $crate::Result<Option<R>> {
                self.space().with_value(key.as_ref(), read)
            }

            /// The value of a key with what is known of it: which write put it, when it expires, where it was found.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// let seq = engine.put("key", "value")?;
            /// let entry = engine.get_entry("key")?.unwrap();
            /// assert_eq!((entry.seq, entry.expires_at), (seq, None));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn get_entry(&self, key: impl AsRef<[u8]>) -> $crate::Result<Option<$crate::Entry>> {
                self.space().get_entry(key.as_ref())
            }

            /// The values of many keys, in the order of the keys. Not a snapshot: each is as it is when its turn comes.
            /// Faster than as many calls of [`get`](Self::get): memory is waited for once for up to 32 keys.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("a", "1")?;
            /// let values = engine.multi_get(&["a", "b"])?;
            /// assert_eq!((values[0].as_deref(), values[1].as_deref()), (Some(&b"1"[..]), None));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn multi_get<K: AsRef<[u8]>>(
                &self,
                keys: &[K],
            ) -> $crate::Result<Vec<Option<$crate::Value>>> {
                self.space().multi_get(keys)
            }

            /// Calls `read` with the place of each of many keys and its value; as [`multi_get`](Self::multi_get), without
            /// a handle for each value. What is in memory comes first, what has to be read from a file after it.
            /// `read` is called with no lock held; while it runs, memory of what is overwritten is not freed.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("a", "12")?;
            /// let mut bytes = 0;
            /// engine.multi_get_with(&["a", "b"], |_, value| bytes += value.map_or(0, <[u8]>::len))?;
            /// assert_eq!(bytes, 2);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`get`](Self::get); `read` may have been called for some of the keys.
            pub fn multi_get_with<K: AsRef<[u8]>>(
                &self,
                keys: &[K],
                read: impl FnMut(usize, Option<&[u8]>),
            ) -> $crate::Result<()> {
                self.space().multi_get_with(keys, read)
            }

            /// Whether a key has a value.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn contains_key(&self, key: impl AsRef<[u8]>) -> $crate::Result<bool> {
                self.space().contains_key(key.as_ref())
            }

            /// How long a key has until it expires.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn ttl(&self, key: impl AsRef<[u8]>) -> $crate::Result<$crate::Ttl> {
                self.space().ttl(key.as_ref())
            }
        }
    };
}

pub(crate) use read_calls;
