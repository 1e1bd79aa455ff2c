//! Files of what was learned, made up or damaged. Their format: `docs/format/advice.md`.

use warp_checkpoint::{Advice, AdviceSection, advice_name};
use warp_core::KeyRef;

use crate::common::{Machine, Random};

/// Keyspaces of made-up names: the default one, one of the test's, the engine's own, and one that there is not.
const KEYSPACES: [u32; 6] = [1, 1, 1, 2, 0, 9];
const LINKS_MAX: u64 = 4;
const CELLS: usize = 40;

/// Puts another file, or none, in the place of what was learned, or damages it. The engine is closed.
pub(crate) fn replace(machine: &Machine, random: &mut Random, keys: &[String]) {
    let dir = machine.disk.root();
    let numbers = warp_checkpoint::list_advice(&dir).unwrap();
    let Some(newest) = numbers.last().copied() else { return };
    match random.below(10) {
        0 => numbers.into_iter().for_each(|number| machine.disk.remove(&advice_name(number))),
        1 => {
            let bits = machine.disk.read(&advice_name(newest)).unwrap().len() as u64 * 8;
            (0..=random.below(8))
                .for_each(|_| machine.disk.flip_bit(&advice_name(newest), random.below(bits)));
        }
        2 => {
            let mut bytes = machine.disk.read(&advice_name(newest)).unwrap();
            bytes.truncate(random.below(bytes.len() as u64) as usize);
            machine.disk.write(&advice_name(newest), bytes);
        }
        3 => {}
        _ => {
            let manifest = warp_checkpoint::list(&dir).unwrap().pop().unwrap();
            let manifest = warp_checkpoint::load(&dir, manifest).unwrap();
            let section = |name: &str, bytes| AdviceSection { name: name.to_owned(), version: 1, bytes };
            let mut sections = vec![
                section("hot", hot_list(random, manifest.hash_seed, keys)),
                section("bell", partners(random, keys)),
                section("law", law(random)),
            ];
            if random.one_in(4) {
                // Whole, as far as checksums tell, and not what the part writes.
                let bytes = &mut sections[random.below(3) as usize].bytes;
                (0..=random.below(4)).for_each(|_| {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] = random.next() as u8;
                });
                bytes.truncate(bytes.len() - random.below(3) as usize);
            }
            let database_id = manifest.database_id ^ u128::from(random.one_in(16));
            let advice = Advice { number: newest + 1, database_id, time: 0, sections };
            warp_checkpoint::write_advice(&dir, &advice).unwrap();
        }
    }
}

/// A name of a key that there may be, or of one that there is not.
fn name(random: &mut Random, keys: &[String]) -> (u32, String) {
    let key = &keys[random.below(keys.len() as u64) as usize];
    let key = if random.one_in(8) { format!("no {key}") } else { key.clone() };
    (random.pick(&KEYSPACES), key)
}

/// Groups of the hashes of keys, in no order.
fn hot_list(random: &mut Random, hash_seed: u64, keys: &[String]) -> Vec<u8> {
    let groups: Vec<Vec<u64>> = (0..1 + random.below(5))
        .map(|_| {
            let hash = |random: &mut Random| {
                let (keyspace, key) = name(random, keys);
                KeyRef::new(hash_seed, keyspace, key.as_bytes()).hash
            };
            (0..random.below(200)).map(|_| hash(random)).collect()
        })
        .collect();
    let mut out: Vec<u8> = groups.iter().flatten().flat_map(|hash| hash.to_le_bytes()).collect();
    let (rows, mut hashes) = (out.len(), 0_usize);
    let back = |from: usize, to: usize| (to as i32 - from as i32).to_le_bytes();
    for group in &groups {
        out.extend((random.below(1_000) as u32).to_le_bytes());
        out.extend(back(out.len(), hashes));
        out.extend((group.len() as u32).to_le_bytes());
        hashes += size_of::<u64>() * group.len();
    }
    out.extend(back(out.len(), rows));
    out.extend((groups.len() as u32).to_le_bytes());
    out
}

/// Waits of some classes and lengths, as many as they may be.
fn law(random: &mut Random) -> Vec<u8> {
    let mut places: Vec<u16> = (0..random.below(500)).map(|_| random.below(96 * 184) as u16).collect();
    places.sort_unstable();
    places.dedup();
    let mut out = vec![1, 0];
    out.extend((1 + random.below(5_000)).to_le_bytes());
    out.extend(random.below(20_000).to_le_bytes());
    out.extend((places.len() as u32).to_le_bytes());
    for place in places {
        out.extend(place.to_le_bytes());
        (0..2).for_each(|_| out.extend(((10_000.0 * random.share()) as f32).to_le_bytes()));
    }
    out
}

/// Names, each a partner of some others, and certain to be read after them.
fn partners(random: &mut Random, keys: &[String]) -> Vec<u8> {
    let count = 10 + random.below(keys.len() as u64);
    let mut out = (count as u32).to_le_bytes().to_vec();
    for _ in 0..count {
        let (keyspace, key) = name(random, keys);
        out.extend(keyspace.to_le_bytes());
        out.extend((key.len() as u32).to_le_bytes());
        out.extend(key.bytes());
    }
    out.push(1);
    out.extend((count as u32).to_le_bytes());
    for _ in 0..CELLS {
        let made = 200.0 * random.share();
        out.extend((made as f32).to_le_bytes());
        out.extend(((made * (0.5 + random.share() / 2.0)) as f32).to_le_bytes());
    }
    out.extend(0_u32.to_le_bytes());
    for number in 0..count {
        out.push(1 + random.below(31) as u8);
        let links = random.below(LINKS_MAX + 1);
        out.push(links as u8);
        let first = 1 + random.below(count - LINKS_MAX);
        for link in 0..links {
            out.extend((((number + first + link) % count) as u32).to_le_bytes());
            out.push(1 + random.below(255) as u8);
        }
    }
    out
}
