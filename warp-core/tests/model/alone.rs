//! A table with nothing below it is a map, from which entries may be thrown out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use warp_core::{Entry, Leaving, NewValue, Table, Value, slot_of};

use super::{
    KEYS, Name, SHARDS, config, former_of, found, hash_of, key_ref, len, name, packed, parts, plain,
    some_keys, table,
};

#[derive(Debug, Clone)]
enum Op {
    Put { key: u8, len: usize, deadline: u64 },
    Remove { key: u8 },
    Expire { key: u8, now: u64 },
    ThrowOut { keys: Vec<u8> },
    Clear { keyspace: u32 },
    MoveSlot { key: u8, to: u16 },
    Pack { key: u8 },
    Tick,
    Tidy,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    prop_oneof![
        12 => (key(), len(), 0..3_u64).prop_map(|(key, len, deadline)| Op::Put { key, len, deadline }),
        6 => key().prop_map(|key| Op::Remove { key }),
        3 => (key(), 0..3_u64).prop_map(|(key, now)| Op::Expire { key, now }),
        3 => some_keys().prop_map(|keys| Op::ThrowOut { keys }),
        1 => (0..2_u32).prop_map(|keyspace| Op::Clear { keyspace }),
        2 => (key(), 0..SHARDS).prop_map(|(key, to)| Op::MoveSlot { key, to }),
        3 => key().prop_map(|key| Op::Pack { key }),
        1 => Just(Op::Tick),
        1 => Just(Op::Tidy),
    ]
}

fn apply(table: &Table, model: &mut BTreeMap<Name, Entry>, seq: u64, op: Op) {
    match op {
        Op::Put { key, len, deadline } => {
            let (hash, name) = name(key);
            let entry = Entry { value: Some(Value::from(vec![key; len])), seq, deadline };
            let former = table.put(key_ref(hash, &name), &vec![key; len], seq, deadline).unwrap();
            assert_eq!(former.map(parts), model.insert(name, entry).as_ref().map(former_of));
        }
        Op::Remove { key } => {
            let (hash, name) = name(key);
            let former = table.lock(hash).remove(key_ref(hash, &name));
            assert_eq!(former.map(parts), model.remove(&name).as_ref().map(former_of));
        }
        Op::Expire { key, now } => {
            let (hash, name) = name(key);
            let is_due = model.get(&name).is_some_and(|entry| entry.is_expired(now));
            assert_eq!(table.lock(hash).expire(key_ref(hash, &name), now, false), Ok(is_due));
            model.retain(|other, _| !is_due || *other != name);
        }
        Op::ThrowOut { keys } => {
            let names: Vec<Name> = keys.into_iter().map(|key| name(key).1).collect();
            let leaving: Vec<Leaving> = names
                .iter()
                .filter_map(|name| Some(Leaving { hash: hash_of(name), seq: model.get(name)?.seq }))
                .collect();
            let before = model.len();
            model.retain(|name, _| !names.contains(name));
            assert_eq!(table.evict(&leaving).0, before - model.len());
        }
        Op::Clear { keyspace } => {
            let before = model.len();
            model.retain(|name, _| name.0 != keyspace);
            assert_eq!(table.remove_below(keyspace, seq), before - model.len());
        }
        Op::MoveSlot { key, to } => {
            let from = table.shard_of(name(key).0);
            assert_eq!(table.move_slot(slot_of(name(key).0), to), from);
        }
        Op::Pack { key } => pack(table, model, key),
        Op::Tick => table.next_tick(),
        Op::Tidy => {
            table.shrink();
            table.discard_free();
        }
    }
}

fn pack(table: &Table, model: &BTreeMap<Name, Entry>, key: u8) {
    let (hash, name) = name(key);
    let Some(Entry { value: Some(value), seq, deadline }) = model.get(&name) else { return };
    let Some(len) = u32::try_from(value.len()).ok().filter(|len| *len > 0) else { return };
    let other = packed(value);
    let prepared = table.prepare(key_ref(hash, &name), NewValue::Packed(&other, len), *deadline).unwrap();
    assert!(table.lock(hash).reform(prepared, *seq));
}

fn check(table: &Table, model: &BTreeMap<Name, Entry>) {
    table.validate().unwrap();
    let mut seen = BTreeMap::new();
    table.for_each(|entry| {
        let name = (entry.keyspace(), entry.key().to_vec());
        assert_eq!(seen.insert(name, plain(entry)), None);
    });
    assert!(
        seen.iter()
            .map(|((keyspace, key), entry)| (*keyspace, &key[..], entry))
            .eq(model.iter().map(|((keyspace, key), entry)| (*keyspace, &key[..], entry)))
    );
    for (hash, name) in (0..KEYS).map(name) {
        assert_eq!(found(table, hash, &name).as_ref(), model.get(&name));
    }
    assert_eq!(table.len(), model.len());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_untracked_table_is_a_map(ops in prop::collection::vec(op(), 1..80)) {
        let table = table(false);
        let mut model = BTreeMap::new();
        for (seq, op) in (1..).zip(ops) {
            apply(&table, &mut model, seq, op);
            check(&table, &model);
        }
        prop_assert!(table.close_lists(|| u64::MAX).is_empty());
    }
}
