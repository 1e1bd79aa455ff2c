//! What the engine should hold: the effects of the first writes, in order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use warp_api::{Durability, EntropySample, Laws, Level, ShardId, WarpEngine};

/// The name of the default keyspace.
pub(crate) const DEFAULT: &str = "default";
/// The levels that laws are set for.
pub(crate) const LEVELS: [Level; 3] = [Level::Hot, Level::Warm, Level::Cold];
/// Keys that are written again and again, so that slots are moved for it; few, and more than can be on shards of their own
/// by chance.
pub(crate) const LOAD_KEYS: u64 = 48;

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
    Wormhole(String, String, f64),
    CloseWormhole(String, String),
    Laws(Level, Laws),
    Balance(Balance),
}

/// Where slots are and how the load was, as an engine tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Balance {
    /// How many slots are not where a new database has them.
    away: usize,
    samples: Vec<EntropySample>,
    /// The shard of each key of the load.
    shards: Vec<ShardId>,
}

impl Balance {
    pub(crate) fn of(engine: &WarpEngine) -> Balance {
        let demon = engine.spacetime_metrics().demon;
        let shards = (0..LOAD_KEYS).map(|number| shard(engine, &load_key(number))).collect();
        Balance { away: demon.slots_away, samples: demon.history, shards }
    }

    /// Whether nothing was moved or sampled yet. Where its keys are is up to the seed of a database.
    pub(crate) fn is_new(&self) -> bool {
        self.away == 0 && self.samples.is_empty()
    }
}

pub(crate) fn load_key(number: u64) -> String {
    format!("load:{number}")
}

/// The shard that a key belongs to, whether it has a value or not. Writes nothing.
fn shard(engine: &WarpEngine, key: &str) -> ShardId {
    match engine.cosmic_get(key).unwrap() {
        Some(observed) => observed.shard,
        // There is nothing to delete.
        None => engine.with_durability(Durability::Os).cosmic_delete(key).unwrap().shard,
    }
}

/// The state after some writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    entries: BTreeMap<(String, String), Stored>,
    keyspaces: BTreeSet<String>,
    links: BTreeMap<(String, String), f64>,
    rules: BTreeMap<(String, String), f64>,
    wormholes: BTreeMap<(String, String), f64>,
    laws: BTreeMap<Level, Laws>,
    balance: Option<Balance>,
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
            Effect::Wormhole(a, b, strength) => drop(self.wormholes.insert(pair(a, b), *strength)),
            Effect::CloseWormhole(a, b) => drop(self.wormholes.remove(&pair(a, b))),
            Effect::Laws(level, laws) => drop(self.laws.insert(*level, *laws)),
            Effect::Balance(balance) => self.balance = Some(balance.clone()),
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

    /// The wormholes, in order.
    pub(crate) fn wormholes(&self) -> Vec<(String, String, f64)> {
        self.wormholes.iter().map(|((a, b), strength)| (a.clone(), b.clone(), *strength)).collect()
    }

    /// The laws of a level.
    pub(crate) fn laws(&self, level: Level) -> Laws {
        self.laws.get(&level).copied().unwrap_or_default()
    }

    /// Where slots are; `None` before any was moved and the load was sampled.
    pub(crate) fn balance(&self) -> Option<&Balance> {
        self.balance.as_ref()
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
        let wormholes = self
            .wormholes
            .iter()
            .map(|((a, b), strength)| json!({ "wormhole": a, "to": b, "strength": strength }));
        let laws = self.laws.iter().filter(|(_, laws)| **laws != Laws::default());
        let laws = laws.map(|(level, laws)| laws_line(*level, laws));
        let lines = entries.chain(keyspaces).chain(links).chain(rules).chain(wormholes).chain(laws);
        lines.map(|line: Value| line.to_string()).collect()
    }
}

/// The line of laws whose pace is not the default one.
fn laws_line(level: Level, laws: &Laws) -> Value {
    let mut line = json!({ "laws": format!("{level:?}").to_lowercase(), "pace": laws.pace });
    if let Some(durability) = laws.durability {
        line["durability"] = json!(format!("{durability:?}").to_lowercase());
    }
    if let Some(bytes) = laws.capacity_bytes {
        line["capacity_bytes"] = json!(bytes);
    }
    if let Some(limit) = laws.entropy_limit {
        line["entropy_limit"] = json!(limit);
    }
    line
}
