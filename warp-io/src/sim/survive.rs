//! What a power loss leaves of the operations that no sync had made durable.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::content::Content;
use super::random::Random;
use super::state::{DataOp, Entry, Folder, Inode, NameOp, Names, ROOT, State};

/// Which of the pending operations a crash leaves.
///
/// Pending are all writes, length changes and name changes that no successful sync has covered. They have one
/// order across all files and directories: the order they were made in. A file whose name does not survive is
/// gone whatever was synced of it, and so are all files in a directory whose name does not survive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Survival {
    /// None: only what was synced.
    Nothing,
    /// All: the process was killed, and the machine went on.
    Everything,
    /// Those up to a point that the seed chooses. The write at that point may be torn: cut at the edge of a
    /// 512-byte sector, or at any byte if it is no longer than one; if it made the file longer, the length may
    /// have survived without the bytes, which then are zeros or stale.
    Prefix {
        /// Chooses the point and the tear.
        seed: u64,
    },
    /// Any, in any combination across files and directories: the disk wrote them in an order of its own. Each
    /// write may be torn as with `Prefix`, or sector by sector.
    Subset {
        /// Chooses the operations and the tears.
        seed: u64,
    },
    /// Those whose place, in the order they were made, holds `true`. Operations behind the end of the list are
    /// lost. For trying all combinations; see
    /// [`SimDisk::pending_count_at`](crate::SimDisk::pending_count_at).
    Exactly(Vec<bool>),
}

impl Survival {
    /// One of an endless row of survivals, the most telling first: 0 is `Nothing`, 1 `Everything`, then a
    /// `Prefix` and a `Subset` in turn.
    #[must_use]
    pub fn seeded(seed: u64) -> Survival {
        match seed {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            seed if seed % 2 == 0 => Survival::Prefix { seed },
            seed => Survival::Subset { seed },
        }
    }
}

/// The smallest unit that a disk writes whole.
const SECTOR_BYTES: usize = 512;
/// Stale bytes of a file are taken from places that are multiples of this: where formats start their records,
/// so that what a reader meets looks as genuine as it can.
const STALE_STEP_BYTES: u64 = 64;

/// Makes the disk that is left.
pub(super) fn survivors(state: &State, survival: &Survival) -> State {
    let mut left = Left::of(state, survival);
    match survival {
        Survival::Nothing | Survival::Everything => {}
        Survival::Prefix { seed } => left.keep_prefix(state, &mut Random::new(*seed)),
        Survival::Subset { seed } => left.keep_subset(state, &mut Random::new(*seed)),
        Survival::Exactly(kept) => {
            for (operation, _) in pending(state).iter().zip(kept).filter(|(_, kept)| **kept) {
                left.keep(operation);
            }
        }
    }
    left.into_state(state)
}

/// How many operations no sync has covered.
pub(super) fn pending_count(state: &State) -> usize {
    pending(state).len()
}

struct Pending<'a> {
    stamp: u64,
    change: Change<'a>,
}

#[derive(Clone, Copy)]
enum Change<'a> {
    Data(u64, &'a DataOp),
    Name(u64, &'a NameOp),
}

/// All pending operations of a disk in the order they were made.
fn pending(state: &State) -> Vec<Pending<'_>> {
    let mut all = Vec::new();
    for (&id, inode) in &state.files {
        let data = |(stamp, operation)| Pending { stamp, change: Change::Data(id, operation) };
        all.extend(inode.pending.newest_first().map(data));
    }
    for (&id, folder) in &state.folders {
        let name = |(stamp, operation)| Pending { stamp, change: Change::Name(id, operation) };
        all.extend(folder.pending.newest_first().map(name));
    }
    all.sort_unstable_by_key(|pending| pending.stamp);
    all
}

/// What is left so far.
struct Left {
    contents: BTreeMap<u64, Content>,
    names: BTreeMap<u64, Names>,
}

impl Left {
    /// What survives before any pending operation is considered.
    fn of(state: &State, survival: &Survival) -> Left {
        let live = *survival == Survival::Everything;
        let content = |inode: &Inode| if live { inode.live.clone() } else { inode.durable.clone() };
        let names = |folder: &Folder| if live { folder.live.clone() } else { folder.durable.clone() };
        Left {
            contents: state.files.iter().map(|(id, inode)| (*id, content(inode))).collect(),
            names: state.folders.iter().map(|(id, folder)| (*id, names(folder))).collect(),
        }
    }

    fn keep_prefix(&mut self, state: &State, random: &mut Random) {
        let pending = pending(state);
        let point = random.index(pending.len() + 1);
        for operation in &pending[..point] {
            self.keep(operation);
        }
        if let Some(Pending { change: Change::Data(file, operation), .. }) = pending.get(point)
            && random.one_in(2)
        {
            self.tear(*file, operation, random, false);
        }
    }

    fn keep_subset(&mut self, state: &State, random: &mut Random) {
        // With an even chance for each operation, a long list would never be nearly empty or nearly whole,
        // where the single operation that is missing, or left alone, shows the most.
        let share = [1, 4, 8, 12, 15][random.index(5)];
        for operation in &pending(state) {
            match operation.change {
                _ if random.below(16) < share => self.keep(operation),
                Change::Data(file, data) if random.one_in(3) => self.tear(file, data, random, true),
                _ => {}
            }
        }
    }

    fn keep(&mut self, operation: &Pending<'_>) {
        match operation.change {
            Change::Data(file, data) => {
                if let Some(content) = self.contents.get_mut(&file) {
                    data.apply(content);
                }
            }
            Change::Name(folder, name) => {
                if let Some(names) = self.names.get_mut(&folder) {
                    name.apply(names);
                }
            }
        }
    }

    /// Keeps a part of a write; other operations are lost.
    fn tear(&mut self, file: u64, operation: &DataOp, random: &mut Random, any_sectors: bool) {
        if let DataOp::Write { offset, bytes } = operation
            && let Some(content) = self.contents.get_mut(&file)
        {
            tear(content, *offset, bytes, random, any_sectors);
        }
    }

    /// The disk that these contents and names make: what a name leads to, and nothing else.
    fn into_state(self, state: &State) -> State {
        let mut files = BTreeMap::new();
        let mut folders = BTreeMap::new();
        let mut waiting = vec![ROOT];
        while let Some(id) = waiting.pop() {
            let names = self.names.get(&id).cloned().unwrap_or_default();
            for entry in names.values() {
                match entry {
                    Entry::Folder(id) => waiting.push(*id),
                    Entry::File(id) => {
                        let content = self.contents.get(id).cloned().unwrap_or_default();
                        files.insert(*id, Arc::new(Inode::durable(content)));
                    }
                }
            }
            folders.insert(id, Arc::new(Folder::durable(names)));
        }
        state.successor(files, folders)
    }
}

/// What stands where a write made the file longer, but its bytes did not arrive.
enum Rest {
    /// The length did not arrive either.
    Absent,
    Zeros,
    Noise,
    /// Bytes that the same file holds elsewhere, as if its blocks had been used before.
    Stale,
}

fn tear(content: &mut Content, offset: u64, bytes: &[u8], random: &mut Random, any_sectors: bool) {
    let len_before = content.len();
    let end = offset + bytes.len() as u64;
    let rest = [Rest::Absent, Rest::Zeros, Rest::Noise, Rest::Stale];
    let rest = &rest[random.index(rest.len())];
    let kept: Vec<Range<usize>> = if any_sectors && random.one_in(2) {
        sectors(offset, bytes.len()).filter(|_| random.one_in(2)).collect()
    } else {
        std::iter::once(0..cut(offset, bytes.len(), random)).collect()
    };
    if !matches!(rest, Rest::Absent) && end > len_before {
        content.grow(end);
        let gap = offset.max(len_before)..end;
        match rest {
            Rest::Absent | Rest::Zeros => {}
            Rest::Noise => content.write(gap.start, &noise(&gap, random)),
            Rest::Stale => content.write(gap.start, &stale(content, &gap, random)),
        }
    }
    for part in kept {
        content.write(offset + part.start as u64, &bytes[part]);
    }
}

/// How many bytes of a write survive: none, or up to an edge of a sector, or any number if there are few.
fn cut(offset: u64, len: usize, random: &mut Random) -> usize {
    if len <= SECTOR_BYTES {
        return random.index(len);
    }
    let edges: Vec<usize> = sectors(offset, len).map(|sector| sector.start).collect();
    edges[random.index(edges.len())]
}

/// The parts of a write that lie in one sector each.
fn sectors(offset: u64, len: usize) -> impl Iterator<Item = Range<usize>> {
    let into_sector = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0);
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = (start + SECTOR_BYTES - (into_sector + start) % SECTOR_BYTES).min(len);
        let part = start..end;
        start = end;
        (!part.is_empty()).then_some(part)
    })
}

fn noise(gap: &Range<u64>, random: &mut Random) -> Vec<u8> {
    (gap.start..gap.end).map(|_| random.next().to_le_bytes()[0]).collect()
}

fn stale(content: &Content, gap: &Range<u64>, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(gap.end - gap.start).unwrap_or(0)];
    let from = random.below(gap.start / STALE_STEP_BYTES + 1) * STALE_STEP_BYTES;
    let len = usize::try_from(gap.start.saturating_sub(from)).unwrap_or(0).min(bytes.len());
    content.read(from, &mut bytes[..len]);
    bytes
}
