//! Export and import: everything that a program put into the database, as lines of JSON.
//!
//! A line is an object of one of six kinds. Bytes are a string where they are UTF-8, and `{"b64": ".."}`
//! otherwise, so that nothing is lost:
//!
//! ```text
//! {"key": "user:1", "value": "Ada", "deadline": 1793318400000}      deadline in Unix milliseconds, if any
//! {"link": "user:1", "partner": "user:2", "strength": 0.9}          each declared link once
//! {"keyspace": "jobs"}                                              each but the default one, before its keys
//! {"rule": "user:{id}", "partners": ["profile:{id}"], "strength": 0.8}
//! {"wormhole": "oslo", "to": "bern", "strength": 0.5}
//! {"laws": "hot", "durability": "sync", "pace": 0.5, "capacity_bytes": 1048576, "entropy_limit": 0.9}
//! ```
//!
//! Laws are those of a level that has others than the default; what they leave out is as the default has it. An entry or a
//! link of another keyspace than the default one says so: `"keyspace": "jobs"`.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use warp_core::Key;
use warp_physics::Links;

use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::{DEFAULT, DEFAULT_NAME, SYSTEM};
use crate::laws::{AllLaws, Laws};
use crate::limits;
use crate::links::{LinkChange, Pair, is_links_key, parse_links_key};
use crate::options::Durability;
use crate::progress::Task;
use crate::shared::Shared;
use crate::types::{BATCH_BYTES_MAX, Level, VALUE_BYTES_MAX};
use crate::write::{Op, Terms, put};

/// Lines or entries between two reports of progress.
const PROGRESS_EVERY: u64 = 1 << 12;
/// Entries that an import writes as one batch.
const BATCH_ENTRIES: usize = 256;
/// Bytes after which an import writes its batch, however few entries are in it.
const BATCH_BYTES: usize = 1 << 20;

/// What a byte takes at most in a line: `\u0000`.
const ESCAPED_BYTES: u64 = 6;
/// What a line may have beside a value: keys, names, the templates of a rule.
const BESIDE_VALUE_BYTES: u64 = 8 << 20;

/// What an export wrote, or an import read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExchangeReport {
    /// Keys with their values.
    pub entries: u64,
    /// Keyspaces that were named, the default one not counted.
    pub keyspaces: u64,
    /// Declared links.
    pub links: u64,
    /// Rules.
    pub rules: u64,
    /// Declared wormholes.
    pub wormholes: u64,
    /// Levels whose laws are not the default.
    pub laws: u64,
    /// Entries that an import passed over, since their deadline was past.
    pub expired: u64,
}

/// Bytes, readable where they can be.
#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "bytes are a string or {\"b64\": \"..\"}")]
enum Text {
    Utf8(String),
    Base64 { b64: String },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    key: Text,
    value: Text,
    #[serde(default, skip_serializing_if = "is_zero")]
    deadline: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyspace: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LinkLine {
    link: Text,
    partner: Text,
    strength: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyspace: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RuleLine {
    rule: Text,
    partners: Vec<Text>,
    strength: f64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WormholeLine {
    wormhole: String,
    to: String,
    strength: f64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LawsLine {
    laws: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pace: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capacity_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entropy_limit: Option<f64>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyspaceLine {
    keyspace: String,
}

/// A line of an import.
enum Line {
    Entry(EntryLine),
    Link(LinkLine),
    Rule(RuleLine),
    Wormhole(WormholeLine),
    Laws(LawsLine),
    Keyspace(KeyspaceLine),
}

/// The fields that tell the kinds of lines. Entries and links may have a keyspace as well.
const KINDS: [&str; 6] = ["key", "link", "rule", "wormhole", "laws", "keyspace"];

impl Line {
    /// Reads a line. Its kind is known first, so that what is wrong with it is told of that kind.
    fn read(text: &str) -> serde_json::Result<Line> {
        let fields: BTreeMap<String, IgnoredAny> = serde_json::from_str(text)?;
        match KINDS.into_iter().find(|kind| fields.contains_key(*kind)) {
            Some("key") => serde_json::from_str(text).map(Line::Entry),
            Some("link") => serde_json::from_str(text).map(Line::Link),
            Some("rule") => serde_json::from_str(text).map(Line::Rule),
            Some("wormhole") => serde_json::from_str(text).map(Line::Wormhole),
            Some("laws") => serde_json::from_str(text).map(Line::Laws),
            Some("keyspace") => serde_json::from_str(text).map(Line::Keyspace),
            _ => Err(serde::de::Error::custom(
                "a line is an object with one of key, link, rule, wormhole, keyspace, laws",
            )),
        }
    }
}

/// What levels are called in lines.
const LEVELS: [(&str, Level); 3] = [("hot", Level::Hot), ("warm", Level::Warm), ("cold", Level::Cold)];
/// What durabilities are called in lines.
const DURABILITIES: [(&str, Durability); 3] =
    [("sync", Durability::Sync), ("interval", Durability::Interval), ("os", Durability::Os)];

/// What is called so.
fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Result<T> {
    let found = names.iter().find(|(of, _)| *of == name);
    found.map(|(_, what)| *what).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(of, _)| *of).collect();
        Error::invalid(format!("{name:?} is none of {}", names.join(", ")))
    })
}

/// What it is called.
fn name_of<T: Copy + PartialEq>(names: &[(&str, T)], what: T) -> Option<String> {
    names.iter().find(|(_, of)| *of == what).map(|(name, _)| (*name).to_owned())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(deadline: &u64) -> bool {
    *deadline == 0
}

impl Text {
    fn of(bytes: &[u8]) -> Text {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text.to_owned()),
            Err(_) => Text::Base64 { b64: STANDARD.encode(bytes) },
        }
    }

    fn into_bytes(self) -> Result<Vec<u8>> {
        match self {
            Text::Utf8(text) => Ok(text.into_bytes()),
            Text::Base64 { b64 } => STANDARD
                .decode(b64)
                .map_err(|error| Error::invalid("bytes that are not base64").caused_by(error)),
        }
    }
}

/// Writes lines to somewhere that may fail.
struct Lines<W>(W);

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.0, line).map_err(|error| output_error(error.into()))?;
        self.0.write_all(b"\n").map_err(output_error)
    }
}

fn output_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write the export").caused_by(error)
}

impl Shared {
    pub(crate) fn export(self: &Arc<Shared>, out: impl Write) -> Result<ExchangeReport> {
        self.check_open()?;
        let mut lines = Lines(out);
        let mut report = ExchangeReport::default();
        let names = self.names()?;
        let named = names.iter().map(|(name, number)| (number, Some(&**name)));
        let keyspaces: Vec<(u32, Option<&str>)> = [(DEFAULT, None)].into_iter().chain(named).collect();
        for (number, name) in &keyspaces {
            self.export_keyspace(*number, *name, &mut lines, &mut report)?;
        }
        self.export_links(&keyspaces, &mut lines, &mut report)?;
        for rule in self.graph()?.rules().iter() {
            let partners = rule.partners.iter().map(|partner| Text::of(partner.as_bytes())).collect();
            let pattern = Text::of(rule.pattern.as_bytes());
            lines.write(&RuleLine { rule: pattern, partners, strength: rule.strength })?;
            report.rules += 1;
        }
        for (a, b, strength) in self.wormholes()?.iter() {
            lines.write(&WormholeLine { wormhole: a.to_owned(), to: b.to_owned(), strength })?;
            report.wormholes += 1;
        }
        self.export_laws(&mut lines, &mut report)?;
        lines.0.flush().map_err(output_error)?;
        Ok(report)
    }

    /// Exports the keys of a keyspace; `name` is that of any but the default one.
    fn export_keyspace(
        self: &Arc<Shared>,
        number: u32,
        name: Option<&str>,
        lines: &mut Lines<impl Write>,
        report: &mut ExchangeReport,
    ) -> Result<()> {
        if let Some(name) = name {
            lines.write(&KeyspaceLine { keyspace: name.to_owned() })?;
            report.keyspaces += 1;
        }
        let mut after: Option<Key> = None;
        loop {
            self.check_open()?;
            let page = self.page_of_keys(number, after.as_ref())?;
            for key in &page.keys {
                self.export_key(number, name, key, lines, report)?;
            }
            if !page.has_more() {
                break;
            }
            after = page.keys.last().cloned();
        }
        self.progress(Task::Export, report.entries, None);
        Ok(())
    }

    fn export_key(
        &self,
        number: u32,
        name: Option<&str>,
        key: &[u8],
        lines: &mut Lines<impl Write>,
        report: &mut ExchangeReport,
    ) -> Result<()> {
        let Some(found) = self.find(self.key(number, key))? else { return Ok(()) };
        let (key, value) = (Text::of(key), Text::of(&found.value));
        let keyspace = name.map(str::to_owned);
        lines.write(&EntryLine { key, value, deadline: found.deadline, keyspace })?;
        report.entries += 1;
        if report.entries.is_multiple_of(PROGRESS_EVERY) {
            self.progress(Task::Export, report.entries, None);
        }
        Ok(())
    }

    fn export_links(
        &self,
        keyspaces: &[(u32, Option<&str>)],
        lines: &mut Lines<impl Write>,
        report: &mut ExchangeReport,
    ) -> Result<()> {
        let system_keys = self.present_keys(SYSTEM, |key| is_links_key(SYSTEM, key))?;
        let mut linked: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
        for (keyspace, key) in system_keys.iter().filter_map(|key| parse_links_key(key)) {
            linked.entry(keyspace).or_default().push(key);
        }
        // Links of a keyspace that was dropped are in no keyspace that has a name.
        for (number, name) in keyspaces {
            let mut keys = linked.remove(number).unwrap_or_default();
            keys.sort_unstable();
            for key in keys {
                let links: Links = self.declared_links(*number, key)?.unwrap_or_default();
                // A link stands with both of its keys; it is written where it stands with the lesser one.
                for link in links.iter().filter(|link| key < &link.key[..]) {
                    let (from, partner) = (Text::of(key), Text::of(&link.key));
                    let keyspace = name.map(str::to_owned);
                    lines.write(&LinkLine { link: from, partner, strength: link.strength, keyspace })?;
                    report.links += 1;
                }
            }
        }
        Ok(())
    }

    fn export_laws(&self, lines: &mut Lines<impl Write>, report: &mut ExchangeReport) -> Result<()> {
        let (all, default) = (self.stored::<AllLaws>()?, Laws::default());
        for (name, level) in LEVELS {
            let laws = all.of(level);
            if laws == default {
                continue;
            }
            lines.write(&LawsLine {
                laws: name.to_owned(),
                durability: laws.durability.and_then(|durability| name_of(&DURABILITIES, durability)),
                pace: Some(laws.pace).filter(|pace| *pace != default.pace),
                capacity_bytes: laws.capacity_bytes,
                entropy_limit: laws.entropy_limit,
            })?;
            report.laws += 1;
        }
        Ok(())
    }

    pub(crate) fn import(&self, mut lines: impl BufRead, terms: Terms) -> Result<ExchangeReport> {
        self.check_writable()?;
        let mut report = ExchangeReport::default();
        let mut pending = Pending::default();
        let mut read = 0;
        // A value that memory cannot hold is refused in any case.
        let value_bytes = (VALUE_BYTES_MAX as u64).min(self.budget.limit());
        let line_bytes = ESCAPED_BYTES * (value_bytes + BESIDE_VALUE_BYTES);
        for number in 1_u64.. {
            let wrong = |kind| Error::new(kind, format!("line {number} of the import"));
            let mut bytes = Vec::new();
            Read::take(&mut lines, line_bytes)
                .read_until(b'\n', &mut bytes)
                .map_err(|error| Error::new(ErrorKind::Io, "cannot read the import").caused_by(error))?;
            if bytes.is_empty() {
                break;
            }
            read = number;
            if bytes.len() as u64 == line_bytes && !bytes.ends_with(b"\n") {
                let longer = Error::invalid("it is longer than a line with the largest value");
                return Err(wrong(ErrorKind::Invalid).caused_by(longer));
            }
            let line = std::str::from_utf8(&bytes)
                .map_err(|error| wrong(ErrorKind::Invalid).caused_by(error))?
                .trim();
            if line.is_empty() {
                continue;
            }
            let line = Line::read(line).map_err(|error| wrong(ErrorKind::Invalid).caused_by(error))?;
            self.import_line(line, terms, &mut pending, &mut report)
                .map_err(|error| wrong(error.kind()).caused_by(error))?;
            if number % PROGRESS_EVERY == 0 {
                self.progress(Task::Import, number, None);
            }
        }
        self.write_pending(&mut pending, terms)?;
        self.progress(Task::Import, read, Some(read));
        Ok(report)
    }

    fn import_line(
        &self,
        line: Line,
        terms: Terms,
        pending: &mut Pending,
        report: &mut ExchangeReport,
    ) -> Result<()> {
        match line {
            Line::Entry(EntryLine { key, value, deadline, keyspace }) => {
                let keyspace = self.import_keyspace(keyspace.as_deref(), terms)?;
                let (key, value) = (key.into_bytes()?, value.into_bytes()?);
                limits::check_key(&key)?;
                limits::check_value(&value)?;
                if self.expired(deadline) {
                    report.expired += 1;
                    return Ok(());
                }
                report.entries += 1;
                let bytes = key.len() + value.len();
                if pending.bytes + bytes > BATCH_BYTES_MAX {
                    self.write_pending(pending, terms)?;
                }
                pending.bytes += bytes;
                pending.entries.push((keyspace, key, value, deadline));
                if pending.entries.len() >= BATCH_ENTRIES || pending.bytes >= BATCH_BYTES {
                    self.write_pending(pending, terms)?;
                }
            }
            Line::Link(LinkLine { link, partner, strength, keyspace }) => {
                let keyspace = self.import_keyspace(keyspace.as_deref(), terms)?;
                let (key, partner) = (link.into_bytes()?, partner.into_bytes()?);
                let pair = Pair { keyspace, key: &key, partner: &partner };
                self.change_links(&[pair], LinkChange::Declare(strength), &[], &[], terms)?;
                report.links += 1;
            }
            Line::Rule(RuleLine { rule, partners, strength }) => {
                let pattern = rule.into_bytes()?;
                let partners: Vec<Vec<u8>> =
                    partners.into_iter().map(Text::into_bytes).collect::<Result<_>>()?;
                self.change_rules(terms, |rules| rules.add(&pattern, &partners, strength))?;
                report.rules += 1;
            }
            Line::Wormhole(WormholeLine { wormhole, to, strength }) => {
                self.establish_wormhole(&wormhole, &to, strength, terms)?;
                report.wormholes += 1;
            }
            Line::Laws(LawsLine { laws: level, durability, pace, capacity_bytes, entropy_limit }) => {
                let level = named(&LEVELS, &level)?;
                let durability = durability.map(|name| named(&DURABILITIES, &name)).transpose()?;
                let pace = pace.unwrap_or(Laws::default().pace);
                self.set_laws(level, Laws { durability, pace, capacity_bytes, entropy_limit }, terms)?;
                report.laws += 1;
            }
            Line::Keyspace(KeyspaceLine { keyspace }) => {
                self.import_keyspace(Some(&keyspace), terms)?;
                report.keyspaces += 1;
            }
        }
        Ok(())
    }

    /// The number of the keyspace that a line names, which is made if there is none.
    fn import_keyspace(&self, name: Option<&str>, terms: Terms) -> Result<u32> {
        self.make_keyspace(name.unwrap_or(DEFAULT_NAME), terms).map(|(number, _)| number)
    }

    fn write_pending(&self, pending: &mut Pending, terms: Terms) -> Result<()> {
        let entries = pending.entries.iter();
        let ops: Vec<Op<'_>> =
            entries.map(|(keyspace, key, value, deadline)| put(*keyspace, key, value, *deadline)).collect();
        if !ops.is_empty() {
            self.write_all(&ops, &[], terms)?;
            self.counters.puts.add(ops.len() as u64);
        }
        pending.entries.clear();
        pending.bytes = 0;
        Ok(())
    }
}

/// Entries of an import that wait to be written together.
#[derive(Default)]
struct Pending {
    entries: Vec<(u32, Vec<u8>, Vec<u8>, u64)>,
    bytes: usize,
}
