//! Keys in order, each at most once: a doubly linked list over numbers.

const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Order {
    links: Vec<(u32, u32)>,
    inside: Vec<bool>,
    first: u32,
    last: u32,
    len: usize,
}

impl Order {
    pub(crate) fn new(keys: usize) -> Order {
        Order { links: vec![(NONE, NONE); keys], inside: vec![false; keys], first: NONE, last: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, key: u32) -> bool {
        self.inside[key as usize]
    }

    /// The key that came first.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The key that came next after one that is inside.
    pub(crate) fn behind(&self, key: u32) -> Option<u32> {
        let behind = self.links[key as usize].1;
        (behind != NONE).then_some(behind)
    }

    /// Puts a key behind all others; one that is in already moves.
    pub(crate) fn push(&mut self, key: u32) {
        self.remove(key);
        self.links[key as usize] = (self.last, NONE);
        match self.last {
            NONE => self.first = key,
            last => self.links[last as usize].1 = key,
        }
        self.last = key;
        self.inside[key as usize] = true;
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<u32> {
        let key = self.oldest()?;
        self.remove(key);
        Some(key)
    }

    pub(crate) fn remove(&mut self, key: u32) -> bool {
        if !self.inside[key as usize] {
            return false;
        }
        let (before, behind) = self.links[key as usize];
        match before {
            NONE => self.first = behind,
            before => self.links[before as usize].1 = behind,
        }
        match behind {
            NONE => self.last = before,
            behind => self.links[behind as usize].0 = before,
        }
        self.inside[key as usize] = false;
        self.len -= 1;
        true
    }
}
