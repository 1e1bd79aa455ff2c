//! Belady's optimum, which knows what comes: it drops what is used again last, be it the newcomer.

use std::collections::BinaryHeap;

/// The largest share of requests that any cache of this capacity can hit.
pub(crate) fn optimum(capacity: usize, unique: usize, keys: &[u32]) -> f64 {
    let mut hits = 0_u64;
    foresee(capacity, unique, keys, |seen| hits += u64::from(seen == Foreseen::Hit));
    hits as f64 / keys.len().max(1) as f64
}

/// What the optimum does with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Foreseen {
    Hit,
    /// It was not there, and comes in.
    Admitted,
    /// It was not there, and what is there is used earlier.
    Refused,
}

/// Tells for one request after the other what the optimum does.
pub(crate) fn foresee(capacity: usize, unique: usize, keys: &[u32], mut each: impl FnMut(Foreseen)) {
    let next = next_uses(unique, keys);
    // The next use of what is in; entries of the heap that say otherwise are out of date.
    let mut inside = vec![None::<usize>; unique];
    let mut heap = BinaryHeap::new();
    let mut held = 0;
    for (&key, &next) in keys.iter().zip(&next) {
        let known = inside[key as usize].replace(next);
        heap.push((next, key));
        held += usize::from(known.is_none());
        while held > capacity {
            let Some((next, victim)) = heap.pop() else { break };
            if inside[victim as usize] == Some(next) {
                inside[victim as usize] = None;
                held -= 1;
            }
        }
        each(match (known, inside[key as usize]) {
            (Some(_), _) => Foreseen::Hit,
            (None, Some(_)) => Foreseen::Admitted,
            (None, None) => Foreseen::Refused,
        });
    }
}

/// The place of each request's next use, and the number of requests where there is none.
pub(super) fn next_uses(unique: usize, keys: &[u32]) -> Vec<usize> {
    let never = keys.len();
    let mut seen = vec![never; unique];
    let mut next = vec![never; keys.len()];
    for (place, &key) in keys.iter().enumerate().rev() {
        next[place] = std::mem::replace(&mut seen[key as usize], place);
    }
    next
}
