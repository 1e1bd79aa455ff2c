//! Which operations go wrong, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// What goes wrong with an operation. A fault that has no meaning for an operation leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with an input/output error and has no effect.
    Eio,
    /// It fails with [`io::ErrorKind::StorageFull`] and has no effect.
    NoSpace,
    /// It fails as where too many files are open (`EMFILE`) and has no effect.
    NoHandle,
    /// It fails with [`io::ErrorKind::Interrupted`] and has no effect. Never sticky: a caller that goes on after
    /// interrupts would go on for ever.
    Interrupted,
    /// A read or write of several bytes takes half of them.
    Short,
    /// A sync fails, and what was pending is forgotten: reads still show it, a crash loses it, and the next sync
    /// returns `Ok` without it. Every other handle that was open by then is told by an error of its next sync, once.
    /// This is what Linux does when it cannot write a page back (Rebello et al., "Can applications recover from fsync
    /// failures?", ATC 2020; `errseq_t` in the kernel's documentation).
    SyncLost,
    /// A sync returns `Ok` although nothing became durable; what was pending stays so.
    SyncLies,
}

/// An operation of [`crate::Dir`] or [`crate::File`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the method of that name, or a kind of `try_lock`")]
pub enum OpKind {
    CreateNew,
    Open,
    List,
    Rename,
    Remove,
    SyncDir,
    Subdir,
    TryLockExclusive,
    TryLockShared,
    ListDirs,
    Append,
    WriteAt,
    ReadAt,
    Len,
    Truncate,
    Allocate,
    SyncData,
    Map,
}

/// Operations that a failing disk fails alike: a sticky fault strikes all later ones of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpClass {
    /// `open`, `list`, `list_dirs`, `read_at`, `len`, `map`.
    Read,
    /// `append`, `write_at`, `truncate`, `allocate`.
    Write,
    /// `create_new`, `rename`, `remove`, `subdir`, `try_lock`.
    Name,
    /// `sync_data`, `sync_dir`.
    Sync,
}

impl OpKind {
    /// The class that the operation belongs to.
    #[must_use]
    pub fn class(self) -> OpClass {
        match self {
            OpKind::Open | OpKind::List | OpKind::ListDirs | OpKind::ReadAt | OpKind::Len | OpKind::Map => {
                OpClass::Read
            }
            OpKind::Append | OpKind::WriteAt | OpKind::Truncate | OpKind::Allocate => OpClass::Write,
            OpKind::CreateNew
            | OpKind::Rename
            | OpKind::Remove
            | OpKind::Subdir
            | OpKind::TryLockExclusive
            | OpKind::TryLockShared => OpClass::Name,
            OpKind::SyncData | OpKind::SyncDir => OpClass::Sync,
        }
    }
}

/// An operation that is about to happen, for [`SimDisk::inject_when`](crate::SimDisk::inject_when).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OpInfo<'a> {
    /// Its number, counted from the creation of the disk, from 0.
    pub index: u64,
    /// Which operation it is.
    pub kind: OpKind,
    /// The file, such as `wal/1.log`, by the name that it was opened with; the directory for `list` and
    /// `sync_dir`, empty for the root; the name before a `rename`.
    pub path: &'a str,
    /// Where a read or write starts; the length that `truncate` and `allocate` ask for; otherwise 0.
    pub offset: u64,
    /// How many bytes a read or write asks for; otherwise 0.
    pub bytes: u64,
}

type Filter = Box<dyn FnMut(&OpInfo<'_>) -> Option<Fault> + Send>;

/// All faults to come.
#[derive(Default)]
pub(super) struct Plan {
    crash_at: Option<u64>,
    single: BTreeMap<u64, (Fault, bool)>,
    sticky: Vec<(OpClass, Fault)>,
    filters: Vec<Filter>,
}

impl Plan {
    pub(super) fn crash_at(&mut self, operation: u64) {
        self.crash_at = Some(operation);
    }

    pub(super) fn add(&mut self, operation: u64, fault: Fault, sticky: bool) {
        self.single.insert(operation, (fault, sticky));
    }

    pub(super) fn add_filter(&mut self, filter: Filter) {
        self.filters.push(filter);
    }

    /// Decides what happens to an operation: an error, or a fault for it to carry out itself, or nothing.
    pub(super) fn strike(&mut self, op: &OpInfo<'_>) -> io::Result<Option<Fault>> {
        if self.crash_at.is_some_and(|crash| op.index >= crash) {
            return Err(io::Error::other("simulated crash"));
        }
        match self.fault_for(op) {
            Some(Fault::Eio) => Err(Errno::IO.into()),
            Some(Fault::NoSpace) => Err(Errno::NOSPC.into()),
            Some(Fault::NoHandle) => Err(Errno::MFILE.into()),
            Some(Fault::Interrupted) => Err(Errno::INTR.into()),
            other => Ok(other),
        }
    }

    fn fault_for(&mut self, op: &OpInfo<'_>) -> Option<Fault> {
        if let Some((fault, sticky)) = self.single.remove(&op.index) {
            if sticky && fault != Fault::Interrupted {
                self.sticky.push((op.kind.class(), fault));
            }
            return Some(fault);
        }
        if let Some((_, fault)) = self.sticky.iter().find(|(class, _)| *class == op.kind.class()) {
            return Some(*fault);
        }
        self.filters.iter_mut().find_map(|filter| filter(op))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("crash_at", &self.crash_at)
            .field("single", &self.single)
            .field("sticky", &self.sticky)
            .field("filters", &self.filters.len())
            .finish()
    }
}
