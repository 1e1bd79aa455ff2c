//! Belady's optimum, which knows what comes: it drops what is used again last, be it the newcomer.

use std::collections::BinaryHeap;

/// The largest share of requests that any cache of this capacity can hit.
pub(crate) fn optimum(capacity: usize, unique: usize, keys: &[u32]) -> f64 {
    let never = keys.len();
    let mut seen = vec![never; unique];
    let mut next = vec![never; keys.len()];
    for (place, &key) in keys.iter().enumerate().rev() {
        next[place] = std::mem::replace(&mut seen[key as usize], place);
    }
    // The next use of what is in; entries of the heap that say otherwise are out of date.
    let mut inside = vec![None::<usize>; unique];
    let mut heap = BinaryHeap::new();
    let (mut held, mut hits) = (0, 0_u64);
    for (&key, &next) in keys.iter().zip(&next) {
        let known = inside[key as usize].replace(next);
        heap.push((next, key));
        match known {
            Some(_) => hits += 1,
            None => held += 1,
        }
        while held > capacity {
            let Some((next, victim)) = heap.pop() else { break };
            if inside[victim as usize] == Some(next) {
                inside[victim as usize] = None;
                held -= 1;
            }
        }
    }
    hits as f64 / keys.len().max(1) as f64
}
