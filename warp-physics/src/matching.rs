//! Which rules may match a key, found without looking at each rule.
//!
//! Patterns are grouped by the bytes before their `{id}`, and within a group by the bytes after it, read
//! backwards. Both steps ask the same question: which of these texts does the key begin with?

use std::collections::BTreeMap;

use crate::rules::Rule;

/// The rules by prefix, then by reversed suffix. The numbers are positions in the list it was made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matching {
    prefixes: Beginnings<Beginnings<Vec<usize>>>,
}

impl Matching {
    pub(crate) fn new(rules: &[Rule]) -> Matching {
        let mut groups: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<usize>>> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let suffix = rule.pattern.suffix().iter().rev().copied().collect();
            let group = groups.entry(rule.pattern.prefix().to_vec()).or_default();
            group.entry(suffix).or_default().push(index);
        }
        let groups = groups.into_iter().map(|(prefix, suffixes)| (prefix, Beginnings::new(suffixes)));
        Matching { prefixes: Beginnings::new(groups) }
    }

    /// The rules whose prefix begins the key and whose suffix ends it. The two may overlap in a short key: the
    /// pattern itself has the last word.
    pub(crate) fn rules<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let groups = self.prefixes.of(Forwards(key));
        groups.flat_map(|suffixes| suffixes.of(Backwards(key))).flatten().copied()
    }
}

/// Texts in ascending order, each with a value, that can tell with which of them a key begins.
///
/// Every text between a key's beginning and the key itself, in this order, has that beginning too. So the
/// greatest text that is not above the key has all beginnings of the key among its own, and a chain from each
/// text to the next shorter one that it begins with leads to them.
#[derive(Clone, Debug)]
struct Beginnings<T> {
    texts: Vec<Text<T>>,
    /// The [`head`] of each text: mostly it is enough to look at these numbers.
    heads: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Text<T> {
    bytes: Vec<u8>,
    /// The longest other text that this one begins with.
    shorter: Option<usize>,
    value: T,
}

impl<T> Beginnings<T> {
    /// From texts in strictly ascending order.
    fn new(ascending: impl IntoIterator<Item = (Vec<u8>, T)>) -> Beginnings<T> {
        let mut texts: Vec<Text<T>> = Vec::new();
        for (bytes, value) in ascending {
            let last = texts.len().checked_sub(1);
            let mut chain = std::iter::successors(last, |&at| texts[at].shorter);
            let shorter = chain.find(|&at| bytes.starts_with(&texts[at].bytes));
            texts.push(Text { bytes, shorter, value });
        }
        let heads = texts.iter().map(|text| head(&text.bytes)).collect();
        Beginnings { texts, heads }
    }

    /// The values of all texts that the key begins with, the longest text first.
    fn of<'a>(&'a self, key: impl Read + 'a) -> impl Iterator<Item = &'a T> {
        let head = key.head();
        let from = self.heads.partition_point(|other| *other < head);
        let alike = self.heads[from..].partition_point(|other| *other == head);
        let alike = &self.texts[from..from + alike];
        let above = from + alike.partition_point(|text| !key.is_before(&text.bytes));
        let chain = std::iter::successors(above.checked_sub(1), |&at| self.texts[at].shorter);
        let begins = move |text: &&Text<T>| key.begins_with(&text.bytes);
        chain.map(|at| &self.texts[at]).filter(begins).map(|text| &text.value)
    }
}

/// The first eight bytes of a text as a number, zeros for those that it has not: in the order of texts, but for those that
/// are alike in it.
fn head(text: &[u8]) -> u64 {
    text.first_chunk()
        .map_or_else(|| short_head(text.iter()), |bytes| u64::from_le_bytes(*bytes).swap_bytes())
}

/// The same of fewer than eight bytes.
fn short_head<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    let mut head = [0; size_of::<u64>()];
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(head).swap_bytes()
}

/// A key that is read in one direction or the other.
trait Read {
    /// As [`head`].
    fn head(&self) -> u64;
    /// Whether it is ahead of a text in the order of texts.
    fn is_before(&self, text: &[u8]) -> bool;
    fn begins_with(&self, text: &[u8]) -> bool;
}

struct Forwards<'a>(&'a [u8]);

struct Backwards<'a>(&'a [u8]);

impl Read for Forwards<'_> {
    fn head(&self) -> u64 {
        head(self.0)
    }

    fn is_before(&self, text: &[u8]) -> bool {
        self.0 < text
    }

    fn begins_with(&self, text: &[u8]) -> bool {
        self.0.starts_with(text)
    }
}

impl Read for Backwards<'_> {
    fn head(&self) -> u64 {
        let short = || short_head(self.0.iter().rev());
        self.0.last_chunk().map_or_else(short, |bytes| u64::from_le_bytes(*bytes))
    }

    fn is_before(&self, text: &[u8]) -> bool {
        self.0.iter().rev().lt(text)
    }

    fn begins_with(&self, text: &[u8]) -> bool {
        text.len() <= self.0.len() && text.iter().eq(self.0.iter().rev().take(text.len()))
    }
}

impl<T> Default for Beginnings<T> {
    fn default() -> Beginnings<T> {
        Beginnings { texts: Vec::new(), heads: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginnings(texts: &[&'static str]) -> Beginnings<&'static str> {
        let sorted: BTreeMap<Vec<u8>, &str> = texts.iter().map(|&text| (text.into(), text)).collect();
        Beginnings::new(sorted)
    }

    #[track_caller]
    fn check(texts: &[&'static str], key: &str, expected: &[&str]) {
        let found: Vec<&str> = beginnings(texts).of(Forwards(key.as_bytes())).copied().collect();
        assert_eq!(found, expected, "{key}");
        let reversed: Vec<u8> = key.bytes().rev().collect();
        let found: Vec<&str> = beginnings(texts).of(Backwards(&reversed)).copied().collect();
        assert_eq!(found, expected, "{key}, read backwards");
    }

    #[test]
    fn all_beginnings_of_a_key_are_found_longest_first() {
        let texts = ["", "a", "ab", "abc", "abd", "b", "user:", "user:x", "user:x:y"];
        check(&texts, "abcd", &["abc", "ab", "a", ""]);
        check(&texts, "abcz", &["abc", "ab", "a", ""]);
        check(&texts, "abe", &["ab", "a", ""]);
        check(&texts, "user:x:a", &["user:x", "user:", ""]);
        check(&texts, "user:x:z", &["user:x", "user:", ""]);
        check(&texts, "zzz", &[""]);
        check(&texts, "", &[""]);
        check(&texts[1..], "", &[]);
        check(&["b", "c"], "a", &[]);
        check(&[], "a", &[]);
        let alike = ["eight by", "eight bytes", "eight bytes and", "eight bytes or"];
        check(&alike, "eight bytes or more", &["eight bytes or", "eight bytes", "eight by"]);
        check(&alike, "eight bytes an", &["eight bytes", "eight by"]);
        check(&alike, "eight b", &[]);
        check(&["a", "a\0", "a\0\0"], "a\0", &["a\0", "a"]);
        check(&["a", "a\0", "a\0\0"], "a", &["a"]);
    }
}
