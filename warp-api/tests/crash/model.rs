//! What the engine should hold: the effects of the first writes, in order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The name of the default keyspace.
pub(crate) const DEFAULT: &str = "default";

/// A value and its deadline, in Unix milliseconds; 0 for none.
pub(crate) type Stored = (String, u64);

/// What one write did. Keys are named with their keyspace.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Put((String, String), Stored),
    Delete((String, String)),
    Clear(String),
    Make(String),
    Drop(String),
    Link(String, String, f64),
    Unlink(String, String),
    Rule(String, String, f64),
}

/// The state after some writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    entries: BTreeMap<(String, String), Stored>,
    keyspaces: BTreeSet<String>,
    links: BTreeMap<(String, String), f64>,
    rules: BTreeMap<(String, String), f64>,
}

impl Model {
    pub(crate) fn apply(&mut self, effect: &Effect) {
        let pair = |a: &String, b: &String| (a.min(b).clone(), a.max(b).clone());
        match effect {
            Effect::Put(key, stored) => drop(self.entries.insert(key.clone(), stored.clone())),
            Effect::Delete(key) => drop(self.entries.remove(key)),
            Effect::Clear(keyspace) => self.entries.retain(|(of, _), _| of != keyspace),
            Effect::Make(name) => assert!(self.keyspaces.insert(name.clone())),
            Effect::Drop(name) => {
                assert!(self.keyspaces.remove(name));
                self.entries.retain(|(of, _), _| of != name);
            }
            Effect::Link(a, b, strength) => drop(self.links.insert(pair(a, b), *strength)),
            Effect::Unlink(a, b) => drop(self.links.remove(&pair(a, b))),
            Effect::Rule(pattern, partner, strength) => {
                self.rules.insert((pattern.clone(), partner.clone()), *strength);
            }
        }
    }

    /// What a key has at a time, in Unix milliseconds.
    pub(crate) fn get(&self, key: &(String, String), now: u64) -> Option<&Stored> {
        self.entries.get(key).filter(|(_, deadline)| *deadline == 0 || now < *deadline)
    }

    /// The keyspaces beside the default one.
    pub(crate) fn keyspaces(&self) -> &BTreeSet<String> {
        &self.keyspaces
    }

    /// The lines of an export of this state at a time, in any order.
    pub(crate) fn export(&self, now: u64) -> BTreeSet<String> {
        let live = self.entries.iter().filter(|(key, _)| self.get(key, now).is_some());
        let entries = live.map(|((keyspace, key), (value, deadline))| {
            let mut line = json!({ "key": key, "value": value });
            if *deadline != 0 {
                line["deadline"] = json!(deadline);
            }
            if keyspace != DEFAULT {
                line["keyspace"] = json!(keyspace);
            }
            line
        });
        let keyspaces = self.keyspaces.iter().map(|name| json!({ "keyspace": name }));
        let links = self
            .links
            .iter()
            .map(|((a, b), strength)| json!({ "link": a, "partner": b, "strength": strength }));
        let rules = self
            .rules
            .iter()
            .map(|((rule, partner), strength)| json!({ "rule": rule, "partners": [partner], "strength": strength }));
        let lines = entries.chain(keyspaces).chain(links).chain(rules);
        lines.map(|line: Value| line.to_string()).collect()
    }
}
