//! Rules between keys, which hold in every keyspace.

use warp_physics::{BadRules, RuleId, Rules};

use crate::engine::WarpEngine;
use crate::error::Result;
use crate::system::SystemEntry;

impl SystemEntry for Rules {
    const KEY: &'static [u8] = b"rules";
    const NAME: &'static str = "rules";
    type Bad = BadRules;

    fn to_bytes(&self) -> Vec<u8> {
        Rules::to_bytes(self)
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Rules, BadRules> {
        Rules::from_bytes(bytes)
    }

    fn is_newer(bad: &BadRules) -> bool {
        matches!(bad, BadRules::UnknownVersion(_))
    }
}

impl WarpEngine {
    /// States a rule: every key that matches `pattern` belongs with the keys of the same keyspace that `partners`
    /// make of its id. It holds in every keyspace.
    ///
    /// Each template has one `{id}`, which stands for one byte or more. A rule that is stated again, at the
    /// next start of the program for instance, only replaces its strength.
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put); `Invalid` for a template without an `{id}` or with several, or a strength
    /// outside `0.0..=1.0`.
    pub fn entanglement_rule(
        &self,
        pattern: impl AsRef<[u8]>,
        partners: &[impl AsRef<[u8]>],
        strength: f64,
    ) -> Result<RuleId> {
        let pattern = pattern.as_ref();
        self.shared.check_writable()?;
        self.shared.change_rules(self.terms(), |rules| rules.add(pattern, partners, strength))
    }

    /// Removes a rule; `false` if there was none of that id.
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put).
    pub fn remove_rule(&self, id: RuleId) -> Result<bool> {
        self.shared.check_writable()?;
        self.shared.remove_rule(id, self.terms())
    }

    /// The rules that are in force.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.shared.entanglement.load().rules().clone()
    }
}
