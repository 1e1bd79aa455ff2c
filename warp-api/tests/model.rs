//! Random calls agree with a `BTreeMap`, across checkpoints, merges and restarts.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Machine, entries, small};
use proptest::prelude::*;
use warp_api::{CasOutcome, LogFormat, WriteBatch};

#[derive(Clone, Debug)]
enum Call {
    Put(u8, Vec<u8>),
    Get(u8),
    Delete(u8),
    Swap(u8, Option<u8>, Option<u8>),
    Batch(Vec<(u8, Option<u8>)>),
    MultiGet(Vec<u8>),
    Clear,
    Checkpoint,
    Pass(u16),
    Reopen { close: bool },
}

fn call() -> impl Strategy<Value = Call> {
    let key = || 0..24_u8;
    prop_oneof![
        8 => (key(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(key, value)| Call::Put(key, value)),
        6 => key().prop_map(Call::Get),
        4 => key().prop_map(Call::Delete),
        3 => (key(), any::<Option<u8>>(), any::<Option<u8>>()).prop_map(|(key, old, new)| Call::Swap(key, old, new)),
        3 => prop::collection::vec((key(), any::<Option<u8>>()), 0..6).prop_map(Call::Batch),
        2 => prop::collection::vec(key(), 0..6).prop_map(Call::MultiGet),
        1 => Just(Call::Clear),
        3 => Just(Call::Checkpoint),
        2 => (0..400_u16).prop_map(Call::Pass),
        2 => any::<bool>().prop_map(|close| Call::Reopen { close }),
    ]
}

fn check(calls: Vec<Call>, format: LogFormat) {
    let machine = Machine::new(1);
    let open = || machine.open(small().log_format(format));
    let mut engine = open();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for call in calls {
        match call {
            Call::Put(key, value) => {
                engine.put([key], &value).unwrap();
                model.insert(vec![key], value);
            }
            Call::Get(key) => {
                assert_eq!(engine.get([key]).unwrap().as_deref(), model.get(&[key][..]).map(Vec::as_slice));
            }
            Call::Delete(key) => {
                assert_eq!(engine.delete([key]).unwrap(), model.remove(&[key][..]).is_some())
            }
            Call::Swap(key, old, new) => {
                let (old, new) = (old.map(|byte| vec![byte]), new.map(|byte| vec![byte]));
                // Half of the expectations are made to hold.
                let old = if key % 2 == 0 { model.get(&[key][..]).cloned() } else { old };
                let outcome = engine.compare_and_swap([key], old.as_deref(), new.as_deref()).unwrap();
                let holds = model.get(&[key][..]) == old.as_ref();
                assert_eq!(matches!(outcome, CasOutcome::Swapped(_)), holds);
                match (holds, new) {
                    (false, _) => {}
                    (true, Some(new)) => drop(model.insert(vec![key], new)),
                    (true, None) => drop(model.remove(&[key][..])),
                }
            }
            Call::Batch(writes) => {
                let mut batch = WriteBatch::new();
                for (key, value) in writes {
                    match value {
                        Some(value) => {
                            batch.put([key], [value]);
                            model.insert(vec![key], vec![value]);
                        }
                        None => {
                            batch.delete([key]);
                            model.remove(&[key][..]);
                        }
                    }
                }
                engine.write(&batch).unwrap();
            }
            Call::MultiGet(keys) => {
                let keys: Vec<[u8; 1]> = keys.into_iter().map(|key| [key]).collect();
                let found = engine.multi_get(&keys).unwrap();
                let found: Vec<_> = found.iter().map(Option::as_deref).collect();
                let expected: Vec<_> =
                    keys.iter().map(|key| model.get(&key[..]).map(Vec::as_slice)).collect();
                assert_eq!(found, expected);
            }
            Call::Clear => {
                engine.clear().unwrap();
                model.clear();
            }
            Call::Checkpoint => drop(engine.checkpoint().unwrap()),
            Call::Pass(millis) => machine.pass(&engine, Duration::from_millis(u64::from(millis))),
            Call::Reopen { close } => {
                if close {
                    engine.close().unwrap();
                } else {
                    drop(engine);
                }
                engine = open();
            }
        }
        assert_eq!(engine.len().unwrap(), model.len() as u64);
    }
    assert_eq!(entries(&engine), model);
    assert!(engine.verify().unwrap().is_clean());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_agree_with_a_map(calls in prop::collection::vec(call(), 1..120), json in any::<bool>()) {
        check(calls, if json { LogFormat::Json } else { LogFormat::Binary });
    }
}
