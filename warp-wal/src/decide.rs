//! What to do where a log cannot be read on: every case, in one table.
//!
//! | case | goes on | durable | content | recovery | decision |
//! |---|---|---|---|---|---|
//! | A | yes | any | any | Strict | `Corrupt`: nothing is missing, but something is damaged |
//! | B | yes | any | any | others | `GoOn` behind the damage, which is reported unless it may be a torn write |
//! | C | no | yes | any | Salvage | `Skip`: what is missing was durable; it is listed as lost |
//! | D | no | yes | any | others | `Corrupt`: what is missing was durable |
//! | E | no | no | no | any | `End`: the log ends here, and nothing lies beyond |
//! | F | no | no | yes | Strict | `Corrupt`: a torn tail |
//! | G | no | no | yes | others | `Trim`: a torn tail, dropped and reported |
//!
//! *Goes on*: no sequence that is needed is missing, since the next whole frame continues, or what is damaged
//! lies outside of what is needed. *Durable*: a watermark, the manifest, or a later open frame says that
//! the first missing sequence was durable. A later whole frame alone proves nothing: a power cut may keep
//! later sectors and lose earlier ones. *Content*: something other than blank space lies beyond.

use crate::options::Recovery;

/// What is known about the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    pub(crate) goes_on: bool,
    pub(crate) durable: bool,
    pub(crate) content: bool,
    pub(crate) recovery: Recovery,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Read on at the next whole frame; nothing is missing.
    GoOn,
    /// Read on at the next whole frame; what is missing is lost.
    Skip,
    /// The log ends here.
    End,
    /// The log ends here, and what lies beyond is dropped.
    Trim,
    /// Refuse the log.
    Corrupt,
}

/// A row: `None` is "any".
type Case = (char, Option<bool>, Option<bool>, Option<bool>, &'static [Recovery], Decision);

const ALL: &[Recovery] = &[Recovery::Strict, Recovery::TrimTornTail, Recovery::Salvage];
const CASES: [Case; 7] = [
    ('A', Some(true), None, None, &[Recovery::Strict], Decision::Corrupt),
    ('B', Some(true), None, None, &[Recovery::TrimTornTail, Recovery::Salvage], Decision::GoOn),
    ('C', Some(false), Some(true), None, &[Recovery::Salvage], Decision::Skip),
    ('D', Some(false), Some(true), None, &[Recovery::Strict, Recovery::TrimTornTail], Decision::Corrupt),
    ('E', Some(false), Some(false), Some(false), ALL, Decision::End),
    ('F', Some(false), Some(false), Some(true), &[Recovery::Strict], Decision::Corrupt),
    ('G', Some(false), Some(false), Some(true), &[Recovery::TrimTornTail, Recovery::Salvage], Decision::Trim),
];

fn matches(case: &Case, situation: &Situation) -> bool {
    let fits = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
    fits(case.1, situation.goes_on)
        && fits(case.2, situation.durable)
        && fits(case.3, situation.content)
        && case.4.contains(&situation.recovery)
}

/// The decision of the one case that matches.
pub(crate) fn decide(situation: &Situation) -> Decision {
    // The test below shows that one always matches; refusing is what harms least.
    CASES.iter().find(|case| matches(case, situation)).map_or(Decision::Corrupt, |case| case.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_case_matches_every_situation() {
        let mut used = String::new();
        for bits in 0..8 {
            for recovery in ALL {
                let situation = Situation {
                    goes_on: bits & 1 != 0,
                    durable: bits & 2 != 0,
                    content: bits & 4 != 0,
                    recovery: *recovery,
                };
                let found: String =
                    CASES.iter().filter(|case| matches(case, &situation)).map(|case| case.0).collect();
                assert_eq!(found.len(), 1, "{situation:?} matches {found:?}");
                used += &found;
            }
        }
        for case in &CASES {
            assert!(used.contains(case.0), "case {} is never used", case.0);
        }
    }

    #[test]
    fn what_was_durable_is_never_dropped_without_a_word() {
        for recovery in ALL {
            for content in [false, true] {
                let situation = Situation { goes_on: false, durable: true, content, recovery: *recovery };
                let wanted = if *recovery == Recovery::Salvage { Decision::Skip } else { Decision::Corrupt };
                assert_eq!(decide(&situation), wanted);
            }
        }
    }
}
