//! Greedy dual size frequency: Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching
//! Policy", HP Labs 1998, with the same cost for every miss.

use std::collections::BTreeSet;

use super::sized::{Hits, counted};

/// Shares of requests and of bytes that hit.
pub(crate) fn gdsf(budget: u64, unique: usize, keys: &[u32], sizes: &[u32]) -> [f64; 2] {
    // Priorities are positive, so their bits are in order as they are.
    let mut queue: BTreeSet<(u64, u32)> = BTreeSet::new();
    let mut held = vec![None::<(u64, u64, u64)>; unique];
    let (mut used, mut inflation, mut hits) = (0, 0.0_f64, Hits::default());
    for (&key, &size) in keys.iter().zip(sizes) {
        let size = counted(size);
        let known = held[key as usize].take();
        hits.ask(known.is_some(), size);
        let mut uses = 1;
        if let Some((priority, former, former_uses)) = known {
            queue.remove(&(priority, key));
            used -= former;
            uses = former_uses + 1;
        }
        if size > budget {
            continue;
        }
        while used + size > budget {
            let Some((priority, victim)) = queue.pop_first() else { break };
            inflation = f64::from_bits(priority);
            used -= held[victim as usize].take().map_or(0, |(_, size, _)| size);
        }
        let priority = (inflation + uses as f64 / size as f64).to_bits();
        queue.insert((priority, key));
        held[key as usize] = Some((priority, size, uses));
        used += size;
    }
    hits.shares()
}
