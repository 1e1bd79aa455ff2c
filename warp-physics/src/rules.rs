//! Rules that make links from the names of keys.

mod stored;

use std::fmt;

use crate::links::LINK_KEY_BYTES_MAX;
use crate::matching::Matching;
use crate::strength::{BadStrength, checked};
use crate::template::{PartKey, TEMPLATE_BYTES_MAX, Template};

pub use stored::BadRules;

/// Most rules at a time.
pub const RULES_MAX: usize = 1024;

/// Most partner templates of one rule.
pub const TEMPLATES_MAX: usize = 64;

/// The strength of [`Rules::common`].
const COMMON_STRENGTH: f64 = 0.8;
const COMMON: [(&str, [&str; 3]); 6] = [
    ("user:{id}", ["profile:{id}", "settings:{id}", "sessions:{id}"]),
    ("order:{id}", ["customer:{id}", "products:{id}", "payment:{id}"]),
    ("post:{id}", ["author:{id}", "comments:{id}", "tags:{id}"]),
    ("product:{id}", ["reviews:{id}", "inventory:{id}", "pricing:{id}"]),
    ("project:{id}", ["team:{id}", "tasks:{id}", "milestones:{id}"]),
    ("article:{id}", ["author:{id}", "categories:{id}", "related:{id}"]),
];

/// Names a rule. Ids start at 1, and one that was removed is never given again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleId(pub u64);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One rule: whatever matches the pattern has these partners, with the same id.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// Which keys it is for.
    pub pattern: Template,
    /// Which keys belong with one of those.
    pub partners: Vec<Template>,
    /// How strongly they do, in `0.0..=1.0`.
    pub strength: f64,
}

/// A set of rules, at most [`RULES_MAX`], ordered by id.
///
/// A key matches a pattern as prefix, id and suffix, where the id is one byte or more. Several rules may match
/// one key; a partner is in the key's own keyspace. The bytes are described in
/// `docs/format/stored.md`, "Rules".
///
/// ```
/// use warp_physics::Rules;
///
/// # fn main() -> Result<(), warp_physics::RuleError> {
/// let mut rules = Rules::new();
/// rules.add("user:{id}", &["profile:{id}"], 0.8)?;
/// let mut partners = Vec::new();
/// rules.partners_of(b"user:42", &mut partners);
/// assert_eq!(partners, [(b"profile:42".to_vec(), 0.8)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    /// By ascending id.
    rules: Vec<Rule>,
    /// Which rules may match a key; made anew with every change, as what follows.
    matching: Matching,
    /// For each rule its partners in the order of their keys, where that is the same for every id.
    orders: Vec<Option<Order>>,
    next_id: u64,
}

impl Rules {
    /// No rules.
    pub fn new() -> Rules {
        Rules::of(Vec::new(), 1)
    }

    fn of(rules: Vec<Rule>, next_id: u64) -> Rules {
        let (matching, orders) = (Matching::new(&rules), rules.iter().map(order).collect());
        Rules { rules, matching, orders, next_id }
    }

    fn has_changed(&mut self) {
        *self = Rules::of(std::mem::take(&mut self.rules), self.next_id);
    }

    /// The usual relations of an application, each of strength 0.8, and each partner with the same id:
    ///
    /// | key | partners |
    /// |---|---|
    /// | `user:{id}` | `profile:`, `settings:`, `sessions:` |
    /// | `order:{id}` | `customer:`, `products:`, `payment:` |
    /// | `post:{id}` | `author:`, `comments:`, `tags:` |
    /// | `product:{id}` | `reviews:`, `inventory:`, `pricing:` |
    /// | `project:{id}` | `team:`, `tasks:`, `milestones:` |
    /// | `article:{id}` | `author:`, `categories:`, `related:` |
    #[expect(clippy::missing_panics_doc, reason = "the list is a constant, and a test makes these rules")]
    pub fn common() -> Rules {
        let mut rules = Rules::new();
        for (pattern, partners) in COMMON {
            rules.add(pattern, &partners, COMMON_STRENGTH).expect("the list is a valid constant");
        }
        rules
    }

    /// Adds a rule. If there is one with this pattern and these partners already, its strength is replaced and
    /// its id returned, so that a program may state its rules at every start.
    ///
    /// # Errors
    /// [`RuleError`]; nothing has changed then.
    pub fn add(
        &mut self,
        pattern: impl AsRef<[u8]>,
        partners: &[impl AsRef<[u8]>],
        strength: f64,
    ) -> Result<RuleId, RuleError> {
        let rule = parse_rule(RuleId(self.next_id), pattern.as_ref(), partners, strength)?;
        let same = |old: &&mut Rule| old.pattern == rule.pattern && old.partners == rule.partners;
        if let Some(old) = self.rules.iter_mut().find(same) {
            old.strength = rule.strength;
            return Ok(old.id);
        }
        if self.rules.len() >= RULES_MAX {
            return Err(RuleError::TooManyRules);
        }
        self.next_id = self.next_id.checked_add(1).ok_or(RuleError::TooManyRules)?;
        let id = rule.id;
        self.rules.push(rule);
        self.has_changed();
        Ok(id)
    }

    /// Removes a rule and returns it; `None` if there is none of that name.
    pub fn remove(&mut self, id: RuleId) -> Option<Rule> {
        let index = self.rules.binary_search_by_key(&id, |rule| rule.id).ok()?;
        let rule = self.rules.remove(index);
        self.has_changed();
        Some(rule)
    }

    /// The rules by ascending id.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.rules.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Appends the partners that rules make for `key`, each with its strength, in no particular order: one that
    /// several rules make is there several times, and the key itself may be. A partner that would be longer
    /// than a key can be is left out.
    pub fn partners_of(&self, key: &[u8], out: &mut Vec<(Vec<u8>, f64)>) {
        let made = self.matches(key).flat_map(|found| self.made(found));
        out.extend(made.map(|Made { partner, strength, .. }| (partner.join(), strength)));
    }

    /// The rules that match a key.
    pub(crate) fn matches<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = Match<'a>> {
        let of = move |index: usize| Some(Match { index, id: self.rules[index].pattern.id_of(key)? });
        self.matching.rules(key).filter_map(of)
    }

    /// The partners that a rule makes for a key that it matches, in the order in which they are stated.
    pub(crate) fn made<'a>(&'a self, Match { index, id }: Match<'a>) -> impl Iterator<Item = Made<'a>> {
        let rule = &self.rules[index];
        (0..=u8::MAX).zip(&rule.partners).filter_map(move |(place, template)| rule.make(place, template, id))
    }

    /// The same in the order of their keys, none of which is there twice; `None` if that order depends on the id.
    pub(crate) fn made_in_order<'a>(
        &'a self,
        Match { index, id }: Match<'a>,
    ) -> Option<impl Iterator<Item = Made<'a>>> {
        let (rule, order) = (&self.rules[index], self.orders[index].as_ref()?);
        Some(order.iter().filter_map(move |at| rule.make(*at, &rule.partners[usize::from(*at)], id)))
    }
}

impl Rule {
    /// The partner that the template in this place makes, unless it would be longer than a key can be.
    fn make<'a>(&self, place: u8, template: &'a Template, id: &'a [u8]) -> Option<Made<'a>> {
        let (partner, strength, rule) = (template.part_key(id), self.strength, self.id);
        (partner.len() <= LINK_KEY_BYTES_MAX).then_some(Made { partner, strength, rule, place })
    }
}

/// A rule that matches a key: its position, and what stands where its pattern has the `{id}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match<'a> {
    index: usize,
    id: &'a [u8],
}

/// A partner that a rule makes, in the keyspace of the key that was asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    pub(crate) partner: PartKey<'a>,
    pub(crate) strength: f64,
    /// The rule, and the place of its template that makes it.
    pub(crate) rule: RuleId,
    pub(crate) place: u8,
}

/// Positions of templates.
type Order = Box<[u8]>;

const _: () = assert!(TEMPLATES_MAX <= 1 << u8::BITS);

/// The partners of a rule in the order of their keys, if no prefix begins another one: then the prefixes decide, whatever the
/// id is.
fn order(rule: &Rule) -> Option<Order> {
    let prefix = |at: u8| rule.partners[usize::from(at)].prefix();
    let mut order: Vec<u8> = (0..=u8::MAX).take(rule.partners.len()).collect();
    order.sort_unstable_by_key(|at| prefix(*at));
    // What begins any of those behind it begins the next one.
    let is_fixed = order.windows(2).all(|pair| !prefix(pair[1]).starts_with(prefix(pair[0])));
    is_fixed.then(|| order.into_boxed_slice())
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::new()
    }
}

/// Equal rules under equal ids, of which the same are used up.
impl PartialEq for Rules {
    fn eq(&self, other: &Rules) -> bool {
        self.next_id == other.next_id && self.rules == other.rules
    }
}

impl<'a> IntoIterator for &'a Rules {
    type Item = &'a Rule;
    type IntoIter = std::slice::Iter<'a, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a rule was not added.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A template without an `{id}`.
    #[error("no {{id}} in the template {template:?}")]
    NoId {
        /// The template, with other signs in place of what is not UTF-8.
        template: String,
    },
    /// A template with more than one `{id}`.
    #[error("more than one {{id}} in the template {template:?}")]
    SeveralIds {
        /// The template, with other signs in place of what is not UTF-8.
        template: String,
    },
    /// A template of more than [`TEMPLATE_BYTES_MAX`] bytes.
    #[error("a template of {bytes} bytes; the most is {TEMPLATE_BYTES_MAX}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// The strength is not in `0.0..=1.0`.
    #[error(transparent)]
    BadStrength(#[from] BadStrength),
    /// A rule without partners says nothing.
    #[error("a rule without partners")]
    NoPartners,
    /// More than [`TEMPLATES_MAX`] partner templates.
    #[error("{count} partners of one rule; the most is {TEMPLATES_MAX}")]
    TooManyPartners {
        /// How many there are.
        count: usize,
    },
    /// There are [`RULES_MAX`] rules already. Remove one first.
    #[error("more than {RULES_MAX} rules")]
    TooManyRules,
}

fn parse_rule(
    id: RuleId,
    pattern: &[u8],
    partners: &[impl AsRef<[u8]>],
    strength: f64,
) -> Result<Rule, RuleError> {
    let strength = checked(strength)?;
    match partners.len() {
        0 => return Err(RuleError::NoPartners),
        count if count > TEMPLATES_MAX => return Err(RuleError::TooManyPartners { count }),
        _ => {}
    }
    let pattern = Template::parse(pattern)?;
    let partners = partners.iter().map(Template::parse).collect::<Result<Vec<_>, _>>()?;
    Ok(Rule { id, pattern, partners, strength })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &Rules, key: &str, expected: &[&str]) {
        let mut found = Vec::new();
        rules.partners_of(key.as_bytes(), &mut found);
        let mut found: Vec<String> =
            found.into_iter().map(|(key, strength)| format!("{} {strength}", key.escape_ascii())).collect();
        found.sort();
        assert_eq!(found, expected, "{key}");
    }

    #[test]
    fn the_usual_rules_are_the_documented_ones() {
        let rules = Rules::common();
        assert_eq!(rules.len(), 6);
        check(&rules, "user:1", &["profile:1 0.8", "sessions:1 0.8", "settings:1 0.8"]);
        check(&rules, "order:a:b", &["customer:a:b 0.8", "payment:a:b 0.8", "products:a:b 0.8"]);
        check(&rules, "post:1", &["author:1 0.8", "comments:1 0.8", "tags:1 0.8"]);
        check(&rules, "product:1", &["inventory:1 0.8", "pricing:1 0.8", "reviews:1 0.8"]);
        check(&rules, "project:1", &["milestones:1 0.8", "tasks:1 0.8", "team:1 0.8"]);
        check(&rules, "article:1", &["author:1 0.8", "categories:1 0.8", "related:1 0.8"]);
        check(&rules, "user:", &[]);
        check(&rules, "users:1", &[]);
    }

    #[test]
    fn every_rule_that_matches_makes_partners() {
        let mut rules = Rules::new();
        rules.add("{id}", &["any:{id}"], 0.1).unwrap();
        rules.add("a:{id}", &["short:{id}"], 0.2).unwrap();
        rules.add("a:b:{id}", &["long:{id}"], 0.3).unwrap();
        rules.add("{id}:z", &["end:{id}", "a:{id}:z"], 0.4).unwrap();
        rules.add("a:{id}:z", &["both:{id}"], 0.5).unwrap();
        rules.add("b:{id}", &["other:{id}"], 0.6).unwrap();
        let all = ["a:a:b:1:z 0.4", "any:a:b:1:z 0.1", "both:b:1 0.5", "end:a:b:1 0.4", "long:1:z 0.3"];
        check(&rules, "a:b:1:z", &[&all[..], &["short:b:1:z 0.2"]].concat());
        check(&rules, "a:z", &["a:a:z 0.4", "any:a:z 0.1", "end:a 0.4", "short:z 0.2"]);
        check(&rules, "x", &["any:x 0.1"]);
        check(&rules, "", &[]);
    }

    #[test]
    fn stating_a_rule_again_replaces_its_strength() {
        let mut rules = Rules::new();
        let first = rules.add("a:{id}", &["b:{id}"], 0.5).unwrap();
        assert_eq!(rules.add("a:{id}", &["b:{id}"], 0.9), Ok(first));
        assert_ne!(rules.add("a:{id}", &["c:{id}"], 0.9), Ok(first));
        check(&rules, "a:1", &["b:1 0.9", "c:1 0.9"]);
    }

    #[test]
    fn a_removed_rule_makes_no_partners_and_its_id_stays_unused() {
        let mut rules = Rules::new();
        let first = rules.add("a:{id}", &["b:{id}"], 0.5).unwrap();
        let second = rules.add("a:{id}", &["c:{id}"], 0.5).unwrap();
        assert_eq!(rules.remove(second).map(|rule| rule.id), Some(second));
        assert_eq!(rules.remove(second), None);
        check(&rules, "a:1", &["b:1 0.5"]);
        let third = rules.add("a:{id}", &["d:{id}"], 0.5).unwrap();
        let fourth = rules.add("e:{id}", &["f:{id}"], 0.5).unwrap();
        assert!(first < second && second < third && third < fourth);
        assert!(rules.remove(first).is_some());
        check(&rules, "a:1", &["d:1 0.5"]);
    }

    #[test]
    fn what_cannot_be_a_rule_is_refused_and_changes_nothing() {
        let none: &[&str] = &[];
        let mut rules = Rules::common();
        let before = rules.clone();
        assert!(matches!(rules.add("a", &["b:{id}"], 0.5), Err(RuleError::NoId { .. })));
        assert!(matches!(rules.add("a:{id}", &["b"], 0.5), Err(RuleError::NoId { .. })));
        assert!(matches!(rules.add("{id}:{id}", &["b{id}"], 0.5), Err(RuleError::SeveralIds { .. })));
        assert!(matches!(rules.add("a:{id}", &["b:{id}"], 1.5), Err(RuleError::BadStrength(_))));
        assert_eq!(rules.add("a:{id}", none, 0.5), Err(RuleError::NoPartners));
        let many = vec!["b:{id}"; TEMPLATES_MAX + 1];
        assert_eq!(rules.add("a:{id}", &many, 0.5), Err(RuleError::TooManyPartners { count: many.len() }));
        assert_eq!(rules, before);
        assert!(rules.add("a:{id}", &many[1..], 0.5).is_ok(), "the limit itself is allowed");
    }

    #[test]
    fn there_is_a_most_of_rules() {
        let mut rules = Rules::new();
        for index in 0..RULES_MAX {
            rules.add(format!("{index}:{{id}}"), &["x:{id}"], 0.5).unwrap();
        }
        assert_eq!(rules.add("a:{id}", &["x:{id}"], 0.5), Err(RuleError::TooManyRules));
        assert!(rules.add("7:{id}", &["x:{id}"], 0.6).is_ok(), "replacing needs no room");
        check(&rules, "7:1", &["x:1 0.6"]);
        check(&rules, "1023:1", &["x:1 0.5"]);
    }

    #[test]
    fn a_partner_longer_than_a_key_can_be_is_left_out() {
        let mut rules = Rules::new();
        rules.add("{id}", &["{id}", "x{id}"], 0.5).unwrap();
        let mut found = Vec::new();
        rules.partners_of(&vec![b'k'; LINK_KEY_BYTES_MAX], &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn partners_are_in_a_fixed_order_where_no_prefix_begins_another() {
        let in_order = |partners: &[&str]| {
            let mut rules = Rules::new();
            rules.add("k{id}", partners, 0.5).unwrap();
            let found = rules.matches(b"kz").next().unwrap();
            let made: Option<Vec<_>> =
                rules.made_in_order(found).map(|made| made.map(|m| m.partner.join()).collect());
            made.map(|keys| keys.into_iter().map(|key| String::from_utf8(key).unwrap()).collect::<Vec<_>>())
        };
        let expected = ["az", "bz1", "cz"].map(str::to_owned).to_vec();
        assert_eq!(in_order(&["c{id}", "a{id}", "b{id}1"]), Some(expected));
        assert_eq!(in_order(&["a{id}", "ab{id}"]), None, "abz is before az, and ab0 behind a0");
        assert_eq!(in_order(&["b{id}", "a{id}", "aa{id}", "ab{id}"]), None);
        assert_eq!(in_order(&["a{id}1", "a{id}2"]), None, "the same one");
        assert_eq!(in_order(&["{id}", "a{id}"]), None, "the empty one begins all");
    }
}
