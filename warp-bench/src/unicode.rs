//! The data: the characters of Unicode, one entry a field, with the relations that Unicode states between them.
//!
//! ```text
//! char:1F680   {"char":"🚀","name":"ROCKET","script":"Common","block":"Transport and Map Symbols", ..}
//! name:1F680   ROCKET          utf8:1F680   F0 9F 9A 80       blocks:Transport and Map Symbols   (a page)
//! script:1F680 Common          utf16:1F680  D83D DE80         scripts:Common                     (a page)
//! block:1F680  Transport ..    kind:1F680   other             word:ROCKET     1F680 ..           (an index)
//! ```
//!
//! Names are those of `unicode_names2`, scripts of `unicode-script`, blocks of `unicode-blocks`, decompositions
//! and combining classes of `unicode-normalization`, case and the classes of `kind` of Rust's standard library.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use unicode_normalization::char::{canonical_combining_class, decompose_canonical, decompose_compatible};
use unicode_script::UnicodeScript;

use crate::corpus::Corpus;

/// The fields that every character has.
pub(crate) const FIELDS: [&str; 6] = ["name", "script", "block", "kind", "utf8", "utf16"];
/// The fields that some characters have.
pub(crate) const FIELDS_OPTIONAL: [&str; 3] = ["decomposition", "upper", "lower"];

/// All records of the data set, and what is known about them.
#[derive(Debug)]
pub(crate) struct Unicode {
    /// One entry a field of a character, in code point order; behind them the pages and the index of words.
    pub(crate) corpus: Corpus,
    /// How many of the entries, from the first, are fields of characters: all of them short.
    pub(crate) fields: usize,
    /// The code points that have a name, in order.
    pub(crate) characters: Vec<char>,
    /// How many characters have each of [`FIELDS_OPTIONAL`].
    pub(crate) optional: [usize; FIELDS_OPTIONAL.len()],
    /// Characters that belong together: case pairs, and a character with the parts that it decomposes into.
    pub(crate) relations: Vec<Relation>,
}

/// A character and those that the data relate it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The character.
    pub(crate) from: char,
    /// Its partners, all different, none of them `from`, each with a name.
    pub(crate) to: Vec<char>,
}

/// The key of a field of a character: the field's name and the code point in at least four hexadecimal digits.
pub(crate) fn key(field: &str, character: char) -> String {
    format!("{field}:{:04X}", u32::from(character))
}

/// The character that a key of [`key`]'s form names; `None` for any other key.
pub(crate) fn character(key: &[u8]) -> Option<char> {
    let (_, point) = std::str::from_utf8(key).ok()?.split_once(':')?;
    char::from_u32(u32::from_str_radix(point, 16).ok()?)
}

/// The rules between the records: pattern, partners, and for each partner the share of characters that have it,
/// which is the strength of that rule.
pub(crate) fn rules(unicode: &Unicode) -> Vec<(String, Vec<String>, f64)> {
    let always = FIELDS.iter().map(|field| format!("{field}:{{id}}")).collect();
    let mut rules = vec![("char:{id}".to_owned(), always, 1.0)];
    for (field, count) in FIELDS_OPTIONAL.iter().zip(unicode.optional) {
        let share = count as f64 / unicode.characters.len() as f64;
        rules.push(("char:{id}".to_owned(), vec![format!("{field}:{{id}}")], share));
    }
    rules
}

/// Walks all of Unicode. Takes about a second.
pub(crate) fn records() -> Unicode {
    let mut unicode = Unicode {
        corpus: Corpus::default(),
        fields: 0,
        characters: Vec::new(),
        optional: [0; FIELDS_OPTIONAL.len()],
        relations: Vec::new(),
    };
    let mut pages = BTreeMap::new();
    let mut words = BTreeMap::new();
    for (character, name) in named() {
        let record = Record::of(character, name);
        unicode.add(character, &record);
        index(character, &record, &mut pages, &mut words);
    }
    unicode.fields = unicode.corpus.len();
    for (key, text) in pages.iter().chain(&words) {
        unicode.corpus.push(key.as_bytes(), text.as_bytes());
    }
    unicode
}

/// The characters that have a name, with it.
fn named() -> impl Iterator<Item = (char, String)> {
    ('\0'..=char::MAX).filter_map(|character| Some((character, unicode_names2::name(character)?.to_string())))
}

/// What Unicode says about one character.
#[derive(Debug, Serialize)]
struct Record {
    char: char,
    name: String,
    script: &'static str,
    block: &'static str,
    kind: String,
    utf8: String,
    utf16: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    decomposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower: Option<String>,
}

impl Record {
    fn of(character: char, name: String) -> Record {
        Record {
            char: character,
            name,
            script: character.script().full_name(),
            block: unicode_blocks::find_unicode_block(character).map_or("No_Block", |block| block.name()),
            kind: kind(character),
            utf8: hex(character.encode_utf8(&mut [0; 4]).bytes().map(u32::from), 2),
            utf16: hex(character.encode_utf16(&mut [0; 2]).iter().copied().map(u32::from), 4),
            decomposition: decomposition(character).map(|parts| points(&parts)),
            upper: changed(character, character.to_uppercase()),
            lower: changed(character, character.to_lowercase()),
        }
    }
}

impl Unicode {
    fn add(&mut self, character: char, record: &Record) {
        let summary = serde_json::to_vec(record).expect("strings and options of strings are JSON");
        self.corpus.push(key("char", character).as_bytes(), &summary);
        let values =
            [record.name.as_str(), record.script, record.block, &record.kind, &record.utf8, &record.utf16];
        for (field, value) in FIELDS.iter().zip(values) {
            self.corpus.push(key(field, character).as_bytes(), value.as_bytes());
        }
        let optional = [&record.decomposition, &record.upper, &record.lower];
        for (place, (field, value)) in FIELDS_OPTIONAL.iter().zip(optional).enumerate() {
            if let Some(value) = value {
                self.corpus.push(key(field, character).as_bytes(), value.as_bytes());
                self.optional[place] += 1;
            }
        }
        self.characters.push(character);
        self.relations.extend(relation(character));
    }
}

/// The classes that the standard library and the normalization tables know.
fn kind(character: char) -> String {
    let classes = [
        (character.is_uppercase(), "uppercase"),
        (character.is_lowercase(), "lowercase"),
        (character.is_alphabetic(), "alphabetic"),
        (character.is_numeric(), "numeric"),
        (character.is_whitespace(), "whitespace"),
    ];
    let mut text = String::new();
    for (_, class) in classes.iter().filter(|(holds, _)| *holds) {
        text.push_str(if text.is_empty() { "" } else { " " });
        text.push_str(class);
    }
    let combining = canonical_combining_class(character);
    if combining != 0 {
        let _ = write!(text, "{}combining {combining}", if text.is_empty() { "" } else { " " });
    }
    if text.is_empty() { "other".to_owned() } else { text }
}

/// What the character decomposes into: canonically, else compatibly, else nothing.
fn decomposition(character: char) -> Option<Vec<char>> {
    let mut parts = Vec::new();
    decompose_canonical(character, |part| parts.push(part));
    if parts == [character] {
        parts.clear();
        decompose_compatible(character, |part| parts.push(part));
    }
    (parts != [character]).then_some(parts)
}

/// A case mapping, if it is another character than the one mapped.
fn changed(character: char, mapped: impl Iterator<Item = char>) -> Option<String> {
    let mapped: Vec<char> = mapped.collect();
    (mapped != [character]).then(|| points(&mapped))
}

/// The partners that the data state: the other case, and the parts of a canonical decomposition into few
/// parts. Hangul syllables are left out: their parts follow from arithmetic, and there are eleven thousand.
fn relation(character: char) -> Option<Relation> {
    const HANGUL_SYLLABLES: std::ops::RangeInclusive<char> = '\u{AC00}'..='\u{D7A3}';
    if HANGUL_SYLLABLES.contains(&character) {
        return None;
    }
    let mut parts = Vec::new();
    decompose_canonical(character, |part| parts.push(part));
    let mut to: Vec<char> = Vec::new();
    for partner in character.to_uppercase().chain(character.to_lowercase()).chain(parts) {
        if partner != character && !to.contains(&partner) && unicode_names2::name(partner).is_some() {
            to.push(partner);
        }
    }
    (!to.is_empty()).then_some(Relation { from: character, to })
}

/// Adds the character to the page of its block, to that of its script, and to the words of its name.
fn index(
    character: char,
    record: &Record,
    pages: &mut BTreeMap<String, String>,
    words: &mut BTreeMap<String, String>,
) {
    let point = format!("{:04X}", u32::from(character));
    for page in [format!("blocks:{}", record.block), format!("scripts:{}", record.script)] {
        let _ = writeln!(pages.entry(page).or_default(), "{point} {character} {}", record.name);
    }
    for word in record.name.split(' ').filter(|word| !word.ends_with(&point)) {
        let list = words.entry(format!("word:{word}")).or_default();
        // A word may stand twice in a name; its character then stands once in the list.
        if !list.ends_with(&point) {
            list.push_str(if list.is_empty() { "" } else { " " });
            list.push_str(&point);
        }
    }
}

fn points(characters: &[char]) -> String {
    hex(characters.iter().map(|&character| u32::from(character)), 4)
}

fn hex(numbers: impl Iterator<Item = u32>, digits: usize) -> String {
    let mut text = String::new();
    for number in numbers {
        let gap = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{gap}{number:0digits$X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Fewer would not be the data set that the report names.
    const ENTRIES_MIN: usize = 500_000;
    /// From here on values are compressed by default.
    const LARGE_VALUE_BYTES: usize = 1024;

    fn value<'a>(unicode: &'a Unicode, key: &str) -> Option<&'a str> {
        let found = unicode.corpus.iter().find(|(candidate, _)| *candidate == key.as_bytes())?;
        Some(std::str::from_utf8(found.1).unwrap())
    }

    #[test]
    fn the_data_are_large_unique_and_real() {
        let unicode = records();
        assert!(unicode.fields >= ENTRIES_MIN, "{}", unicode.fields);
        let keys: HashSet<&[u8]> = unicode.corpus.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), unicode.corpus.len());

        let large = unicode.corpus.iter().filter(|(_, value)| value.len() >= LARGE_VALUE_BYTES).count();
        assert!(large > 500, "{large}");
        let fields = (0..unicode.fields).map(|record| unicode.corpus.value(record).len());
        assert!(fields.max().unwrap() < LARGE_VALUE_BYTES);

        assert_eq!(value(&unicode, "name:1F680"), Some("ROCKET"));
        assert_eq!(value(&unicode, "utf8:1F680"), Some("F0 9F 9A 80"));
        assert_eq!(value(&unicode, "utf16:1F680"), Some("D83D DE80"));
        assert_eq!(value(&unicode, "block:1F680"), Some("Transport and Map Symbols"));
        assert_eq!(value(&unicode, "script:03B1"), Some("Greek"));
        assert_eq!(value(&unicode, "upper:00DF"), Some("0053 0053"));
        assert_eq!(value(&unicode, "decomposition:00C5"), Some("0041 030A"));
        assert_eq!(value(&unicode, "kind:0301"), Some("combining 230"));
        assert_eq!(value(&unicode, "name:AC00"), Some("HANGUL SYLLABLE GA"));
        assert_eq!(value(&unicode, "upper:1F680"), None);
        assert!(value(&unicode, "blocks:Emoticons").unwrap().starts_with("1F600 😀 GRINNING FACE\n"));
        assert_eq!(value(&unicode, "word:ROCKET").map(|list| list.contains("1F680")), Some(true));
        assert!(value(&unicode, "char:1F680").unwrap().starts_with(r#"{"char":"🚀","name":"ROCKET""#));
    }

    #[test]
    fn keys_name_their_characters() {
        for name in [' ', 'A', '🚀'] {
            assert_eq!(character(key("name", name).as_bytes()), Some(name));
        }
        assert_eq!(character(b"blocks:Emoticons"), None);
    }

    #[test]
    fn relations_and_rules_come_from_the_data() {
        let unicode = records();
        let partners = |from| unicode.relations.iter().find(|relation| relation.from == from);
        assert_eq!(partners('a').unwrap().to, ['A']);
        assert_eq!(partners('Å').unwrap().to, ['å', 'A', '\u{30A}']);
        assert_eq!(partners('🚀'), None);
        assert!((1_000..20_000).contains(&unicode.relations.len()), "{}", unicode.relations.len());

        let rules = rules(&unicode);
        assert_eq!(rules.len(), 1 + FIELDS_OPTIONAL.len());
        assert!(rules.iter().all(|(_, _, strength)| *strength > 0.0 && *strength <= 1.0), "{rules:?}");
    }
}
