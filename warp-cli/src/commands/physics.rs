//! What each part of physics did, as far as the database holds it, and what it was worth.

use std::fmt;
use std::io::{self, Write};

use indicatif::HumanBytes;
use serde::Serialize;
use warp_api::{DemonMetrics, Laws, Level, NetworkStats, Origin, WarpEngine, WorthMetrics};

use crate::args::PhysicsArgs;
use crate::commands::worth;
use crate::failure::Failure;
use crate::session::Session;
use crate::text::counted;

/// Width of the column of names.
const NAME_WIDTH: usize = 16;
const LEVELS: [(&str, Level); 3] = [("hot", Level::Hot), ("warm", Level::Warm), ("cold", Level::Cold)];

/// What is known, as it is shown with `--json`.
#[derive(Serialize)]
struct Found {
    rules: usize,
    /// What reading every key with its partners came to; `None` if it was not asked for.
    partners: Option<Partners>,
    demon: DemonMetrics,
    evenness: Option<Evenness>,
    network: NetworkStats,
    laws: Vec<LevelLaws>,
    learned: Option<LearnedFile>,
    /// As far as it is kept; `session` is of the engine that was opened to look.
    worth: WorthMetrics,
    /// What no file has, and ends with the engine.
    not_stored: [&'static str; 1],
}

const NOT_STORED: [&str; 1] = ["when single entries were used"];

#[derive(Serialize)]
struct LevelLaws {
    level: &'static str,
    laws: Laws,
}

/// Partners that links and rules name, and those of them that have a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Partners {
    keys: u64,
    /// Keys with at least one partner.
    with_partners: u64,
    declared: Named,
    by_rules: Named,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Named {
    named: u64,
    found: u64,
}

/// How evenly writes fell on the shards, as the demon has stored it: at its worst, and when it last looked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Evenness {
    samples: usize,
    /// Slots that were moved, all together.
    moved: u64,
    worst: Imbalance,
    latest: Imbalance,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Imbalance {
    entropy: f64,
    max_over_mean: f64,
}

/// The file that keeps what was learned over restarts.
#[derive(Serialize)]
struct LearnedFile {
    number: u64,
    sections: Vec<Section>,
}

#[derive(Serialize)]
struct Section {
    name: String,
    bytes: usize,
}

pub(super) fn physics(args: &PhysicsArgs, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let elsewhere = args.dir.as_ref().map(|dir| session.at(dir));
    let session = elsewhere.as_ref().unwrap_or(session);
    let engine = session.open_to_read()?;
    let metrics = engine.cosmic_metrics();
    let laws = LEVELS.map(|(level, code)| LevelLaws { level, laws: engine.laws(code) });
    let found = Found {
        rules: metrics.entanglement.rules,
        partners: args.count.then(|| partners(&engine)).transpose()?,
        evenness: Evenness::of(&metrics.demon),
        demon: metrics.demon,
        network: metrics.wormholes.network,
        laws: laws.into_iter().filter(|of| of.laws != Laws::default()).collect(),
        learned: learned(session)?,
        worth: metrics.worth,
        not_stored: NOT_STORED,
    };
    if args.json { super::write_json(&found, out) } else { Ok(write_table(&found, out)?) }
}

/// Reads every key with its partners, as a program does with `quantum_get`.
fn partners(engine: &WarpEngine) -> Result<Partners, Failure> {
    let mut all = Partners::default();
    for name in engine.keyspaces()? {
        let keyspace = engine.keyspace(&name)?;
        for entry in keyspace.iter() {
            let (key, _) = entry?;
            let Some(entangled) = keyspace.quantum_get(&key)? else { continue };
            all.keys += 1;
            all.with_partners += u64::from(entangled.requested > 0);
            for partner in &entangled.partners {
                let of = match partner.origin {
                    Origin::Declared => &mut all.declared,
                    Origin::Rule => &mut all.by_rules,
                    // Not of what is kept in the files.
                    _ => continue,
                };
                of.named += 1;
                of.found += u64::from(partner.value.is_some());
            }
        }
    }
    Ok(all)
}

fn learned(session: &Session) -> Result<Option<LearnedFile>, Failure> {
    // As long as this lives, whoever has the database open removes no file.
    let _held = session.hold()?;
    let dir = session.home()?;
    let newest = warp_checkpoint::list_advice(&dir)?.pop();
    let Some(number) = newest else { return Ok(None) };
    // A damaged one is of no use to the engine either, which then learns again.
    let Ok(loaded) = warp_checkpoint::load_advice(&dir, number) else { return Ok(None) };
    let section = |section: &warp_checkpoint::AdviceSection| Section {
        name: section.name.clone(),
        bytes: section.bytes.len(),
    };
    Ok(Some(LearnedFile { number, sections: loaded.advice.sections.iter().map(section).collect() }))
}

impl Evenness {
    /// `None` if there are no samples.
    pub(super) fn of(demon: &DemonMetrics) -> Option<Evenness> {
        let history = &demon.history;
        let load = |sample: &warp_api::EntropySample| Imbalance {
            entropy: sample.entropy,
            max_over_mean: sample.max_over_mean,
        };
        let worst = history.iter().min_by(|a, b| a.entropy.total_cmp(&b.entropy))?;
        Some(Evenness {
            samples: history.len(),
            moved: history.iter().map(|sample| u64::from(sample.moved)).sum(),
            worst: load(worst),
            latest: load(history.last()?),
        })
    }
}

impl fmt::Display for Evenness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evenness { worst, latest, .. } = self;
        write!(
            f,
            "heaviest over mean {:.2} at worst, {:.2} at the last look; entropy {:.5}, {:.5}",
            worst.max_over_mean, latest.max_over_mean, worst.entropy, latest.entropy
        )
    }
}

/// Wormholes of a network, in words.
pub(super) fn network_text(network: &NetworkStats) -> String {
    format!("{} declared between {}", network.declared, counted(network.regions as u64, "region", "regions"))
}

/// Slots that are not where a new database has them, in words.
pub(super) fn slots_text(demon: &DemonMetrics) -> String {
    format!("{} away from the shard where they began", counted(demon.slots_away as u64, "slot", "slots"))
}

impl Named {
    fn text(self) -> String {
        let Named { named, found } = self;
        match named {
            0 => "none named".to_owned(),
            _ => format!(
                "{} named, {found} there, {:.1} %",
                counted(named, "partner", "partners"),
                found as f64 * 100.0 / named as f64
            ),
        }
    }
}

fn write_table(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |name: &str, text: String| writeln!(out, "{name:<NAME_WIDTH$}{text}");
    row("entanglement", counted(found.rules as u64, "rule", "rules"))?;
    if let Some(partners) = found.partners {
        let keys = counted(partners.keys, "key", "keys");
        row("", format!("{} of {keys} have partners", partners.with_partners))?;
        row("  declared", partners.declared.text())?;
        row("  by rules", partners.by_rules.text())?;
    }
    row("demon", slots_text(&found.demon))?;
    match found.evenness {
        Some(evenness) => {
            let samples = counted(evenness.samples as u64, "sample", "samples");
            row("", format!("{} moved over {samples}", counted(evenness.moved, "slot", "slots")))?;
            row("", evenness.to_string())?;
        }
        None => row("", "no samples of load".to_owned())?,
    }
    row("wormholes", network_text(&found.network))?;
    if found.laws.is_empty() {
        row("laws", "none set".to_owned())?;
    }
    for LevelLaws { level, laws } in &found.laws {
        row("laws", format!("{level}: {}", laws_text(laws)))?;
    }
    match &found.learned {
        Some(file) => {
            let sections = file.sections.iter();
            let sections: Vec<String> = sections
                .map(|section| format!("{}, {}", section.name, HumanBytes(section.bytes as u64)))
                .collect();
            row("kept learned", format!("file {}: {}", file.number, sections.join("; ")))?;
        }
        None => row("kept learned", "nothing".to_owned())?,
    }
    for (name, text) in worth::rows(&found.worth) {
        row(name, text)?;
    }
    row("not stored", NOT_STORED.join(", "))
}

fn laws_text(laws: &Laws) -> String {
    let mut parts = Vec::new();
    parts.extend(laws.durability.map(|durability| format!("durability {durability:?}")));
    parts.push(format!("pace {}", laws.pace));
    parts.extend(laws.capacity_bytes.map(|bytes| format!("at most {}", HumanBytes(bytes))));
    parts.extend(laws.entropy_limit.map(|limit| format!("entropy limit {limit}")));
    parts.join(", ")
}
