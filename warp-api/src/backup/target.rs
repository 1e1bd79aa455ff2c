//! The directory that a backup is written to. `docs/format/directory.md`, section "Backups".

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use warp_checkpoint::{BlockCache, Layer, LayerAccess, LayerInfo, Manifest, Obsolete, layer_name};
use warp_io::{Dir, DirLock, LOCK_FILE, LockKind, read_exact_at, write_all_at};
use warp_wal::{Apply, Recovery, Start};

use crate::environment::finalize;
use crate::error::{Error, ErrorKind, Result};
use crate::floors::DROPPED;
use crate::from_crates::{checkpoint_error, log_error};
use crate::home::{LAYERS_DIR, LOG_DIR, READERS_FILE};
use crate::types::Seq;

/// The file that says of which database a directory holds backups.
const MARK_FILE: &str = "BACKUP";
/// What it is called until it is whole.
const MARK_PARTIAL: &str = "BACKUP.partial";
const MARK_MAGIC: [u8; 8] = *b"WARPBKUP";
const MARK_VERSION: u16 = 1;
const MARK_BYTES: usize = 56;
/// Bytes of it that its checksum covers.
const MARK_CHECKED_BYTES: usize = 52;

/// What the mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    database_id: u128,
    /// The number of the manifest that was to be published last.
    number: u64,
    /// The last sequence of that backup.
    seq: u64,
    /// The last sequence of the backup before it.
    earlier_seq: u64,
}

/// A directory with an earlier backup of the database, or with none yet. It is locked.
pub(super) struct Target {
    dir: Arc<dyn Dir>,
    log: Arc<dyn Dir>,
    pub(super) layers: Arc<dyn Dir>,
    mark: Mark,
    /// The backup that there is.
    pub(super) earlier: Option<Manifest>,
    /// The number of the next manifest.
    next_number: u64,
    _lock: DirLock,
}

impl Target {
    /// Looks at the directory, and takes it if it is one that a backup of that database may be written to.
    pub(super) fn open(dir: &dyn Dir, database_id: u128) -> Result<Target> {
        // Before a lock leaves a file in a directory that is none of ours, and again once nobody else writes there.
        let _ = read_mark(dir, database_id)?;
        let lock = dir.try_lock_exclusive().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::new(ErrorKind::Locked, "the backup is in use").caused_by(error)
            }
            _ => target_error(error, "cannot lock the directory of the backup"),
        })?;
        let mark = match read_mark(dir, database_id)? {
            Some(mark) => mark,
            None => {
                let mark = Mark { database_id, ..Mark::default() };
                write_mark(dir, mark)?;
                mark
            }
        };
        let subdir = |name| {
            dir.subdir(name, true)
                .map_err(|error| target_error(error, "cannot make a directory of the backup"))
        };
        let (log, layers) = (subdir(LOG_DIR)?, subdir(LAYERS_DIR)?);
        dir.sync_dir().map_err(|error| target_error(error, "cannot sync the directory of the backup"))?;
        let newest = warp_checkpoint::list(dir).map_err(read_error)?.last().copied();
        let mut target = Target {
            dir: dir.handle(),
            log,
            layers,
            mark,
            earlier: None,
            next_number: newest.map_or(1, |newest| newest.saturating_add(1)),
            _lock: lock,
        };
        target.earlier = target.find_earlier()?;
        target.check_unwritten()?;
        Ok(target)
    }

    /// The newest manifest that can be read. One whose layers are damaged says at least which layers there may be.
    fn find_earlier(&self) -> Result<Option<Manifest>> {
        for number in warp_checkpoint::list(&*self.dir).map_err(read_error)?.into_iter().rev() {
            match warp_checkpoint::load(&*self.dir, number) {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(warp_checkpoint::Error::Corrupt { .. }) => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        Ok(None)
    }

    /// Refuses a backup that was opened as a database and written to: what was written there would be lost. All that a
    /// program writes has a number above those of the backup; that the engine has merged layers there does no harm.
    fn check_unwritten(&self) -> Result<()> {
        let Some(earlier) = &self.earlier else { return Ok(()) };
        let last = if earlier.number >= self.mark.number { self.mark.seq } else { self.mark.earlier_seq };
        let mut highest = earlier.layers.iter().map(|layer| layer.seq_max).max().unwrap_or(0);
        let floors = earlier.floors.iter().map(|(_, floor)| *floor).filter(|floor| *floor != DROPPED);
        highest = highest.max(floors.max().unwrap_or(0));
        let mut note = |seq: u64, _: &warp_wal::Entry<'_>| highest = highest.max(seq);
        let start = Start { from: 0, durable: 0, near: None };
        let apply = Apply::InOrder(&mut note);
        warp_wal::replay_in(&*self.log, Recovery::TrimTornTail, start, apply, &mut |_, _| {})
            .map_err(log_read_error)?;
        if highest <= last {
            return Ok(());
        }
        Err(Error::invalid("the backup was written to since it was taken, and is a database of its own now"))
    }

    /// Whether the earlier backup holds everything up to `seq`, and all of it is there.
    pub(super) fn is_up_to_date(&self, seq: Seq) -> bool {
        self.earlier.as_ref().is_some_and(|manifest| {
            manifest.replay_from == seq.0.saturating_add(1)
                && manifest.layers.iter().all(|info| self.has(info))
        })
    }

    /// Whether a layer is there already: with that length, and that root, which stands for every byte of it.
    pub(super) fn has(&self, layer: &LayerInfo) -> bool {
        // Read and not mapped: little of it is looked at, and whatever the other disk does is no reason to die.
        let access = LayerAccess::Read(BlockCache::new(0));
        Layer::open_with(&*self.layers, layer, &access).is_ok()
    }

    /// Refuses to replace a layer that the earlier backup needs: no two layers of a database have one id.
    pub(super) fn make_room_for(&self, layer: &Layer) -> Result<()> {
        let is_other = self.earlier.as_ref().is_some_and(|manifest| {
            manifest.layers.iter().any(|info| {
                info.id == layer.id() && (info.root, info.bytes) != (layer.info().root, layer.bytes())
            })
        });
        if is_other {
            let name = format!("{LAYERS_DIR}/{}", layer_name(layer.id()));
            return Err(Error::new(
                ErrorKind::Conflict,
                "the earlier backup has another layer of that name; take the backup into another directory",
            )
            .at(name));
        }
        Ok(())
    }

    /// An id for a layer that only the backup has, at a place from `from` on that `seed` chooses.
    pub(super) fn free_layer_id(&self, from: u64, seed: u64) -> Result<u64> {
        let used: BTreeSet<u64> =
            warp_checkpoint::layer_ids(&*self.layers).map_err(read_error)?.into_iter().collect();
        let mut seed = seed ^ finalize(self.next_number);
        loop {
            seed = finalize(seed);
            // Below 2 * `from`, so that an engine that goes on from there has room.
            let id = from + seed % from;
            if !used.contains(&id) {
                return Ok(id);
            }
        }
    }

    /// Makes the layers that are there a backup: from here on it is the one in this directory.
    pub(super) fn publish(&mut self, manifest: Manifest) -> Result<()> {
        if warp_wal::segment_names(&*self.log).map_err(log_read_error)?.is_empty() {
            let tag = finalize(manifest.hash_seed);
            warp_wal::write_empty(&*self.log, manifest.highest, manifest.time, tag).map_err(|error| {
                Error::new(log_error_kind(&error), "cannot write the log of the backup").caused_by(error)
            })?;
        }
        let manifest = Manifest { number: self.next_number, ..manifest };
        self.next_number += 1;
        let earlier_seq = self.earlier.as_ref().map_or(0, |earlier| {
            if earlier.number >= self.mark.number { self.mark.seq } else { self.mark.earlier_seq }
        });
        self.mark = Mark { number: manifest.number, seq: manifest.highest, earlier_seq, ..self.mark };
        write_mark(&*self.dir, self.mark)?;
        warp_checkpoint::publish(&*self.dir, &manifest).map_err(|error| {
            let public = checkpoint_error(error.source);
            Error::new(public.kind(), "cannot publish the backup").caused_by(public)
        })?;
        self.earlier = Some(manifest);
        Ok(())
    }

    /// Removes what the backup does not need; returns how many files that were. What readers of the backup hold stays, and
    /// goes with the next one.
    pub(super) fn remove_needless(&self) -> Result<usize> {
        let Some(manifest) = &self.earlier else { return Ok(0) };
        let Ok(_nobody_reads) = self.dir.try_lock(READERS_FILE, LockKind::Exclusive) else { return Ok(0) };
        let numbers = warp_checkpoint::list(&*self.dir).map_err(read_error)?;
        let ids = warp_checkpoint::layer_ids(&*self.layers).map_err(read_error)?;
        let needed: BTreeSet<u64> = manifest.layers.iter().map(|layer| layer.id).collect();
        let needless = Obsolete {
            manifests: numbers.into_iter().filter(|number| *number != manifest.number).collect(),
            layers: ids.into_iter().filter(|id| !needed.contains(id)).collect(),
            ..Obsolete::default()
        };
        let mut removed = needless.manifests.len() + needless.layers.len();
        warp_checkpoint::remove(&*self.dir, &*self.layers, &needless).map_err(read_error)?;
        let names = self.layers.list().map_err(|error| target_error(error, "cannot list the backup"))?;
        for name in names.iter().filter(|name| warp_checkpoint::is_partial_layer(name)) {
            self.layers.remove(name).map_err(|error| target_error(error, "cannot tidy the backup"))?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// The mark of a directory for backups of that database; `None` if it is empty. An error if it holds anything else.
fn read_mark(dir: &dyn Dir, database_id: u128) -> Result<Option<Mark>> {
    let read = |error| target_error(error, "cannot read the directory of the backup");
    let names = dir.list().map_err(read)?;
    if names.iter().any(|name| name == MARK_FILE) {
        let mark = decode_mark(dir)?;
        return if mark.database_id == database_id {
            Ok(Some(mark))
        } else {
            Err(Error::invalid("the directory holds backups of another database"))
        };
    }
    let is_ours = |name: &String| [LOCK_FILE, MARK_PARTIAL].contains(&&**name);
    if names.iter().all(is_ours) && dir.list_dirs().map_err(read)?.is_empty() {
        return Ok(None);
    }
    let is_database = !warp_checkpoint::list(dir).map_err(read_error)?.is_empty();
    Err(Error::invalid(if is_database {
        "the directory is that of a database, and not one for backups"
    } else {
        "the directory is not empty, and not one for backups"
    }))
}

fn decode_mark(dir: &dyn Dir) -> Result<Mark> {
    let mut bytes = [0; MARK_BYTES];
    let file = dir.open(MARK_FILE, false).map_err(|error| target_error(error, "cannot read the mark"))?;
    let damaged = || Error::new(ErrorKind::Corrupt, "the mark of a backup is damaged").at(MARK_FILE);
    read_exact_at(&*file, 0, &mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => target_error(error, "cannot read the mark of the backup"),
    })?;
    let (checked, check) = bytes.split_at(MARK_CHECKED_BYTES);
    if checked[..8] != MARK_MAGIC || crc32c::crc32c(checked).to_le_bytes() != check {
        return Err(damaged());
    }
    if checked[48..50] != MARK_VERSION.to_le_bytes() {
        return Err(Error::new(ErrorKind::Unsupported, "the backup is of a newer version").at(MARK_FILE));
    }
    let mut id = [0; 16];
    id.copy_from_slice(&checked[8..24]);
    let number_at = |offset: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&checked[offset..offset + 8]);
        u64::from_le_bytes(number)
    };
    Ok(Mark {
        database_id: u128::from_le_bytes(id),
        number: number_at(24),
        seq: number_at(32),
        earlier_seq: number_at(40),
    })
}

fn encode_mark(mark: Mark) -> Vec<u8> {
    let mut bytes = MARK_MAGIC.to_vec();
    bytes.extend_from_slice(&mark.database_id.to_le_bytes());
    for number in [mark.number, mark.seq, mark.earlier_seq] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&MARK_VERSION.to_le_bytes());
    bytes.resize(MARK_CHECKED_BYTES, 0);
    let check = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

fn write_mark(dir: &dyn Dir, mark: Mark) -> Result<()> {
    // Of an attempt that a crash ended. Whether there was one, the next line finds out.
    let _ = dir.remove(MARK_PARTIAL);
    let written = dir.create_new(MARK_PARTIAL).and_then(|file| {
        write_all_at(&*file, 0, &encode_mark(mark))?;
        file.sync_data()?;
        dir.rename(MARK_PARTIAL, MARK_FILE)?;
        dir.sync_dir()
    });
    written.map_err(|error| target_error(error, "cannot mark the directory as a backup"))
}

/// An error of a file operation in the directory of the backup.
pub(super) fn target_error(source: io::Error, what: &'static str) -> Error {
    let kind = if warp_io::is_full(&source) { ErrorKind::Full } else { ErrorKind::Io };
    Error::new(kind, what).caused_by(source)
}

fn read_error(error: warp_checkpoint::Error) -> Error {
    let public = checkpoint_error(error);
    Error::new(public.kind(), "cannot read the earlier backup").caused_by(public)
}

fn log_read_error(error: warp_wal::Error) -> Error {
    let public = log_error(error);
    Error::new(public.kind(), "cannot read the log of the earlier backup").caused_by(public)
}

fn log_error_kind(error: &warp_wal::Error) -> ErrorKind {
    match error {
        warp_wal::Error::Io { source, .. } if warp_io::is_full(source) => ErrorKind::Full,
        _ => ErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use warp_io::SimDisk;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/format/directory.md");

    #[test]
    fn the_mark_is_as_documented_and_no_damage_is_believed() {
        let start = DOCUMENT.find("```hex backup-mark").unwrap();
        let fence = &DOCUMENT[start..][..DOCUMENT[start..].find("\n```\n").unwrap()];
        let lines = fence.lines().skip(1).map(|line| line.split('#').next().unwrap());
        let documented: Vec<u8> =
            lines.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let database_id = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
        let mark = Mark { database_id, number: 3, seq: 41, earlier_seq: 40 };
        let bytes = encode_mark(mark);
        assert_eq!(bytes, documented);
        assert_eq!(bytes.len(), MARK_BYTES);
        let disk = SimDisk::new(1);
        disk.write(MARK_FILE, bytes.clone());
        assert_eq!(decode_mark(&disk.root()).unwrap(), mark);
        for bit in 0..MARK_BYTES as u64 * 8 {
            disk.write(MARK_FILE, bytes.clone());
            disk.flip_bit(MARK_FILE, bit);
            assert_eq!(decode_mark(&disk.root()).unwrap_err().kind(), ErrorKind::Corrupt, "bit {bit}");
        }
    }
}
