//! Changes that depend on what a key has: read, decide outside of all locks, and write if nothing has changed since.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::limits;
use crate::read::Found;
use crate::space::Space;
use crate::types::{CasOutcome, Seq, Update, Value};
use crate::write::{Change, Hints, Op};

/// What is to become of a key, and what its caller is answered then.
pub(super) enum Decision<'a, R> {
    /// Nothing is written.
    Leave(R),
    /// The deadline is in Unix milliseconds; 0 for none.
    Put {
        value: Cow<'a, [u8]>,
        deadline: u64,
        answer: R,
    },
    Delete(R),
}

impl Space<'_> {
    /// Lets `decide` say what becomes of a key, given what it has; again, if that changes before it is written.
    /// Returns the decision's answer, with the sequence of what was written, if anything was; if not, what was found is as
    /// durable as a write would be.
    pub(super) fn decide<'v, R>(
        self,
        key: &[u8],
        mut decide: impl FnMut(Option<Found>) -> Result<Decision<'v, R>>,
    ) -> Result<(R, Option<Seq>)> {
        limits::check_key(key)?;
        self.check_writable()?;
        let (shared, keyspace) = (self.shared, self.keyspace);
        loop {
            let (found, witness) = shared.find_witnessed(self.key(key))?;
            let found_seq = found.as_ref().map(|found| found.seq);
            let decision = decide(found)?;
            let change = match &decision {
                Decision::Leave(_) => None,
                Decision::Put { value, deadline, .. } => {
                    limits::check_value(value)?;
                    Some(Change::Put { value, deadline: *deadline, hints: Hints::default() })
                }
                Decision::Delete(_) => Some(Change::Delete),
            };
            let written = match change {
                None => None,
                Some(change) => {
                    let op = Op { keyspace, key, change };
                    let Some(written) = shared.write_one(op, Some(&witness), self.own_terms())? else {
                        shared.counters.conflicts.add(1);
                        continue;
                    };
                    Some(Seq(written.seq))
                }
            };
            return Ok(match decision {
                Decision::Leave(answer) => {
                    shared.nothing_written(found_seq, self.own_terms())?;
                    (answer, None)
                }
                Decision::Put { answer, .. } => {
                    shared.counters.puts.add(1);
                    (answer, written)
                }
                Decision::Delete(answer) => {
                    shared.counters.deletes.add(1);
                    (answer, written)
                }
            });
        }
    }

    pub(crate) fn put_if_absent(self, key: &[u8], value: &[u8]) -> Result<CasOutcome> {
        self.swap_if(key, Some(value), |found| found.is_none())
    }

    pub(crate) fn compare_and_swap(
        self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<CasOutcome> {
        self.swap_if(key, new, |found| found.map(|found| &found.value[..]) == expected)
    }

    pub(crate) fn compare_and_swap_seq(
        self,
        key: &[u8],
        expected: Option<Seq>,
        new: Option<&[u8]>,
    ) -> Result<CasOutcome> {
        self.swap_if(key, new, |found| found.map(|found| Seq(found.seq)) == expected)
    }

    fn swap_if(
        self,
        key: &[u8],
        new: Option<&[u8]>,
        is_expected: impl Fn(Option<&Found>) -> bool,
    ) -> Result<CasOutcome> {
        new.map_or(Ok(()), limits::check_value)?;
        let (conflict, written) = self.decide(key, |found| {
            Ok(match new {
                _ if !is_expected(found.as_ref()) => Decision::Leave(found.map(|found| found.value)),
                Some(value) => Decision::Put { value: Cow::Borrowed(value), deadline: 0, answer: None },
                None => Decision::Delete(None),
            })
        })?;
        Ok(written.map_or(CasOutcome::Conflict(conflict), CasOutcome::Swapped))
    }

    pub(crate) fn update(
        self,
        key: &[u8],
        mut update: impl FnMut(Option<&[u8]>) -> Update,
    ) -> Result<Option<Value>> {
        let (after, _) = self.decide(key, |found| {
            let deadline = found.as_ref().map_or(0, |found| found.deadline);
            Ok(match update(found.as_ref().map(|found| &found.value[..])) {
                Update::Keep => Decision::Leave(found.map(|found| found.value)),
                Update::Delete if found.is_none() => Decision::Leave(None),
                Update::Delete => Decision::Delete(None),
                Update::Put(value) => {
                    let answer = Some(Value::from(&value[..]));
                    Decision::Put { value: Cow::Owned(value), deadline, answer }
                }
            })
        })?;
        Ok(after)
    }

    pub(crate) fn increment(self, key: &[u8], by: i64) -> Result<i64> {
        let (sum, _) = self.decide(key, |found| {
            let present = found.as_ref().map_or(Ok(0), |found| number(&found.value))?;
            let answer = present.checked_add(by).ok_or_else(|| {
                Error::invalid("the sum is beyond what fits in 64 bits; nothing was written")
            })?;
            let deadline = found.map_or(0, |found| found.deadline);
            Ok(Decision::Put { value: Cow::Owned(answer.to_string().into_bytes()), deadline, answer })
        })?;
        Ok(sum)
    }
}

/// The number that a decimal string stands for.
fn number(value: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::invalid("the value is no decimal number that fits in 64 bits"))
}
