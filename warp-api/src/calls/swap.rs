//! Changes that depend on what a key has.

macro_rules! swap_calls {
    ($handle:ident) => {
        impl $handle {
            /// Puts a value, without a deadline, if the key has none.
            ///
            /// ```
            /// use warp_api::{CasOutcome, WarpEngine};
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// assert!(matches!(engine.put_if_absent("lock", "ada")?, CasOutcome::Swapped(_)));
            /// let CasOutcome::Conflict(Some(owner)) = engine.put_if_absent("lock", "bob")? else { panic!() };
            /// assert_eq!(&owner[..], b"ada");
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put) and [`get`](Self::get). A value that is there is no error, but
            /// [`CasOutcome::Conflict`](crate::CasOutcome::Conflict).
            pub fn put_if_absent(
                &self,
                key: impl AsRef<[u8]>,
                value: impl AsRef<[u8]>,
            ) -> $crate::Result<$crate::CasOutcome> {
                self.space().put_if_absent(key.as_ref(), value.as_ref())
            }

            /// Gives a key the value `new`, or deletes it if that is `None`, provided that its value is `expected`,
            /// where `None` expects it to have none.
            ///
            /// The new value has no deadline, as after a [`put`](Self::put): one that the key had is gone.
            ///
            /// ```
            /// use warp_api::{CasOutcome, WarpEngine};
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("stock", "3")?;
            /// let outcome = engine.compare_and_swap("stock", Some(b"3"), Some(b"2"))?;
            /// assert!(matches!(outcome, CasOutcome::Swapped(_)));
            /// let outcome = engine.compare_and_swap("stock", Some(b"3"), Some(b"1"))?;
            /// let CasOutcome::Conflict(Some(there)) = outcome else { panic!() };
            /// assert_eq!(&there[..], b"2");
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put) and [`get`](Self::get). An expectation that does not hold is no error, but
            /// [`CasOutcome::Conflict`](crate::CasOutcome::Conflict).
            pub fn compare_and_swap(
                &self,
                key: impl AsRef<[u8]>,
                expected: Option<&[u8]>,
                new: Option<&[u8]>,
            ) -> $crate::Result<$crate::CasOutcome> {
                self.space().compare_and_swap(key.as_ref(), expected, new)
            }

            /// As [`compare_and_swap`](Self::compare_and_swap), provided that the value was put by the write with the
            /// sequence number `expected`: a value that was put again, or given another deadline, is another one. The new
            /// value has no deadline here either.
            ///
            /// ```
            /// use warp_api::{CasOutcome, WarpEngine};
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// let seq = engine.put("key", "1")?;
            /// engine.put("key", "1")?;
            /// let outcome = engine.compare_and_swap_seq("key", Some(seq), Some(b"2"))?;
            /// assert!(matches!(outcome, CasOutcome::Conflict(Some(_))));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`compare_and_swap`](Self::compare_and_swap).
            pub fn compare_and_swap_seq(
                &self,
                key: impl AsRef<[u8]>,
                expected: Option<$crate::Seq>,
                new: Option<&[u8]>,
            ) -> $crate::Result<$crate::CasOutcome> {
                self.space().compare_and_swap_seq(key.as_ref(), expected, new)
            }

            /// Replaces a key's value by what `update` makes of it, atomically; returns the value after.
            ///
            /// The closure runs outside all locks, and runs again if the key changed meanwhile; it may call the engine.
            /// A deadline that the key had stays with a new value.
            ///
            /// ```
            /// use warp_api::{Update, WarpEngine};
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// let append = |value: Option<&[u8]>| Update::Put([value.unwrap_or_default(), b"!"].concat());
            /// engine.update("key", append)?;
            /// assert_eq!(engine.update("key", append)?.as_deref(), Some(&b"!!"[..]));
            /// engine.update("key", |_| Update::Delete)?;
            /// assert!(!engine.contains_key("key")?);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put) and [`get`](Self::get).
            pub fn update(
                &self,
                key: impl AsRef<[u8]>,
                update: impl FnMut(Option<&[u8]>) -> $crate::Update,
            ) -> $crate::Result<Option<$crate::Value>> {
                self.space().update(key.as_ref(), update)
            }

            /// Adds to the number that a key's value is, atomically, and returns the sum.
            ///
            /// The number is a decimal string with an optional sign, and fits in an `i64`; a key without a value
            /// counts as 0. A deadline that the key had stays.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// assert_eq!(engine.increment("visits", 2)?, 2);
            /// assert_eq!(engine.increment("visits", -3)?, -1);
            /// assert_eq!(engine.get("visits")?.as_deref(), Some(&b"-1"[..]));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put) and [`get`](Self::get); `Invalid` if the value is no such number, or the sum does
            /// not fit.
            pub fn increment(&self, key: impl AsRef<[u8]>, by: i64) -> $crate::Result<i64> {
                self.space().increment(key.as_ref(), by)
            }
        }
    };
}

pub(crate) use swap_calls;
