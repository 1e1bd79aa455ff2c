//! Walking the keys of a keyspace, and counting them.

macro_rules! walk_calls {
    ($handle:ident) => {
        impl $handle {
            /// All keys with their values, in the order of the keys; see [`Scan`](crate::Scan) for what it costs. An error
            /// comes as an item, and ends the iteration.
            #[must_use]
            pub fn iter(&self) -> $crate::Scan {
                self.space().scan(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)
            }

            /// The keys in a range with their values, in the order of the keys. A range that ends before it starts is
            /// empty.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// for key in ["a", "b", "c"] {
            ///     engine.put(key, "value")?;
            /// }
            /// let keys: Result<Vec<_>, _> = engine.range("b"..).rev().map(|item| Ok(item?.0)).collect();
            /// let keys: Vec<_> = keys.map_err(|error: warp_api::Error| error)?;
            /// assert_eq!((&keys[0][..], &keys[1][..]), (&b"c"[..], &b"b"[..]));
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn range<K: AsRef<[u8]>>(&self, range: impl std::ops::RangeBounds<K>) -> $crate::Scan {
                self.space().scan_range(&range)
            }

            /// The keys that begin with `prefix` with their values, in the order of the keys.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("user:1", "Ada")?;
            /// engine.put("user;", "none")?;
            /// assert_eq!(engine.scan_prefix("user:").count(), 1);
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn scan_prefix(&self, prefix: impl AsRef<[u8]>) -> $crate::Scan {
                self.space().scan_prefix(prefix.as_ref())
            }

            /// The number of keys that have a value, exactly: walks all of them.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn len(&self) -> $crate::Result<u64> {
                self.space().len()
            }

            /// About how many keys have a value, from a sample of those in memory and of those in each checkpoint layer.
            ///
            /// The same time whatever there is: some milliseconds. Exact without files and with fewer than 8,192 entries
            /// in memory, all keyspaces together; also with files, as long as no layer has more than 1,024. Otherwise as
            /// good as the samples, usually within a few percent; keys in layers that are laid out by their links, or
            /// overwritten unevenly, may make it worse. 0 for an engine that is closed, or a keyspace that was dropped.
            #[must_use]
            pub fn approximate_len(&self) -> u64 {
                self.space().approximate_len()
            }

            /// Whether no key has a value. Quick where one in memory has; otherwise it walks all keys.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn is_empty(&self) -> $crate::Result<bool> {
                self.space().is_empty()
            }
        }
    };
}

pub(crate) use walk_calls;
