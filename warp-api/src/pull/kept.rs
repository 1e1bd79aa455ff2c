//! The law of use, kept over restarts: a section of the advice file. See `docs/format/advice.md`, "The law of use".

use warp_physics::{LAW_STORED_BYTES_MAX, StoredLaw};

use super::Pull;
use crate::learned::{BadSection, Learned};
use crate::shared::Shared;

impl Pull {
    /// Takes a law that was kept: for now, or for when memory gets short.
    fn keep(&self, law: StoredLaw) {
        *self.kept.lock() = Some(law);
        self.hand_over();
    }

    /// Gives the law that was kept to whoever goes on learning, once there is one. One that is of no use here, since far more or
    /// fewer entries fit, is kept on.
    pub(super) fn hand_over(&self) {
        let Some(learned) = self.learned() else { return };
        let mut kept = self.kept.lock();
        if kept.as_ref().is_some_and(|law| learned.gravity.take_law(law)) {
            *kept = None;
        }
    }

    /// The law as it is to be kept: what was learned, or, as long as that is not much, what was kept before.
    fn law(&self) -> Option<StoredLaw> {
        let kept = self.kept.lock().clone();
        match self.learned() {
            Some(learned) if kept.is_none() || learned.is_settled() => Some(learned.gravity.law()),
            _ => kept,
        }
        .filter(|law| !law.is_empty())
    }
}

/// The part that keeps the law.
pub(crate) struct KeptLaw<'a> {
    pub(crate) shared: &'a Shared,
}

impl Learned for KeptLaw<'_> {
    fn name(&self) -> &'static str {
        "law"
    }

    fn version(&self) -> u32 {
        1
    }

    fn save(&self, bytes_max: usize) -> Option<Vec<u8>> {
        if bytes_max < LAW_STORED_BYTES_MAX {
            return None;
        }
        Some(self.shared.residency.pull.law()?.to_bytes())
    }

    fn load(&self, bytes: &[u8]) -> Result<(), BadSection> {
        let law = StoredLaw::from_bytes(bytes).map_err(|_| BadSection)?;
        self.shared.residency.pull.keep(law);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::finalize;

    fn short(pull: &Pull) {
        pull.begin(true, 1_000, 64 << 20);
    }

    /// A law that has seen enough.
    fn law() -> StoredLaw {
        let pull = Pull::default();
        short(&pull);
        let learned = pull.learned().unwrap();
        (0..10_000).for_each(|n| _ = learned.used(finalize(n % 700)));
        assert!(learned.is_settled());
        pull.law().unwrap()
    }

    #[test]
    fn a_law_is_there_whether_it_is_read_before_memory_gets_short_or_after() {
        let law = law();
        for is_early in [true, false] {
            let pull = Pull::default();
            assert_eq!(pull.law(), None);
            if is_early {
                pull.keep(law.clone());
                assert!(pull.bytes() > 0);
                short(&pull);
            } else {
                short(&pull);
                assert!(!pull.learned().unwrap().is_settled());
                pull.keep(law.clone());
            }
            assert!(pull.learned().unwrap().is_settled());
            assert_eq!(pull.law(), Some(law.clone()));
        }
    }

    #[test]
    fn a_law_that_was_not_used_is_kept_again() {
        let law = law();
        let pull = Pull::default();
        pull.keep(law.clone());
        assert_eq!(pull.law(), Some(law.clone()));
        // Entries are too small for it.
        pull.begin(true, 1_000_000, 64 << 20);
        assert!(pull.learned().is_none());
        assert_eq!(pull.law(), Some(law));
    }

    #[test]
    fn a_law_of_another_capacity_is_kept_until_there_is_a_new_one() {
        let law = law();
        let pull = Pull::default();
        pull.keep(law.clone());
        pull.begin(true, 10_000, 640 << 20);
        let learned = pull.learned().unwrap();
        assert!(!learned.is_settled());
        assert_eq!(pull.law(), Some(law.clone()));
        (0..100_000).for_each(|n| _ = learned.used(finalize(n % 7_000)));
        assert!(learned.is_settled());
        assert!(pull.law().is_some_and(|newer| newer != law));
    }

    #[test]
    fn where_nothing_was_seen_there_is_nothing_to_keep() {
        let pull = Pull::default();
        short(&pull);
        assert_eq!(pull.law(), None);
    }
}
