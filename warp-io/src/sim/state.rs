//! What is on the disk: for each file and directory what programs see, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::content::{Content, FILE_BYTES_MAX};
use super::history::History;
use super::random::Digest;

/// The number of the root directory.
pub(super) const ROOT: u64 = 0;

/// The whole disk at one moment. Cloning it copies the tables, not what they point to.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, Arc<Inode>>,
    pub(super) folders: BTreeMap<u64, Arc<Folder>>,
    next_id: u64,
    next_stamp: u64,
}

/// A file, whatever its names are.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Content,
    pub(super) durable: Content,
    pub(super) pending: History<DataOp>,
    /// A failed sync forgot pending operations, so that `durable` and `pending` no longer add up to `live`.
    lost: bool,
    /// Whether a live name leads to it.
    pub(super) linked: bool,
}

/// A directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub(super) live: Names,
    pub(super) durable: Names,
    pub(super) pending: History<NameOp>,
    /// As in [`Inode`].
    lost: bool,
}

pub(super) type Names = Arc<BTreeMap<Arc<str>, Entry>>;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    File(u64),
    Folder(u64),
}

/// A change to a file that no sync has made durable.
#[derive(Clone, Debug)]
pub(super) enum DataOp {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
    Grow(u64),
}

impl DataOp {
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            DataOp::Write { offset, bytes } => content.write(*offset, bytes),
            DataOp::SetLen(len) => content.set_len(*len),
            DataOp::Grow(len) => content.grow(*len),
        }
    }
}

/// A change to a directory that no sync has made durable.
#[derive(Clone, Debug)]
pub(super) enum NameOp {
    Link { name: Arc<str>, entry: Entry },
    Rename { to: Arc<str>, entry: Entry },
    Unlink { name: Arc<str> },
}

impl NameOp {
    pub(super) fn apply(&self, names: &mut Names) {
        let names = Arc::make_mut(names);
        match self {
            NameOp::Link { name, entry } => {
                names.insert(name.clone(), *entry);
            }
            NameOp::Rename { to, entry } => {
                // By what is moved, not by its former name: after a crash that lost an earlier rename of the
                // same file it has yet another name, and must not end with two.
                names.retain(|_, other| other != entry);
                names.insert(to.clone(), *entry);
            }
            NameOp::Unlink { name } => {
                names.remove(name);
            }
        }
    }

    fn mentions(&self, sought: Entry) -> bool {
        match self {
            NameOp::Link { entry, .. } | NameOp::Rename { entry, .. } => *entry == sought,
            NameOp::Unlink { .. } => false,
        }
    }
}

/// What a sync does to the pending operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// They become durable.
    Keep,
    /// They are forgotten, although programs go on seeing their effect.
    Lose,
}

impl State {
    pub(super) fn new() -> State {
        let folders = BTreeMap::from([(ROOT, Arc::new(Folder::default()))]);
        State { files: BTreeMap::new(), folders, next_id: ROOT + 1, next_stamp: 0 }
    }

    /// The same numbering with other files and directories, as a crash leaves them.
    pub(super) fn successor(
        &self,
        files: BTreeMap<u64, Arc<Inode>>,
        folders: BTreeMap<u64, Arc<Folder>>,
    ) -> State {
        State { files, folders, next_id: self.next_id, next_stamp: self.next_stamp }
    }

    pub(super) fn file(&self, id: u64) -> &Inode {
        self.files.get(&id).expect("a file is kept as long as a name or a handle leads to it")
    }

    pub(super) fn folder(&self, id: u64) -> &Folder {
        self.folders.get(&id).expect("a directory is never removed")
    }

    pub(super) fn lookup(&self, folder: u64, name: &str) -> Option<Entry> {
        self.folder(folder).live.get(name).copied()
    }

    pub(super) fn find_file(&self, folder: u64, name: &str) -> io::Result<u64> {
        match self.lookup(folder, name) {
            Some(Entry::File(id)) => Ok(id),
            Some(Entry::Folder(_)) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn create_file(self: &mut Arc<Self>, folder: u64, name: &str) -> io::Result<u64> {
        if self.lookup(folder, name).is_some() {
            return Err(Errno::EXIST.into());
        }
        let state = Arc::make_mut(self);
        let id = state.take_id();
        state.files.insert(id, Arc::new(Inode { linked: true, ..Inode::default() }));
        state.change_names(folder, NameOp::Link { name: name.into(), entry: Entry::File(id) });
        Ok(id)
    }

    pub(super) fn create_folder(self: &mut Arc<Self>, folder: u64, name: &str) -> u64 {
        let state = Arc::make_mut(self);
        let id = state.take_id();
        state.folders.insert(id, Arc::default());
        state.change_names(folder, NameOp::Link { name: name.into(), entry: Entry::Folder(id) });
        id
    }

    /// Moves a file. Returns the file that lost its name to it.
    pub(super) fn rename(self: &mut Arc<Self>, folder: u64, from: &str, to: &str) -> io::Result<Option<u64>> {
        let moved = self.find_file(folder, from)?;
        let replaced = match self.lookup(folder, to) {
            Some(Entry::Folder(_)) => return Err(Errno::ISDIR.into()),
            Some(Entry::File(id)) if id == moved => return Ok(None),
            Some(Entry::File(id)) => Some(id),
            None => None,
        };
        let state = Arc::make_mut(self);
        state.change_names(folder, NameOp::Rename { to: to.into(), entry: Entry::File(moved) });
        if let Some(id) = replaced {
            state.file_mut(id).linked = false;
        }
        Ok(replaced)
    }

    /// Removes a name. Returns the file that it led to.
    pub(super) fn unlink(self: &mut Arc<Self>, folder: u64, name: &str) -> io::Result<u64> {
        let id = self.find_file(folder, name)?;
        let state = Arc::make_mut(self);
        state.change_names(folder, NameOp::Unlink { name: name.into() });
        state.file_mut(id).linked = false;
        Ok(id)
    }

    pub(super) fn change_data(self: &mut Arc<Self>, file: u64, operation: DataOp) -> io::Result<()> {
        let end = match &operation {
            DataOp::Write { offset, bytes } => offset.checked_add(bytes.len() as u64),
            DataOp::SetLen(len) | DataOp::Grow(len) => Some(*len),
        };
        if end.is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(Errno::FBIG.into());
        }
        let state = Arc::make_mut(self);
        let stamp = state.take_stamp();
        let inode = state.file_mut(file);
        operation.apply(&mut inode.live);
        inode.pending.push(stamp, operation);
        Ok(())
    }

    pub(super) fn sync_file(self: &mut Arc<Self>, file: u64, sync: Sync) {
        if self.file(file).pending.is_empty() {
            return;
        }
        let inode = Arc::make_mut(self).file_mut(file);
        match sync {
            Sync::Keep if inode.lost => {
                for operation in inode.pending.oldest_first() {
                    operation.apply(&mut inode.durable);
                }
            }
            Sync::Keep => inode.durable = inode.live.clone(),
            Sync::Lose => inode.lost = true,
        }
        inode.pending.clear();
    }

    pub(super) fn sync_folder(self: &mut Arc<Self>, folder: u64, sync: Sync) {
        if self.folder(folder).pending.is_empty() {
            return;
        }
        let folder = Arc::make_mut(self).folder_mut(folder);
        match sync {
            Sync::Keep if folder.lost => {
                for operation in folder.pending.oldest_first() {
                    operation.apply(&mut folder.durable);
                }
            }
            Sync::Keep => folder.durable = folder.live.clone(),
            Sync::Lose => folder.lost = true,
        }
        folder.pending.clear();
    }

    /// Forgets the files that nothing leads to any more: no name, live, durable or pending, and no handle.
    pub(super) fn collect(self: &mut Arc<Self>, is_open: impl Fn(u64) -> bool) {
        let gone: Vec<u64> = self
            .files
            .iter()
            .filter(|(id, inode)| !inode.linked && !is_open(**id) && !self.may_return(Entry::File(**id)))
            .map(|(id, _)| *id)
            .collect();
        if !gone.is_empty() {
            Arc::make_mut(self).files.retain(|id, _| !gone.contains(id));
        }
    }

    /// Whether a crash may leave a name of a file that has none now.
    fn may_return(&self, entry: Entry) -> bool {
        self.folders.values().any(|folder| {
            folder.durable.values().any(|durable| *durable == entry)
                || folder.pending.newest_first().any(|(_, operation)| operation.mentions(entry))
        })
    }

    /// Every live file by its path, in the order of the paths.
    pub(super) fn walk(&self) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![(String::new(), ROOT)];
        while let Some((path, folder)) = waiting.pop() {
            for (name, entry) in self.folder(folder).live.iter() {
                let path = join(&path, name);
                match entry {
                    Entry::File(id) => _ = found.insert(path, *id),
                    Entry::Folder(id) => waiting.push((path, *id)),
                }
            }
        }
        found
    }

    pub(super) fn digest(&self) -> u64 {
        let mut digest = Digest::new();
        for (path, id) in self.walk() {
            digest.bytes(path.as_bytes());
            digest.number(self.file(id).live.digest());
        }
        digest.value()
    }

    pub(super) fn file_mut(&mut self, id: u64) -> &mut Inode {
        Arc::make_mut(
            self.files.get_mut(&id).expect("a file is kept as long as a name or a handle leads to it"),
        )
    }

    pub(super) fn folder_mut(&mut self, id: u64) -> &mut Folder {
        Arc::make_mut(self.folders.get_mut(&id).expect("a directory is never removed"))
    }

    /// The file at a path, made with the directories above it if it is absent, with names that are all durable.
    pub(super) fn durable_file(&mut self, path: &str) -> u64 {
        let mut folder = ROOT;
        let mut rest = path;
        while let Some((name, below)) = rest.split_once('/') {
            let Entry::Folder(id) = self.durable_entry(folder, name, true) else {
                panic!("{name} in {path} is a file");
            };
            folder = id;
            rest = below;
        }
        let Entry::File(id) = self.durable_entry(folder, rest, false) else {
            panic!("{path} is a directory");
        };
        id
    }

    fn durable_entry(&mut self, folder: u64, name: &str, is_folder: bool) -> Entry {
        let entry = match self.lookup(folder, name) {
            Some(entry) => entry,
            None if is_folder => {
                let id = self.take_id();
                self.folders.insert(id, Arc::default());
                Entry::Folder(id)
            }
            None => {
                let id = self.take_id();
                self.files.insert(id, Arc::default());
                Entry::File(id)
            }
        };
        let operation = NameOp::Link { name: name.into(), entry };
        let folder = self.folder_mut(folder);
        operation.apply(&mut folder.live);
        operation.apply(&mut folder.durable);
        entry
    }

    fn change_names(&mut self, folder: u64, operation: NameOp) {
        let stamp = self.take_stamp();
        let folder = self.folder_mut(folder);
        operation.apply(&mut folder.live);
        folder.pending.push(stamp, operation);
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn take_stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp - 1
    }
}

/// The path of `name` in the directory at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

impl Inode {
    /// A file with a name, whose bytes are all durable.
    pub(super) fn durable(content: Content) -> Inode {
        Inode { live: content.clone(), durable: content, linked: true, ..Inode::default() }
    }
}

impl Folder {
    /// A directory whose names are all durable.
    pub(super) fn durable(names: Names) -> Folder {
        Folder { live: names.clone(), durable: names, ..Folder::default() }
    }
}
