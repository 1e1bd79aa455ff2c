//! A key with a hole: literal bytes around one `{id}`.

use std::cmp::Ordering;
use std::fmt;

use crate::links::LINK_KEY_BYTES_MAX;
use crate::rules::RuleError;

/// Longest template, in bytes, its `{id}` included. A template is a naming scheme, not a key.
pub const TEMPLATE_BYTES_MAX: usize = 1024;

/// What stands for the id.
const HOLE: &[u8] = b"{id}";

const _: () = assert!(HOLE.len() <= TEMPLATE_BYTES_MAX && TEMPLATE_BYTES_MAX <= LINK_KEY_BYTES_MAX);

/// A family of keys: literal bytes with exactly one `{id}` among them, which stands for one byte or more.
///
/// There is no way to write a literal `{id}`.
///
/// ```
/// use warp_physics::Template;
///
/// # fn main() -> Result<(), warp_physics::RuleError> {
/// let template = Template::parse("user:{id}:cart")?;
/// assert_eq!(template.id_of(b"user:42:cart"), Some(&b"42"[..]));
/// assert_eq!(template.id_of(b"user::cart"), None); // an id has at least one byte
/// assert_eq!(template.fill(b"42"), b"user:42:cart");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Template {
    text: Vec<u8>,
    /// Where in the text the hole begins.
    hole: usize,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`RuleError::NoId`], [`RuleError::SeveralIds`], or [`RuleError::TooLong`] for more than
    /// [`TEMPLATE_BYTES_MAX`] bytes.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Template, RuleError> {
        let text = text.as_ref();
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(RuleError::TooLong { bytes: text.len() });
        }
        let mut holes = (0..text.len()).filter(|&at| text[at..].starts_with(HOLE));
        let shown = || String::from_utf8_lossy(text).into_owned();
        let hole = holes.next().ok_or_else(|| RuleError::NoId { template: shown() })?;
        match holes.next() {
            None => Ok(Template { text: text.to_vec(), hole }),
            Some(_) => Err(RuleError::SeveralIds { template: shown() }),
        }
    }

    /// The template as it was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The part of `key` that stands where the `{id}` does; `None` if the key is not of this family.
    pub fn id_of<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let id = key.strip_prefix(self.prefix())?.strip_suffix(self.suffix())?;
        (!id.is_empty()).then_some(id)
    }

    /// The key of this family with that id.
    pub fn fill(&self, id: &[u8]) -> Vec<u8> {
        self.part_key(id).join()
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.text[..self.hole]
    }

    pub(crate) fn suffix(&self) -> &[u8] {
        &self.text[self.hole + HOLE.len()..]
    }

    pub(crate) fn part_key<'a>(&'a self, id: &'a [u8]) -> PartKey<'a> {
        PartKey { prefix: self.prefix(), id, suffix: self.suffix() }
    }
}

impl AsRef<[u8]> for Template {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&String::from_utf8_lossy(&self.text), f)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.text), f)
    }
}

/// A key that is not joined yet: most candidates are compared, and few are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartKey<'a> {
    prefix: &'a [u8],
    id: &'a [u8],
    suffix: &'a [u8],
}

impl<'a> PartKey<'a> {
    /// The parts that are to be joined.
    pub(crate) fn parts(self) -> [&'a [u8]; 3] {
        [self.prefix, self.id, self.suffix]
    }

    pub(crate) fn len(self) -> usize {
        self.prefix.len() + self.id.len() + self.suffix.len()
    }

    pub(crate) fn join(self) -> Vec<u8> {
        self.parts().concat()
    }

    /// Whether this is the key. The length is compared first, because it differs most cheaply.
    pub(crate) fn is(self, key: &[u8]) -> bool {
        self.len() == key.len()
            && key.strip_prefix(self.prefix).and_then(|key| key.strip_suffix(self.suffix)) == Some(self.id)
    }

    pub(crate) fn cmp_key(self, key: &[u8]) -> Ordering {
        self.bytes().cmp(key.iter())
    }

    pub(crate) fn cmp(self, other: PartKey<'_>) -> Ordering {
        // Names of different kinds differ in the prefix, mostly.
        let common = self.prefix.len().min(other.prefix.len());
        let prefixes = self.prefix[..common].cmp(&other.prefix[..common]);
        prefixes.then_with(|| self.bytes().cmp(other.bytes()))
    }

    fn bytes(self) -> impl Iterator<Item = &'a u8> {
        self.prefix.iter().chain(self.id).chain(self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, key: &str, id: Option<&str>) {
        let template = Template::parse(template).unwrap();
        let found = template.id_of(key.as_bytes());
        assert_eq!(found, id.map(str::as_bytes), "{template} and {key}");
        if let Some(id) = found {
            assert_eq!(template.fill(id), key.as_bytes());
        }
    }

    #[test]
    fn the_hole_may_be_anywhere_and_takes_all_that_is_left() {
        check("user:{id}", "user:42", Some("42"));
        check("user:{id}", "user:42:x", Some("42:x"));
        check("{id}:user", "42:user", Some("42"));
        check("a{id}b", "aXb", Some("X"));
        check("{id}", "x", Some("x"));
    }

    #[test]
    fn the_hole_takes_at_least_one_byte() {
        check("user:{id}", "user:", None);
        check("{id}", "", None);
        check("a{id}b", "ab", None);
        check("aba{id}aba", "ababa", None);
        check("aba{id}aba", "abaaba", None);
        check("user:{id}", "use", None);
        check("user:{id}", "xuser:1", None);
    }

    #[test]
    fn templates_without_exactly_one_hole_are_refused() {
        assert!(matches!(Template::parse("user:"), Err(RuleError::NoId { .. })));
        assert!(matches!(Template::parse(""), Err(RuleError::NoId { .. })));
        assert!(matches!(Template::parse("{ID}"), Err(RuleError::NoId { .. })));
        assert!(matches!(Template::parse("{id}{id}"), Err(RuleError::SeveralIds { .. })));
        let long = [&[b'x'; TEMPLATE_BYTES_MAX][..], HOLE].concat();
        assert_eq!(Template::parse(&long), Err(RuleError::TooLong { bytes: long.len() }));
        assert!(Template::parse(&long[HOLE.len()..]).is_ok(), "the limit itself is allowed");
    }

    #[test]
    fn keys_in_parts_compare_as_the_joined_keys_do() {
        let texts = ["a{id}", "a{id}b", "ab{id}", "{id}a", "b{id}", "{id}", "bbb{id}", "{id}bbc"];
        let templates = texts.map(|text| Template::parse(text).unwrap());
        for a in &templates {
            for b in &templates {
                let (left, right) = (a.part_key(b"b"), b.part_key(b"b"));
                let expected = left.join().cmp(&right.join());
                assert_eq!(left.cmp(right), expected, "{a} and {b}");
                assert_eq!(left.cmp_key(&right.join()), expected, "{a} and {b}");
                assert_eq!(left.is(&right.join()), expected.is_eq(), "{a} and {b}");
            }
        }
    }
}
