//! The part of a disk that its handles share: how an operation is counted, recorded, struck by faults, and hashed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::{Fault, OpInfo, OpKind, Plan};
use super::random::Digest;
use super::state::State;
use crate::LockKind;

/// The one place that locks a disk.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Core>>);

pub(super) struct Core {
    pub(super) seed: u64,
    pub(super) state: Arc<State>,
    pub(super) operations: u64,
    pub(super) recording: Option<Recording>,
    pub(super) plan: Plan,
    pub(super) capacity: Option<u64>,
    pub(super) trace: Digest,
    /// How many handles each file has.
    open: BTreeMap<u64, usize>,
    /// How many syncs of each file have lost what was pending.
    losses: BTreeMap<u64, u64>,
    /// The lock files that are held: by how many together, or by one alone.
    locked: BTreeMap<u64, Held>,
}

/// How a lock file is held.
enum Held {
    /// By so many handles.
    Shared(usize),
    Exclusive,
}

/// The states before all operations since `first`.
pub(super) struct Recording {
    pub(super) first: u64,
    pub(super) states: Vec<Arc<State>>,
}

/// An operation that is about to be made: [`OpInfo`] without its number.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) kind: OpKind,
    pub(super) path: &'a str,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl<'a> Call<'a> {
    pub(super) fn new(kind: OpKind, path: &'a str) -> Call<'a> {
        Call { kind, path, offset: 0, bytes: 0 }
    }
}

impl Shared {
    pub(super) fn new(seed: u64, state: State, capacity: Option<u64>) -> Shared {
        Shared(Arc::new(Mutex::new(Core {
            seed,
            state: Arc::new(state),
            operations: 0,
            recording: None,
            plan: Plan::default(),
            capacity,
            trace: Digest::new(),
            open: BTreeMap::new(),
            losses: BTreeMap::new(),
            locked: BTreeMap::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // What panics under the lock is a caller's filter, or the refusal of an argument: nothing is half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one operation: `body` gets the fault that it must carry out itself, if any.
    pub(super) fn run<T>(
        &self,
        call: Call<'_>,
        body: impl FnOnce(&mut Core, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut core = self.lock();
        let info = core.begin(call);
        let answer = match core.plan.strike(&info) {
            Ok(fault) => body(&mut core, fault),
            Err(error) => Err(error),
        };
        match &answer {
            Ok(_) => core.trace.number(0),
            Err(error) => core.trace.bytes(error.to_string().as_bytes()),
        }
        answer
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.lock();
        f.debug_struct("Disk")
            .field("operations", &core.operations)
            .field("files", &core.state.files.len())
            .field("plan", &core.plan)
            .finish_non_exhaustive()
    }
}

impl Core {
    fn begin<'a>(&mut self, call: Call<'a>) -> OpInfo<'a> {
        let Call { kind, path, offset, bytes } = call;
        let info = OpInfo { index: self.operations, kind, path, offset, bytes };
        if let Some(recording) = &mut self.recording {
            recording.states.push(self.state.clone());
        }
        self.operations += 1;
        self.trace.number(kind as u64);
        self.trace.bytes(path.as_bytes());
        self.trace.number(offset);
        self.trace.number(bytes);
        info
    }

    /// The state just before an operation; the present one for the next operation.
    pub(super) fn state_before(&self, operation: u64) -> Option<&Arc<State>> {
        if operation == self.operations {
            return Some(&self.state);
        }
        let recording = self.recording.as_ref()?;
        let index = operation.checked_sub(recording.first)?;
        recording.states.get(usize::try_from(index).ok()?)
    }

    /// The lengths of all files that have a name or a handle.
    pub(super) fn used(&self) -> u64 {
        let occupies = |id: &u64| self.state.file(*id).linked || self.open.contains_key(id);
        self.state.files.iter().filter(|(id, _)| occupies(id)).map(|(_, inode)| inode.live.len()).sum()
    }

    /// How many bytes files may still grow by.
    pub(super) fn room(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    /// Notes a new handle of a file.
    pub(super) fn opened(&mut self, file: u64) {
        *self.open.entry(file).or_insert(0) += 1;
    }

    /// How many syncs of a file have lost what was pending.
    pub(super) fn losses(&self, file: u64) -> u64 {
        self.losses.get(&file).copied().unwrap_or(0)
    }

    /// Notes one more.
    pub(super) fn lost(&mut self, file: u64) {
        *self.losses.entry(file).or_insert(0) += 1;
    }

    /// Notes the end of a handle.
    pub(super) fn closed(&mut self, file: u64) {
        if let Some(count) = self.open.get_mut(&file) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&file);
                if !self.state.file(file).linked {
                    self.collect();
                }
            }
        }
    }

    pub(super) fn collect(&mut self) {
        let open = &self.open;
        self.state.collect(|file| open.contains_key(&file));
    }

    /// Takes the lock of a lock file, unless somebody holds it whom that excludes.
    pub(super) fn try_lock(&mut self, file: u64, kind: LockKind) -> bool {
        match (self.locked.entry(file), kind) {
            (Entry::Vacant(free), LockKind::Exclusive) => {
                free.insert(Held::Exclusive);
                true
            }
            (Entry::Vacant(free), LockKind::Shared) => {
                free.insert(Held::Shared(1));
                true
            }
            (Entry::Occupied(mut held), LockKind::Shared) => match held.get_mut() {
                Held::Shared(count) => {
                    *count += 1;
                    true
                }
                Held::Exclusive => false,
            },
            (Entry::Occupied(_), LockKind::Exclusive) => false,
        }
    }

    /// Gives one hold of a lock back.
    pub(super) fn unlock(&mut self, file: u64) {
        match self.locked.get_mut(&file) {
            Some(Held::Shared(count)) if *count > 1 => *count -= 1,
            _ => drop(self.locked.remove(&file)),
        }
    }
}
