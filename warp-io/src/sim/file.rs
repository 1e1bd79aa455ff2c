//! Open files of a simulated disk.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::disk::{Call, Core, Shared};
use super::fault::{Fault, OpKind};
use super::random::Digest;
use super::state::{DataOp, Sync};
use crate::{File, MappedBytes};

/// A handle of a file; it does not end with the file's name.
pub(super) struct SimFile {
    disk: Shared,
    id: u64,
    /// The path that it was opened by, for faults that are chosen by it.
    path: String,
    write: bool,
    /// How many losses of its file it has been told of.
    told: AtomicU64,
}

impl SimFile {
    /// A handle that the disk has already noted as open.
    pub(super) fn new(disk: Shared, id: u64, path: String, write: bool) -> SimFile {
        let told = AtomicU64::new(disk.lock().losses(id));
        SimFile { disk, id, path, write, told }
    }

    /// Notes that the handle has been told of all losses; returns whether there was one that it did not know of.
    fn tell(&self, core: &Core) -> bool {
        let losses = core.losses(self.id);
        self.told.swap(losses, Ordering::Relaxed) < losses
    }

    fn call(&self, kind: OpKind, offset: u64, bytes: u64) -> Call<'_> {
        Call { kind, path: &self.path, offset, bytes }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.write { Ok(()) } else { Err(Errno::BADF.into()) }
    }

    /// Writes as many of `bytes` as there is room for.
    fn put(&self, core: &mut Core, offset: u64, bytes: &[u8], fault: Option<Fault>) -> io::Result<usize> {
        self.check_writable()?;
        let asked = if fault == Some(Fault::Short) { half(bytes.len()) } else { bytes.len() };
        if asked == 0 {
            return Ok(0);
        }
        let count = asked.min(self.fitting(core, offset)?);
        let bytes = &bytes[..count];
        core.state.change_data(self.id, DataOp::Write { offset, bytes: bytes.into() })?;
        let mut written = Digest::new();
        written.bytes(bytes);
        core.trace.number(written.value());
        Ok(count)
    }

    /// How many bytes can be written at `offset`: at least one.
    fn fitting(&self, core: &Core, offset: u64) -> io::Result<usize> {
        let room = core.room();
        let end = core.state.file(self.id).live.len().saturating_add(room);
        match end.saturating_sub(offset) {
            0 => Err(Errno::NOSPC.into()),
            fitting => Ok(usize::try_from(fitting).unwrap_or(usize::MAX)),
        }
    }

    fn resize(&self, core: &mut Core, len: u64, operation: DataOp) -> io::Result<()> {
        self.check_writable()?;
        if len.saturating_sub(core.state.file(self.id).live.len()) > core.room() {
            return Err(Errno::NOSPC.into());
        }
        core.state.change_data(self.id, operation)
    }
}

impl File for SimFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len() as u64;
        self.disk.run(self.call(OpKind::Append, 0, len), |core, fault| {
            let end = core.state.file(self.id).live.len();
            self.put(core, end, bytes, fault)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len() as u64;
        self.disk
            .run(self.call(OpKind::WriteAt, offset, len), |core, fault| self.put(core, offset, bytes, fault))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len() as u64;
        self.disk.run(self.call(OpKind::ReadAt, offset, len), |core, fault| {
            let asked = if fault == Some(Fault::Short) { half(out.len()) } else { out.len() };
            let count = core.state.file(self.id).live.read(offset, &mut out[..asked]);
            core.trace.number(count as u64);
            Ok(count)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.run(self.call(OpKind::Len, 0, 0), |core, _| {
            let len = core.state.file(self.id).live.len();
            core.trace.number(len);
            Ok(len)
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk
            .run(self.call(OpKind::Truncate, len, 0), |core, _| self.resize(core, len, DataOp::SetLen(len)))
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.disk
            .run(self.call(OpKind::Allocate, len, 0), |core, _| self.resize(core, len, DataOp::Grow(len)))
            .map(|()| true)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.run(self.call(OpKind::SyncData, 0, 0), |core, fault| {
            match fault {
                Some(Fault::SyncLies) => {}
                Some(Fault::SyncLost) => {
                    core.state.sync_file(self.id, Sync::Lose);
                    core.lost(self.id);
                }
                _ => core.state.sync_file(self.id, Sync::Keep),
            }
            if self.tell(core) { Err(Errno::IO.into()) } else { Ok(()) }
        })
    }

    fn map(&self) -> io::Result<MappedBytes> {
        self.disk.run(self.call(OpKind::Map, 0, 0), |core, _| {
            let content = &core.state.file(self.id).live;
            let len = usize::try_from(content.len()).map_err(|_| io::Error::from(Errno::FBIG))?;
            Ok(MappedBytes::filled(len, |out| _ = content.read(0, out)))
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.lock().closed(self.id);
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Half of `count`, but not nothing.
fn half(count: usize) -> usize {
    count.div_ceil(2)
}
