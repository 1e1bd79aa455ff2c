//! What the engine should hold: the effects of the first writes, in order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// What one write did.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Put(String, String),
    Delete(String),
    Clear,
    Link(String, String, f64),
    Unlink(String, String),
    Rule(String, String, f64),
}

/// The state after some writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    entries: BTreeMap<String, String>,
    links: BTreeMap<(String, String), f64>,
    rules: BTreeMap<(String, String), f64>,
}

impl Model {
    pub(crate) fn apply(&mut self, effect: &Effect) {
        let pair = |a: &String, b: &String| (a.min(b).clone(), a.max(b).clone());
        match effect {
            Effect::Put(key, value) => drop(self.entries.insert(key.clone(), value.clone())),
            Effect::Delete(key) => drop(self.entries.remove(key)),
            Effect::Clear => self.entries.clear(),
            Effect::Link(a, b, strength) => drop(self.links.insert(pair(a, b), *strength)),
            Effect::Unlink(a, b) => drop(self.links.remove(&pair(a, b))),
            Effect::Rule(pattern, partner, strength) => {
                self.rules.insert((pattern.clone(), partner.clone()), *strength);
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// The lines of an export of this state, in any order.
    pub(crate) fn export(&self) -> BTreeSet<String> {
        let entries = self.entries.iter().map(|(key, value)| json!({ "key": key, "value": value }));
        let links = self
            .links
            .iter()
            .map(|((a, b), strength)| json!({ "link": a, "partner": b, "strength": strength }));
        let rules = self
            .rules
            .iter()
            .map(|((rule, partner), strength)| json!({ "rule": rule, "partners": [partner], "strength": strength }));
        entries.chain(links).chain(rules).map(|line: Value| line.to_string()).collect()
    }
}
