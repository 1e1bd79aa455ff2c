//! A disk that can be made slow, or made to stand still: reads pass, and everything that changes anything waits.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use warp_io::{Dir, DirLock, File, LockKind, MappedBytes};

/// What writes and syncs have to pass.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    shut: bool,
    delay: Duration,
}

impl Gate {
    /// Lets nothing through until [`Gate::open`].
    pub(crate) fn shut(&self) {
        self.lock().shut = true;
    }

    /// Lets everything through again.
    pub(crate) fn open(&self) {
        self.lock().shut = false;
        self.changed.notify_all();
    }

    /// Makes every operation that passes take so much longer.
    pub(crate) fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self) {
        let shut = self.changed.wait_while(self.lock(), |state| state.shut);
        let delay = shut.unwrap_or_else(PoisonError::into_inner).delay;
        // Without the lock, so that operations are slow side by side, as those of a disk are.
        if !delay.is_zero() {
            thread::sleep(delay);
        }
    }
}

/// A directory behind a gate.
#[derive(Debug)]
pub(crate) struct GatedDir {
    inner: Arc<dyn Dir>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl GatedDir {
    pub(crate) fn new(inner: &dyn Dir, gate: &Arc<Gate>) -> GatedDir {
        GatedDir { inner: inner.handle(), gate: Arc::clone(gate) }
    }

    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(GatedFile { inner: file, gate: Arc::clone(&self.gate) })
    }
}

impl Dir for GatedDir {
    fn create_new(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.gate.pass();
        Ok(self.file(self.inner.create_new(name)?))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.open(name, write)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.gate.pass();
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.gate.pass();
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync_dir()
    }

    fn subdir(&self, name: &str, create: bool) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(GatedDir { inner: self.inner.subdir(name, create)?, gate: Arc::clone(&self.gate) }))
    }

    fn list_dirs(&self) -> io::Result<Vec<String>> {
        self.inner.list_dirs()
    }

    fn try_lock(&self, name: &str, kind: LockKind) -> io::Result<DirLock> {
        self.inner.try_lock(name, kind)
    }

    fn handle(&self) -> Arc<dyn Dir> {
        Arc::new(GatedDir::new(&*self.inner, &self.gate))
    }
}

impl File for GatedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.gate.pass();
        self.inner.append(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.gate.pass();
        self.inner.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, out)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.gate.pass();
        self.inner.truncate(len)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.gate.pass();
        self.inner.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync_data()
    }

    fn map(&self) -> io::Result<MappedBytes> {
        self.inner.map()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use warp_io::SimDisk;

    use super::*;

    #[test]
    fn a_write_waits_at_a_shut_gate_and_a_read_does_not() {
        let (disk, gate) = (SimDisk::new(1), Arc::new(Gate::default()));
        let dir = GatedDir::new(&disk.root(), &gate);
        let file = dir.subdir("a", true).unwrap().create_new("b").unwrap();
        file.append(b"first").unwrap();
        gate.shut();
        let written = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                file.append(b", second").unwrap();
                written.store(true, Ordering::Release);
            });
            thread::sleep(Duration::from_millis(30));
            let mut bytes = [0; 20];
            assert_eq!(file.read_at(0, &mut bytes).unwrap(), 5);
            assert!(!written.load(Ordering::Acquire));
            gate.open();
        });
        assert_eq!(disk.read("a/b").unwrap(), b"first, second");
    }
}
