//! The bytes in which rules are stored: `docs/format/stored.md`, "Rules".

use super::{RULES_MAX, Rule, RuleError, RuleId, Rules, TEMPLATES_MAX, parse_rule};
use crate::bytes::{Reader, len_u16, len_u32};
use crate::strength::BadStrength;
use crate::template::TEMPLATE_BYTES_MAX;

/// The first byte of stored rules; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;
/// Version, next id and count.
const HEADER_BYTES: usize = 1 + 8 + 4;
/// Id, strength and the number of partners; the pattern and the partners follow, each after its length.
const RULE_HEADER_BYTES: usize = 8 + 8 + 2;
/// The length before a template.
const TEMPLATE_HEADER_BYTES: usize = 2;

// All rules are one stored value, which may have 1 GiB.
const RULE_BYTES_MAX: usize =
    RULE_HEADER_BYTES + (1 + TEMPLATES_MAX) * (TEMPLATE_HEADER_BYTES + TEMPLATE_BYTES_MAX);
const _: () = assert!(HEADER_BYTES + RULES_MAX * RULE_BYTES_MAX < 1 << 30);
// Counts and lengths are stored in 16 bits, and the number of rules in 32.
const _: () = assert!(RULES_MAX <= u32::MAX as usize);
const _: () = assert!(TEMPLATES_MAX <= u16::MAX as usize);
const _: () = assert!(TEMPLATE_BYTES_MAX <= u16::MAX as usize);

impl Rules {
    /// The bytes to store. Equal rules give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.next_id.to_le_bytes());
        out.extend(len_u32(self.rules.len()).to_le_bytes());
        for rule in &self.rules {
            out.extend(rule.id.0.to_le_bytes());
            out.extend(rule.strength.to_le_bytes());
            out.extend(len_u16(rule.partners.len()).to_le_bytes());
            for template in std::iter::once(&rule.pattern).chain(&rule.partners) {
                let text = template.as_bytes();
                out.extend(len_u16(text.len()).to_le_bytes());
                out.extend(text);
            }
        }
        out
    }

    /// Reads what [`Rules::to_bytes`] made. Whatever the bytes are, memory stays within a small multiple of
    /// their number.
    ///
    /// # Errors
    /// [`BadRules`] for any bytes that `to_bytes` does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Rules, BadRules> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok_or(BadRules::Cut)?;
        if version != VERSION {
            return Err(BadRules::UnknownVersion(version));
        }
        let next_id = reader.u64().ok_or(BadRules::Cut)?;
        let count = reader.u32().ok_or(BadRules::Cut)?;
        if count as usize > RULES_MAX {
            return Err(BadRules::TooMany { count });
        }
        let mut rules: Vec<Rule> = Vec::with_capacity((reader.len() / RULE_HEADER_BYTES).min(count as usize));
        let mut free_id = 1;
        for index in 0..count {
            let rule = read_rule(&mut reader, index)?;
            if rule.id.0 < free_id || rule.id.0 >= next_id {
                return Err(BadRules::BadId { index, id: rule.id });
            }
            free_id = rule.id.0 + 1; // Below or equal to `next_id`, so that it cannot overflow.
            rules.push(rule);
        }
        if reader.len() > 0 {
            return Err(BadRules::LeftOver { bytes: reader.len() });
        }
        if next_id == 0 {
            return Err(BadRules::NoNextId);
        }
        Ok(Rules::of(rules, next_id))
    }
}

/// What is wrong with bytes that should be rules.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRules {
    /// The first byte names a format that this version does not know.
    #[error("rules in the unknown format {0}")]
    UnknownVersion(u8),
    /// The bytes end within a field.
    #[error("rules are cut off")]
    Cut,
    /// There are bytes after the last rule.
    #[error("{bytes} bytes after the last rule")]
    LeftOver {
        /// How many there are.
        bytes: usize,
    },
    /// The count is more than [`RULES_MAX`].
    #[error("{count} rules; the most is {RULES_MAX}")]
    TooMany {
        /// The count.
        count: u32,
    },
    /// A rule holds what cannot be added.
    #[error("rule {index} is not valid")]
    Invalid {
        /// Which, from 0.
        index: u32,
        /// What is wrong with it.
        #[source]
        source: RuleError,
    },
    /// A rule's id is not above its predecessor's, or not below the next id.
    #[error("rule {index} has the id {id}, which is out of order")]
    BadId {
        /// Which, from 0.
        index: u32,
        /// Its id.
        id: RuleId,
    },
    /// The next id is 0, which names no rule.
    #[error("the next id is 0")]
    NoNextId,
}

fn read_rule(reader: &mut Reader<'_>, index: u32) -> Result<Rule, BadRules> {
    let id = RuleId(reader.u64().ok_or(BadRules::Cut)?);
    let strength = reader.f64().ok_or(BadRules::Cut)?;
    let count = reader.u16().ok_or(BadRules::Cut)?;
    let invalid = |source: RuleError| BadRules::Invalid { index, source };
    let pattern = read_template(reader)?;
    // A count beyond the limit is refused before its templates are read.
    if usize::from(count) > TEMPLATES_MAX {
        return Err(invalid(RuleError::TooManyPartners { count: count.into() }));
    }
    let partners = (0..count).map(|_| read_template(reader)).collect::<Result<Vec<_>, _>>()?;
    let rule = parse_rule(id, pattern, &partners, strength).map_err(invalid)?;
    if rule.strength.to_bits() != strength.to_bits() {
        // A negative zero, which is never written.
        return Err(invalid(BadStrength { strength }.into()));
    }
    Ok(rule)
}

fn read_template<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], BadRules> {
    let bytes = reader.u16().ok_or(BadRules::Cut)?;
    reader.bytes(bytes.into()).ok_or(BadRules::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the fields of the first of [`two`] begin.
    const ID: usize = HEADER_BYTES;
    const STRENGTH: usize = ID + 8;
    const PARTNERS: usize = STRENGTH + 8;
    const PATTERN: usize = ID + RULE_HEADER_BYTES + TEMPLATE_HEADER_BYTES;

    fn two() -> Rules {
        let mut rules = Rules::new();
        rules.add("a:{id}", &["b:{id}"], 0.5).unwrap();
        rules.add("c:{id}", &["d:{id}", "e:{id}"], 0.25).unwrap();
        rules
    }

    #[test]
    fn rules_come_back_and_match_as_before() {
        let mut rules = two();
        rules.remove(RuleId(2));
        let again = Rules::from_bytes(&rules.to_bytes()).unwrap();
        assert_eq!(again, rules);
        let mut found = Vec::new();
        again.partners_of(b"a:1", &mut found);
        assert_eq!(found, [(b"b:1".to_vec(), 0.5)]);
        assert_eq!(again.next_id, 3, "an id that was used up stays so");
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let good = two().to_bytes();
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            Rules::from_bytes(&bytes)
        };
        assert_eq!(changed(0, &[0]), Err(BadRules::UnknownVersion(0)));
        assert_eq!(changed(9, &[0xff; 4]), Err(BadRules::TooMany { count: u32::MAX }));
        let second = RULE_HEADER_BYTES + 3 * (TEMPLATE_HEADER_BYTES + "c:{id}".len());
        assert_eq!(changed(9, &[1]), Err(BadRules::LeftOver { bytes: second }));
        for id in [0, 2, 3, u64::MAX] {
            let index = u32::from(id == 2); // 2 is free for the first rule, and then taken for the second.
            let id = if id == 2 { RuleId(2) } else { RuleId(id) };
            assert_eq!(changed(ID, &id.0.to_le_bytes()), Err(BadRules::BadId { index, id }));
        }
        let invalid = |found: Result<Rules, BadRules>| match found {
            Err(BadRules::Invalid { index: 0, source }) => source,
            other => panic!("{other:?}"),
        };
        for strength in [f64::NAN, -0.1, -0.0] {
            let found = invalid(changed(STRENGTH, &strength.to_le_bytes()));
            assert!(matches!(found, RuleError::BadStrength(_)), "{strength}: {found:?}");
        }
        assert_eq!(invalid(changed(PARTNERS, &[0])), RuleError::NoPartners);
        assert_eq!(invalid(changed(PARTNERS, &[0xff; 2])), RuleError::TooManyPartners { count: 0xffff });
        assert!(matches!(invalid(changed(PATTERN, b"a:[id]")), RuleError::NoId { .. }));
        for len in 0..good.len() {
            assert_eq!(Rules::from_bytes(&good[..len]), Err(BadRules::Cut), "cut to {len}");
        }
    }

    #[test]
    fn the_next_id_is_never_zero() {
        let mut bytes = Rules::new().to_bytes();
        bytes[1..9].fill(0);
        assert_eq!(Rules::from_bytes(&bytes), Err(BadRules::NoNextId));
    }

    #[test]
    fn rules_without_an_id_left_take_no_more() {
        let mut bytes = Rules::new().to_bytes();
        bytes[1..9].fill(0xff);
        let mut rules = Rules::from_bytes(&bytes).unwrap();
        assert_eq!(rules.add("a{id}", &["b{id}"], 0.5), Err(RuleError::TooManyRules));
    }
}
