//! A disk in memory that loses power, tears writes, fails, lies, and fills up, all of it repeatably.
//!
//! ```text
//!             Dir and File calls
//!                    |
//!    counted -> recorded -> struck by a fault? -> carried out -> hashed into the trace
//!                  |                                   |
//!    the state before each operation      file:      live bytes | pending writes  | durable bytes
//!                  |                      directory: live names | pending changes | durable names
//!                  v
//!    image_at(operation, survival) -> another disk, with what a power loss there leaves
//! ```

mod clock;
mod content;
mod dir;
mod disk;
mod fault;
mod file;
mod history;
mod random;
mod state;
mod survive;

use std::sync::Arc;

pub use clock::SimClock;
pub use dir::SimDir;
pub use fault::{Fault, OpClass, OpInfo, OpKind};
pub use survive::Survival;

use self::content::Content;
use self::disk::{Recording, Shared};
use self::state::{Entry, Folder, Inode, NameOp, ROOT, State};

/// A disk in memory: a tree of directories with files, reached through [`SimDisk::root`]. Clones are handles of
/// the same disk.
///
/// The model is the strictest reading of POSIX: a file's sync covers its bytes and length and not its name, a
/// directory's sync covers its names and not the bytes of its files, and what no sync covers may survive in any
/// combination. A rename is atomic. To enumerate what a crash may leave is the idea of ALICE (Pillai et al., "All
/// file systems are not created equal", OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018).
///
/// It does not model time, the caches of a drive that lie about the order of syncs (other than by
/// [`Fault::SyncLies`]), or damage to what was durable: for that there are [`SimDisk::flip_bit`] and
/// [`SimDisk::write`]. Directories are not removed, files are at most 4 GiB long, and all is as reproducible as
/// the order in which the caller's threads come.
///
/// ```
/// use warp_io::{Dir, SimDisk, Survival};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimDisk::new(1);
/// disk.record();
/// let file = disk.root().create_new("a")?; // operation 0
/// file.append(b"hello")?; // operation 1
/// file.sync_data()?; // operation 2
/// disk.root().sync_dir()?; // operation 3
/// file.append(b", world")?; // operation 4
///
/// // The power fails now: the second write was never synced.
/// assert_eq!(disk.crash(Survival::Nothing).read("a").as_deref(), Some(&b"hello"[..]));
/// // It fails before the directory was synced: the bytes are durable, but no name leads to them.
/// assert_eq!(disk.image_at(3, Survival::Nothing).read("a"), None);
/// // The process is killed, and the machine goes on.
/// assert_eq!(disk.crash(Survival::Everything).read("a").as_deref(), Some(&b"hello, world"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SimDisk(Shared);

impl SimDisk {
    /// An empty disk without a limit. The seed shuffles what `list` returns; nothing else is left to chance.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        SimDisk(Shared::new(seed, State::new(), None))
    }

    /// The directory that holds everything else.
    #[must_use]
    pub fn root(&self) -> SimDir {
        SimDir::new(self.0.clone(), ROOT, "")
    }

    /// How many operations there were: calls of [`Dir`](crate::Dir) and [`File`](crate::File) methods, also
    /// those that failed. Calls that are refused for a bad name do not reach the disk; the methods of
    /// `SimDisk` itself are no operations.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// From now on keeps the state before every operation, so that [`SimDisk::image_at`] can go back to it. An
    /// operation that changes nothing costs 8 bytes, one that writes about 4 KiB.
    pub fn record(&self) {
        let mut core = self.0.lock();
        if core.recording.is_none() {
            core.recording = Some(Recording { first: core.operations, states: Vec::new() });
        }
    }

    /// The operations since [`SimDisk::record`] that changed something, and the number of the next operation:
    /// power losses before these show everything that power losses before all operations show.
    #[must_use]
    pub fn crash_points(&self) -> Vec<u64> {
        let core = self.0.lock();
        let mut points = Vec::new();
        if let Some(recording) = &core.recording {
            let after = recording.states.iter().skip(1).chain([&core.state]);
            for ((before, after), operation) in recording.states.iter().zip(after).zip(recording.first..) {
                if !Arc::ptr_eq(before, after) {
                    points.push(operation);
                }
            }
        }
        points.push(core.operations);
        points
    }

    /// The disk after a power loss just before an operation, counted from 0: a new disk, on which everything
    /// is durable, with the same seed and capacity, no faults, no locks, no recording, and no operations yet.
    /// With the number of the next operation it is the disk after a power loss now.
    ///
    /// # Panics
    /// If the operation lies in the future, or was not recorded.
    #[must_use]
    pub fn image_at(&self, operation: u64, survival: Survival) -> SimDisk {
        let (state, seed, capacity) = self.before(operation);
        SimDisk(Shared::new(seed, survive::survivors(&state, &survival), capacity))
    }

    /// The disk after a power loss now.
    #[must_use]
    pub fn crash(&self, survival: Survival) -> SimDisk {
        self.image_at(self.operations(), survival)
    }

    /// The disk after its process was killed just before an operation: as [`Survival::Everything`], but what
    /// was not durable still is not, so that a power loss may follow.
    ///
    /// # Panics
    /// As [`SimDisk::image_at`].
    #[must_use]
    pub fn kill_at(&self, operation: u64) -> SimDisk {
        let (state, seed, capacity) = self.before(operation);
        SimDisk(Shared::new(seed, Arc::unwrap_or_clone(state), capacity))
    }

    /// How many operations a power loss just before an operation may lose or keep: the length that a list for
    /// [`Survival::Exactly`] has.
    ///
    /// # Panics
    /// As [`SimDisk::image_at`].
    #[must_use]
    pub fn pending_count_at(&self, operation: u64) -> usize {
        survive::pending_count(&self.before(operation).0)
    }

    /// Lets an operation, counted from the creation of the disk, and every later one fail with an error that
    /// reads "simulated crash", without effect. [`SimDisk::crash`] then shows what is left.
    pub fn crash_at(&self, operation: u64) {
        self.0.lock().plan.crash_at(operation);
    }

    /// Lets one operation, counted from the creation of the disk, go wrong; if `sticky`, every later one of the
    /// same [`OpClass`] too.
    pub fn inject(&self, operation: u64, fault: Fault, sticky: bool) {
        self.0.lock().plan.add(operation, fault, sticky);
    }

    /// Lets operations go wrong that `filter` chooses. It is asked before every operation that no other fault
    /// strikes, in the order of the operations, and must not use the disk.
    ///
    /// ```
    /// use warp_io::{Dir, Fault, OpKind, SimDisk};
    ///
    /// let disk = SimDisk::new(0);
    /// disk.inject_when(|op| (op.kind == OpKind::CreateNew && op.path == "b").then_some(Fault::Eio));
    /// assert!(disk.root().create_new("a").is_ok());
    /// assert!(disk.root().create_new("b").is_err());
    /// ```
    pub fn inject_when(&self, filter: impl FnMut(&OpInfo<'_>) -> Option<Fault> + Send + 'static) {
        self.0.lock().plan.add_filter(Box::new(filter));
    }

    /// Forgets all faults to come, a crash included.
    pub fn clear_faults(&self) {
        self.0.lock().plan = fault::Plan::default();
    }

    /// Limits [`SimDisk::used`]. What would exceed it fails with
    /// [`StorageFull`](std::io::ErrorKind::StorageFull): a write of which not a single byte fits (one of which
    /// some do is short), `truncate` and `allocate` beyond it, and `create_new` on a full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// The lengths of all files together, also of those that have no name any more but an open handle.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// The paths of all files, such as `wal/1.log`, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.0.lock().state.walk().into_keys().collect()
    }

    /// What a file holds at present, or nothing if there is none.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let core = self.0.lock();
        let id = find(&core.state, path)?.2?;
        Some(core.state.file(id).live.to_vec())
    }

    /// Replaces what a file holds, as if it had always been durable. A file that is absent is made, with the
    /// directories above it.
    ///
    /// # Panics
    /// If a directory has that path, or a file the path of a directory above it.
    pub fn write(&self, path: &str, bytes: Vec<u8>) {
        let mut core = self.0.lock();
        let state = Arc::make_mut(&mut core.state);
        let file = state.durable_file(path);
        let linked = Inode::durable(Content::of(&bytes));
        *state.file_mut(file) = linked;
    }

    /// Inverts a bit of a file, on the disk and for its readers: bit 0 is the lowest of the first byte.
    ///
    /// # Panics
    /// If there is no such file, or it has no such bit.
    pub fn flip_bit(&self, path: &str, bit: u64) {
        let mut core = self.0.lock();
        let (_, _, file) = find(&core.state, path).expect("the directory of a bit that is flipped exists");
        let file = file.expect("the file of a bit that is flipped exists");
        let inode = Arc::make_mut(&mut core.state).file_mut(file);
        assert!(bit / 8 < inode.live.len(), "the file {path} has no bit {bit}");
        for content in [&mut inode.live, &mut inode.durable] {
            let mut byte = [0];
            if content.read(bit / 8, &mut byte) == 1 {
                content.write(bit / 8, &[byte[0] ^ (1 << (bit % 8))]);
            }
        }
    }

    /// Removes a file, as if it had never been there.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn remove(&self, path: &str) {
        let mut core = self.0.lock();
        let (folder, name, file) = find(&core.state, path).expect("the directory of a file that goes exists");
        let file = file.expect("the file that goes exists");
        let state = Arc::make_mut(&mut core.state);
        state.file_mut(file).linked = false;
        let operation = NameOp::Unlink { name: name.into() };
        let folder: &mut Folder = state.folder_mut(folder);
        operation.apply(&mut folder.live);
        operation.apply(&mut folder.durable);
        core.collect();
    }

    /// A hash of the names and bytes of all files: to count the different states that crashes leave.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.0.lock().state.digest()
    }

    /// A hash of every operation so far, its arguments and its outcome: the same run twice gives it twice.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.0.lock().trace.value()
    }

    fn before(&self, operation: u64) -> (Arc<State>, u64, Option<u64>) {
        let core = self.0.lock();
        let state = core.state_before(operation);
        let state = state.unwrap_or_else(|| panic!("operation {operation} was not recorded"));
        (state.clone(), core.seed, core.capacity)
    }
}

/// The directory that holds a path, the last component, and the file if there is one.
fn find<'a>(state: &State, path: &'a str) -> Option<(u64, &'a str, Option<u64>)> {
    let mut folder = ROOT;
    let mut rest = path;
    while let Some((name, below)) = rest.split_once('/') {
        let Some(Entry::Folder(id)) = state.lookup(folder, name) else { return None };
        folder = id;
        rest = below;
    }
    let file = match state.lookup(folder, rest) {
        Some(Entry::File(id)) => Some(id),
        _ => None,
    };
    Some((folder, rest, file))
}
