//! Gravity: which entries are worth their memory, and which fall to a level below.

/// What is known of an entry that memory holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Body {
    /// How often it was used, each use counting half as much after a half-life; or how often it is expected to be used
    /// ([`Gravity::pull`](crate::Gravity::pull)): any number that is comparable. Above 0, or sizes tell nothing apart.
    pub mass: f64,
    /// Bytes of memory that it takes.
    pub bytes: usize,
    /// Bytes of it that packing (compressing) it would save; 0 if it is packed already, or cannot be.
    pub saved_by_packing: usize,
}

/// What reads from the levels cost, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadCosts {
    /// A read of a value in memory, as it was written.
    pub hot: f64,
    /// What unpacking adds, for each byte that packing saved.
    pub unpack_byte: f64,
    /// A read from a layer on the disk.
    pub cold: f64,
}

/// How an entry falls to a level below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fall {
    /// Hot to warm: it stays in memory, packed.
    Pack,
    /// To cold: it leaves memory.
    Leave,
}

/// The cheapest way in which an entry falls, and what it is worth to keep it from falling: what its reads would cost more
/// for each byte that is gained, in nanoseconds a byte.
///
/// `worth = mass x (cost of the level below - cost of this level) / bytes`. Letting those fall that are worth least is the
/// greedy solution of the knapsack problem ([Dantzig 1957](https://doi.org/10.1287/opre.5.2.266)); the worth of what fell
/// last is the price of memory.
///
/// ```
/// use warp_physics::{Body, Fall, ReadCosts, fall};
///
/// let costs = ReadCosts { hot: 100.0, unpack_byte: 0.5, cold: 20_000.0 };
/// let often = Body { mass: 40.0, bytes: 4200, saved_by_packing: 3000 };
/// let seldom = Body { mass: 1.0, ..often };
/// assert_eq!(fall(often, costs).0, Fall::Pack);
/// assert!(fall(seldom, costs).1 < fall(often, costs).1);
/// ```
#[must_use]
pub fn fall(body: Body, costs: ReadCosts) -> (Fall, f64) {
    let mass = body.mass;
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    let (bytes, saved) = (body.bytes.max(1) as f64, body.saved_by_packing as f64);
    let leave = mass * (costs.cold - costs.hot).max(1.0) / bytes;
    if body.saved_by_packing == 0 {
        return (Fall::Leave, leave);
    }
    let pack = mass * costs.unpack_byte;
    // What it saves of memory goes for the cost of unpacking; below that the rest is worth what the disk costs more.
    let rest =
        mass * (costs.cold - costs.hot - costs.unpack_byte * saved).max(1.0) / (bytes - saved).max(1.0);
    if pack < rest { (Fall::Pack, pack) } else { (Fall::Leave, leave) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: ReadCosts = ReadCosts { hot: 100.0, unpack_byte: 0.5, cold: 50_000.0 };

    #[test]
    fn worth_rises_with_mass_and_falls_with_size() {
        let body = Body { mass: 3.0, bytes: 1000, saved_by_packing: 0 };
        let worth = |body| fall(body, COSTS).1;
        assert!(worth(Body { mass: 6.0, ..body }) > worth(body));
        assert!(worth(Body { bytes: 2000, ..body }) < worth(body));
    }

    #[test]
    fn what_packs_well_is_packed_before_it_leaves() {
        let body = Body { mass: 5.0, bytes: 4000, saved_by_packing: 2000 };
        let (way, pack) = fall(body, COSTS);
        assert_eq!(way, Fall::Pack);
        let (way, leave) = fall(Body { bytes: 2000, saved_by_packing: 0, ..body }, COSTS);
        assert_eq!(way, Fall::Leave);
        assert!(pack < leave, "packing {pack} comes before leaving {leave}");
    }

    #[test]
    fn packing_does_not_pay_where_layers_are_as_fast() {
        let costs = ReadCosts { cold: 300.0, ..COSTS };
        assert_eq!(fall(Body { mass: 5.0, bytes: 4000, saved_by_packing: 2000 }, costs).0, Fall::Leave);
    }
}
