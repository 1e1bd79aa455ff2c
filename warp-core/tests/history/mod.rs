//! Whether what threads saw of one key could have happened one call after the other.
//!
//! The search is that of [Wing and Gong 1993](https://doi.org/10.1006/jpdc.1993.1015), with the memory of
//! [Lowe 2017](https://doi.org/10.1002/cpe.3928): a set of calls that were put in order, together with the value that they
//! leave, is looked at once.

use std::collections::HashSet;

/// Calls of one history, so that a set of them is a word.
pub(crate) const CALLS_MAX: usize = u64::BITS as usize;

/// What a key may hold: the number that its value stands for.
pub(crate) type Held = Option<u64>;

/// A call, with what it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Put(u64),
    /// A read, and what it found.
    Get(Held),
    /// Whether there was something to delete.
    Delete(bool),
    /// A swap that found what it expected.
    Swapped {
        expected: Held,
        new: Held,
    },
    /// A swap that found something else.
    Refused {
        expected: Held,
        found: Held,
    },
}

/// A call and when it was made. A call that ended before another began comes before it; any two others may have
/// happened in either order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) call: Call,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Call {
    /// What the key holds after the call, if it may have been made when the key held `held`.
    fn applied(self, held: Held) -> Option<Held> {
        match self {
            Call::Put(value) => Some(Some(value)),
            Call::Get(found) => (found == held).then_some(held),
            Call::Delete(existed) => (existed == held.is_some()).then_some(None),
            Call::Swapped { expected, new } => (expected == held).then_some(new),
            Call::Refused { expected, found } => (found == held && found != expected).then_some(held),
        }
    }
}

/// Whether the events of one key, which held `first` before all of them, are linearizable.
pub(crate) fn is_linearizable(events: &[Event], first: Held) -> bool {
    assert!(events.len() <= CALLS_MAX, "a history of {} calls", events.len());
    let mut search = Search { events, looked_at: HashSet::new() };
    search.can_order_the_rest(0, first)
}

struct Search<'e> {
    events: &'e [Event],
    looked_at: HashSet<(u64, Held)>,
}

impl Search<'_> {
    /// `done` are the events that were put in order already, as bits; `held` is what they leave.
    fn can_order_the_rest(&mut self, done: u64, held: Held) -> bool {
        let rest = || self.events.iter().enumerate().filter(|(at, _)| done & 1 << at == 0);
        // Who is next began before any of the rest ended.
        let Some(first_end) = rest().map(|(_, event)| event.end).min() else { return true };
        if !self.looked_at.insert((done, held)) {
            return false;
        }
        for (at, event) in self.events.iter().enumerate() {
            if done & 1 << at == 0
                && event.start <= first_end
                && let Some(held) = event.call.applied(held)
                && self.can_order_the_rest(done | 1 << at, held)
            {
                return true;
            }
        }
        false
    }
}
