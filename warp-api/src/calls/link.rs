//! Reads and writes that say what they did, and links between the keys of a keyspace.

macro_rules! link_read_calls {
    ($handle:ident) => {
        impl $handle {
            /// As [`get`](Self::get), and says where the value was found and how long that took.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn cosmic_get(&self, key: impl AsRef<[u8]>) -> $crate::Result<Option<$crate::Observed>> {
                self.space().cosmic_get(key.as_ref())
            }

            /// Reads a key together with its partners: at most 10, of strength 0.1 or more, strongest first.
            ///
            /// `None` if the key itself has no value.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.entanglement_rule("user:{id}", &["cart:{id}", "mail:{id}"], 0.8)?;
            /// engine.put("user:7", "Ada")?;
            /// engine.put("cart:7", "3 books")?;
            /// let user = engine.quantum_get("user:7")?.unwrap();
            /// assert_eq!((&user.value[..], user.partners.len(), user.found), (&b"Ada"[..], 2, 1));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn quantum_get(&self, key: impl AsRef<[u8]>) -> $crate::Result<Option<$crate::Entangled>> {
                self.quantum_get_with(key, &$crate::QuantumOptions::default())
            }

            /// Reads a key together with its partners, as many and as strong as the options say.
            ///
            /// # Errors
            /// As [`get`](Self::get); `Invalid` for a least strength outside `0.0..=1.0`.
            pub fn quantum_get_with(
                &self,
                key: impl AsRef<[u8]>,
                options: &$crate::QuantumOptions,
            ) -> $crate::Result<Option<$crate::Entangled>> {
                self.space().quantum_get(key.as_ref(), options)
            }

            /// All partners of a key, declared, by rule and learned, strongest first, without reading their values.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn partners(&self, key: impl AsRef<[u8]>) -> $crate::Result<Vec<$crate::Link>> {
                self.space().partners(key.as_ref())
            }
        }
    };
}

macro_rules! link_calls {
    ($handle:ident) => {
        impl $handle {
            /// As [`put_with`](Self::put_with), and says where the entry went and how long that took.
            ///
            /// # Errors
            /// As [`put_with`](Self::put_with).
            pub fn cosmic_put(
                &self,
                key: impl AsRef<[u8]>,
                value: impl AsRef<[u8]>,
                options: &$crate::PutOptions,
            ) -> $crate::Result<$crate::Stored> {
                self.space().cosmic_put(key.as_ref(), value.as_ref(), options)
            }

            /// As [`delete`](Self::delete), and says where the entry was and how long that took.
            ///
            /// # Errors
            /// As [`delete`](Self::delete).
            pub fn cosmic_delete(&self, key: impl AsRef<[u8]>) -> $crate::Result<$crate::Deleted> {
                self.space().cosmic_delete(key.as_ref())
            }

            /// Declares links between a key and each of `partners`, in both directions, as durably as any write.
            /// Declaring a link again replaces its strength; the keys need not have values.
            ///
            /// ```
            /// use warp_api::WarpEngine;
            ///
            /// # fn main() -> warp_api::Result<()> {
            /// let engine = WarpEngine::in_memory();
            /// engine.put("order:7", "3 books")?;
            /// engine.put("customer:ada", "Ada")?;
            /// engine.entangle("order:7", &["customer:ada"], 0.9)?;
            /// let order = engine.quantum_get("order:7")?.unwrap();
            /// assert_eq!(order.partners[0].value.as_deref(), Some(&b"Ada"[..]));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// As [`put`](Self::put); `Invalid` for a strength outside `0.0..=1.0`, no partners, a partner named
            /// twice, a key linked with itself, or more links of one key than [`LINKS_MAX`](crate::LINKS_MAX).
            pub fn entangle<K: AsRef<[u8]>>(
                &self,
                key: impl AsRef<[u8]>,
                partners: &[K],
                strength: f64,
            ) -> $crate::Result<$crate::Seq> {
                let change = $crate::links::LinkChange::Declare(strength);
                self.space().change_links(key.as_ref(), partners, change)
            }

            /// Removes the declared links between a key and each of `partners`. Where there was none, nothing is
            /// written, and the last sequence number is returned. Links that rules make stay.
            ///
            /// # Errors
            /// As [`entangle`](Self::entangle).
            pub fn disentangle<K: AsRef<[u8]>>(
                &self,
                key: impl AsRef<[u8]>,
                partners: &[K],
            ) -> $crate::Result<$crate::Seq> {
                self.space().change_links(key.as_ref(), partners, $crate::links::LinkChange::Remove)
            }
        }
    };
}

pub(crate) use {link_calls, link_read_calls};
