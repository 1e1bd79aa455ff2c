//! Which keys belong with a key: what is declared and what rules make, put together.

use crate::links::{Link, LinkRef, Links, Origin, StoredLinks};
use crate::rules::{Made, Match, RuleId, Rules, TEMPLATES_MAX};

/// How many partners are asked for unless a caller says otherwise.
pub const PARTNERS_DEFAULT: usize = 10;

/// The weakest link that counts unless a caller says otherwise.
pub const STRENGTH_MIN_DEFAULT: f64 = 0.1;

/// Association graph lookup: which keys belong with this one.
///
/// ```
/// use warp_physics::{Entanglement, Links, PARTNERS_DEFAULT, Rules, STRENGTH_MIN_DEFAULT};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut rules = Rules::new();
/// rules.add("user:{id}", &["profile:{id}", "settings:{id}"], 0.8)?;
/// let mut declared = Links::new();
/// declared.declare(0, b"user:7", 0.9)?;
///
/// let graph = Entanglement::new(rules);
/// let found = graph.partners(0, b"user:42", Some(&declared), PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT);
/// let keys: Vec<&[u8]> = found.iter().map(|link| &link.key[..]).collect();
/// assert_eq!(keys, [&b"user:7"[..], b"profile:42", b"settings:42"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entanglement {
    rules: Rules,
}

impl Entanglement {
    /// With these rules; [`Rules::new`] for none, [`Rules::common`] for the usual ones.
    pub fn new(rules: Rules) -> Entanglement {
        Entanglement { rules }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The keys that belong with `key`: at most `limit`, each of at least `strength_min`, strongest first, then
    /// by keyspace and key. No key is there twice, and `key` itself never is.
    ///
    /// `declared` holds the links that are stored for this key. Links below `strength_min` count as absent.
    /// Where a declared link and a rule name the same key, the declared one stands, even if it is weaker;
    /// where two rules do, the stronger one.
    pub fn partners(
        &self,
        keyspace: u32,
        key: &[u8],
        declared: Option<&Links>,
        limit: usize,
        strength_min: f64,
    ) -> Vec<Link> {
        let declared = declared.map_or(&[][..], Links::as_slice).iter().map(LinkRef::from);
        let mut found = Vec::new();
        let asked = Asked { keyspace, key, limit, strength_min };
        self.find(asked, declared, |edge| found.push(edge.into()));
        found
    }

    /// Calls `found` with what [`Entanglement::partners`] would return, one after the other, without copying or
    /// joining a key.
    pub fn each_partner(
        &self,
        keyspace: u32,
        key: &[u8],
        declared: StoredLinks<'_>,
        limit: usize,
        strength_min: f64,
        found: impl FnMut(Edge<'_>),
    ) {
        self.find(Asked { keyspace, key, limit, strength_min }, declared.iter(), found);
    }

    fn find<'a>(
        &'a self,
        asked: Asked<'a>,
        declared: impl Iterator<Item = LinkRef<'a>> + Clone,
        found: impl FnMut(Edge<'a>),
    ) {
        let declared = asked.strong(declared);
        let mut matches = self.rules.matches(asked.key);
        let Some(first) = matches.next() else { return asked.merge(declared, std::iter::empty(), found) };
        let second = matches.next();
        // One rule alone, mostly, whose partners need no sorting.
        if second.is_none()
            && let Some(made) = self.rules.made_in_order(first)
        {
            return asked.merge(declared, made, found);
        }
        let all = std::iter::once(first).chain(second).chain(matches);
        asked.merge(declared, self.sorted(all).into_iter(), found);
    }

    /// The partners that rules make, each once, strongest first and then by key.
    fn sorted<'a>(&'a self, matches: impl Iterator<Item = Match<'a>>) -> Vec<Made<'a>> {
        let mut made: Vec<Made<'a>> = matches.flat_map(|found| self.rules.made(found)).collect();
        made.sort_unstable_by(|a, b| a.partner.cmp(b.partner).then(b.strength.total_cmp(&a.strength)));
        made.dedup_by(|weaker, stronger| weaker.partner.cmp(stronger.partner).is_eq());
        made.sort_by(|a, b| b.strength.total_cmp(&a.strength)); // Stable: keys stay in order within a strength.
        made
    }
}

/// The partners that a key has where there are no rules, as [`Entanglement::partners`] chooses them, lent.
pub fn wanted_links<'a>(
    keyspace: u32,
    key: &'a [u8],
    declared: StoredLinks<'a>,
    limit: usize,
    strength_min: f64,
) -> impl Iterator<Item = LinkRef<'a>> {
    let asked = Asked { keyspace, key, limit, strength_min };
    asked.strong(declared.iter()).filter(move |link| asked.is_other(link)).take(limit)
}

/// One edge of the graph, as a [`Link`], lent by what it follows from.
#[derive(Clone, Copy, Debug)]
pub struct Edge<'a> {
    /// The keyspace of the other key.
    pub keyspace: u32,
    /// The other key, in parts that are to be joined.
    pub key: [&'a [u8]; 3],
    /// How strongly the two belong together, in `0.0..=1.0`; higher is stronger.
    pub strength: f64,
    /// Where the link comes from.
    pub origin: Origin,
    /// A number that links of one kind have in common, below 2^29, for [`Usefulness`](crate::Usefulness): declared ones of about the
    /// same strength, and those that one partner template of a rule makes. [`KIND_LEARNED`] for learned ones, and for a copied
    /// [`Link`] that a rule made, which no longer says which.
    pub kind: u32,
}

/// The [kind](Edge::kind) of every learned link.
pub const KIND_LEARNED: u32 = 0;
/// Partner templates of a rule, and before them declared links, have so many numbers.
const KINDS_A_RULE: u32 = 64;
const _: () = assert!(TEMPLATES_MAX <= KINDS_A_RULE as usize);
/// Numbers of rules beyond it begin anew: of two rules that share one either may stand for both.
const RULES_TOLD_APART: u64 = (1 << 23) - 1;

/// The kind of a declared link: one for each tenth of its strength.
fn kind_of_declared(strength: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 1..=11")]
    let tenth = (strength * 10.0) as u32;
    1 + tenth.min(10)
}

/// The kind of a link that the template in this place makes.
fn kind_of_made(rule: RuleId, place: u8) -> u32 {
    // From 1 on, as numbers of rules are.
    let number = u32::try_from(rule.0.saturating_sub(1) % RULES_TOLD_APART).unwrap_or(0);
    (1 + number) * KINDS_A_RULE + u32::from(place)
}

impl From<Edge<'_>> for Link {
    fn from(edge: Edge<'_>) -> Link {
        let Edge { keyspace, key, strength, origin, .. } = edge;
        Link { keyspace, key: key.concat(), strength, origin }
    }
}

impl<'a> From<&'a Link> for Edge<'a> {
    fn from(link: &'a Link) -> Edge<'a> {
        let kind =
            if link.origin == Origin::Declared { kind_of_declared(link.strength) } else { KIND_LEARNED };
        Edge { origin: link.origin, kind, ..LinkRef::from(link).into() }
    }
}

impl<'a> From<LinkRef<'a>> for Edge<'a> {
    fn from(link: LinkRef<'a>) -> Edge<'a> {
        let LinkRef { keyspace, key, strength } = link;
        let kind = kind_of_declared(strength);
        Edge { keyspace, key: [key, &[], &[]], strength, origin: Origin::Declared, kind }
    }
}

/// Whose partners are asked for, and which of them.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    keyspace: u32,
    key: &'a [u8],
    limit: usize,
    strength_min: f64,
}

impl<'a> Asked<'a> {
    /// Puts declared links and what rules make into one order. Both are in it, and no key is in one of them twice.
    fn merge(
        self,
        declared: impl Iterator<Item = LinkRef<'a>> + Clone,
        made: impl Iterator<Item = Made<'a>>,
        mut found: impl FnMut(Edge<'a>),
    ) {
        let is_wanted = |made: &Made<'_>| made.strength >= self.strength_min && !made.partner.is(self.key);
        let mut next_declared = declared.clone().filter(|link| self.is_other(link)).peekable();
        let mut next_made = made.filter(is_wanted).peekable();
        let mut left = self.limit;
        while left > 0 {
            let edge = match (next_declared.peek(), next_made.peek()) {
                (None, None) => break,
                (Some(link), Some(made)) if !self.comes_before(made, link) => {
                    next_declared.next().map(Edge::from)
                }
                (Some(_), None) => next_declared.next().map(Edge::from),
                (_, Some(_)) => {
                    // Looked up here, where few get to, and not for each link of a hub.
                    let is_new = |made: &Made<'_>| !declared.clone().any(|link| self.is_same(made, &link));
                    next_made.next().filter(is_new).map(|made| self.edge(made))
                }
            };
            if let Some(edge) = edge {
                found(edge);
                left -= 1;
            }
        }
    }

    /// Those of declared links, which come strongest first, that count.
    fn strong<'b>(
        self,
        declared: impl Iterator<Item = LinkRef<'b>> + Clone,
    ) -> impl Iterator<Item = LinkRef<'b>> + Clone {
        declared.take_while(move |link| link.strength >= self.strength_min)
    }

    /// Whether a link is to another key than the one that is asked about.
    fn is_other(self, link: &LinkRef<'_>) -> bool {
        // Mostly the ends tell, which needs no call.
        let is_alike =
            link.key.len() == self.key.len() && link.key.last_chunk::<8>() == self.key.last_chunk();
        link.keyspace != self.keyspace || !is_alike || link.key != self.key
    }

    /// Whether a declared link is to the key that a rule makes.
    fn is_same(self, made: &Made<'_>, link: &LinkRef<'_>) -> bool {
        self.keyspace == link.keyspace && made.partner.is(link.key)
    }

    /// Whether what a rule makes is ahead of a declared link to another key: the order of [`Links`].
    fn comes_before(self, made: &Made<'_>, link: &LinkRef<'_>) -> bool {
        let strengths = link.strength.total_cmp(&made.strength);
        let keys = || self.keyspace.cmp(&link.keyspace).then_with(|| made.partner.cmp_key(link.key));
        strengths.then_with(keys).is_lt()
    }

    fn edge(self, made: Made<'a>) -> Edge<'a> {
        let Made { partner, strength, rule, place } = made;
        let kind = kind_of_made(rule, place);
        Edge { keyspace: self.keyspace, key: partner.parts(), strength, origin: Origin::Rule, kind }
    }
}

/// What came of asking for partners, counted by whoever asks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct EntanglementStats {
    /// How often a key was asked for together with its partners.
    pub requests: u64,
    /// How many partners were looked up for those.
    pub partners_requested: u64,
    /// How many of them had a value.
    pub partners_found: u64,
}

impl EntanglementStats {
    /// The share of the partners looked up that had a value, in `0.0..=1.0`; `None` before the first look-up.
    pub fn efficiency(&self) -> Option<f64> {
        (self.partners_requested > 0).then(|| self.partners_found as f64 / self.partners_requested as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Entanglement {
        let mut rules = Rules::new();
        rules.add("user:{id}", &["profile:{id}", "cart:{id}"], 0.5).unwrap();
        rules.add("user:{id}", &["cart:{id}", "user:{id}"], 0.7).unwrap();
        Entanglement::new(rules)
    }

    fn links(declared: &[(u32, &str, f64)]) -> Links {
        let mut links = Links::new();
        for (keyspace, key, strength) in declared {
            links.declare(*keyspace, key.as_bytes(), *strength).unwrap();
        }
        links
    }

    #[track_caller]
    fn check(declared: &[(u32, &str, f64)], limit: usize, strength_min: f64, expected: &[&str]) {
        let found = graph().partners(0, b"user:1", Some(&links(declared)), limit, strength_min);
        let show = |link: Link| {
            let key = String::from_utf8(link.key).unwrap();
            format!("{}/{key} {} {:?}", link.keyspace, link.strength, link.origin)
        };
        assert_eq!(found.into_iter().map(show).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_stronger_rule_stands_and_a_key_is_not_its_own_partner() {
        check(&[], 10, 0.1, &["0/cart:1 0.7 Rule", "0/profile:1 0.5 Rule"]);
        check(&[(0, "user:1", 1.0)], 10, 0.1, &["0/cart:1 0.7 Rule", "0/profile:1 0.5 Rule"]);
        let elsewhere = ["1/user:1 1 Declared", "0/cart:1 0.7 Rule", "0/profile:1 0.5 Rule"];
        check(&[(1, "user:1", 1.0)], 10, 0.1, &elsewhere);
    }

    #[test]
    fn without_rules_the_wanted_links_are_all_partners() {
        let declared =
            [(0, "user:1", 1.0), (0, "a", 0.9), (1, "user:1", 0.9), (0, "b", 0.5), (0, "user:2", 0.05)];
        let declared = links(&declared);
        let bytes = declared.to_bytes();
        let stored = StoredLinks::new(&bytes).unwrap();
        for (limit, strength_min) in [(10, 0.1), (10, 0.0), (2, 0.1), (0, 0.0), (10, 0.9), (10, f64::NAN)] {
            let all = Entanglement::default().partners(0, b"user:1", Some(&declared), limit, strength_min);
            let wanted = wanted_links(0, b"user:1", stored, limit, strength_min);
            assert_eq!(wanted.map(Link::from).collect::<Vec<_>>(), all, "{limit} of {strength_min}");
        }
    }

    #[test]
    fn a_declared_link_stands_even_where_it_is_weaker() {
        check(&[(0, "cart:1", 0.2)], 10, 0.1, &["0/profile:1 0.5 Rule", "0/cart:1 0.2 Declared"]);
        let other = ["0/cart:1 0.7 Rule", "0/profile:1 0.5 Rule", "9/cart:1 0.2 Declared"];
        check(&[(9, "cart:1", 0.2)], 10, 0.1, &other);
    }

    #[test]
    fn a_declared_link_below_the_minimum_does_not_hide_a_rule() {
        check(&[(0, "cart:1", 0.0)], 10, 0.1, &["0/cart:1 0.7 Rule", "0/profile:1 0.5 Rule"]);
    }

    #[test]
    fn ties_go_by_keyspace_and_key_whatever_the_origin() {
        let declared = [(0, "q", 0.5), (0, "a", 0.5), (1, "a", 0.5)];
        let expected = [
            "0/cart:1 0.7 Rule",
            "0/a 0.5 Declared",
            "0/profile:1 0.5 Rule",
            "0/q 0.5 Declared",
            "1/a 0.5 Declared",
        ];
        check(&declared, 10, 0.1, &expected);
        check(&declared, 2, 0.1, &expected[..2]);
        check(&declared, 3, 0.1, &expected[..3]);
        check(&declared, 0, 0.1, &[]);
    }

    #[test]
    fn the_minimum_itself_counts_and_a_minimum_that_is_no_number_asks_for_nothing() {
        check(&[(0, "x", 0.6)], 10, 0.6, &["0/cart:1 0.7 Rule", "0/x 0.6 Declared"]);
        check(&[(0, "x", 0.6)], 10, 1.0, &[]);
        check(&[(0, "x", 0.6)], 10, f64::NAN, &[]);
    }

    #[test]
    fn efficiency_is_found_over_requested() {
        assert_eq!(EntanglementStats::default().efficiency(), None);
        let stats = EntanglementStats { requests: 2, partners_requested: 8, partners_found: 6 };
        assert_eq!(stats.efficiency(), Some(0.75));
    }
}
