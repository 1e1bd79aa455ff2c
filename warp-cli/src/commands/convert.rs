//! Rewriting the write-ahead log in the other form, under the lock of its database.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;
use warp_api::READERS_FILE;
use warp_io::{Dir, DirLock, LockKind, OsDir};
use warp_wal::{ConvertOptions, Format, LogOptions};

use crate::args::{ConvertArgs, Form};
use crate::failure::Failure;
use crate::session::{LOG_DIR, Session};
use crate::text::counted;

pub(super) fn convert(args: &ConvertArgs, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let source = Source::open(args.dir.as_deref().unwrap_or(session.data()))?;
    let target = args.out.as_deref().map(|path| {
        OsDir::open(path, true).map_err(|source| Failure::Write { path: path.to_path_buf(), source })
    });
    let target = target.transpose()?;
    let options = ConvertOptions {
        format: match args.to {
            Form::Binary => Format::Binary,
            Form::Json => Format::Json,
        },
        compress_values_from: LogOptions::default().compress_values_from,
        durable: source.durable,
    };
    let report = warp_wal::convert(&*source.log, target.as_ref().map(|dir| dir as &dyn Dir), options)
        .map_err(Failure::Convert)?;
    if let Some(torn) = &report.trimmed {
        writeln!(
            out,
            "left out: a torn tail of {} from offset {} of {}",
            HumanBytes(torn.bytes),
            torn.offset,
            torn.file
        )?;
    }
    writeln!(
        out,
        "converted {} with {}: {} before, {} now",
        counted(report.segments, "segment", "segments"),
        counted(report.entries, "entry", "entries"),
        HumanBytes(report.bytes_before),
        HumanBytes(report.bytes_after)
    )?;
    Ok(())
}

/// A log that nobody else may open meanwhile.
struct Source {
    log: Arc<dyn Dir>,
    /// The sequence up to which the checkpoints know the log to have been durable; 0 without checkpoints.
    durable: u64,
    _locks: Vec<DirLock>,
}

impl Source {
    fn open(path: &Path) -> Result<Source, Failure> {
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock => Failure::InUse(path.to_path_buf()),
            _ => Failure::Read { path: path.to_path_buf(), source },
        };
        let dir = OsDir::open(path, false).map_err(fail)?;
        match dir.subdir(LOG_DIR, false) {
            Ok(log) => {
                // Nor may anybody be reading the files that change places.
                let readers = dir.try_lock(READERS_FILE, LockKind::Exclusive).map_err(fail);
                let locks = vec![dir.try_lock_exclusive().map_err(fail)?, readers?];
                return Ok(Source { log, durable: durable(&dir)?, _locks: locks });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        if warp_wal::segment_names(&dir)?.is_empty() {
            // Before a lock leaves a file in a directory that has nothing to do with any log.
            return Err(fail(io::Error::new(io::ErrorKind::NotFound, "there is no log")));
        }
        let mut locks = vec![dir.try_lock_exclusive().map_err(fail)?];
        // The log of a database is guarded by the database's lock, and its checkpoints know how far it must reach.
        let above = OsDir::open(path.join(".."), false).map_err(fail)?;
        let is_of_database = path.file_name().is_some_and(|name| name == LOG_DIR);
        let mut known = 0;
        if is_of_database && !warp_checkpoint::list(&above)?.is_empty() {
            locks.push(above.try_lock_exclusive().map_err(fail)?);
            locks.push(above.try_lock(READERS_FILE, LockKind::Exclusive).map_err(fail)?);
            known = durable(&above)?;
        }
        Ok(Source { log: dir.handle(), durable: known, _locks: locks })
    }
}

/// The highest sequence that a checkpoint holds, which was durable by then.
fn durable(home: &OsDir) -> Result<u64, Failure> {
    let mut durable = 0;
    for number in warp_checkpoint::list(home)? {
        // A damaged checkpoint says nothing, and is for whoever opens the database.
        durable =
            warp_checkpoint::load(home, number).map_or(durable, |manifest| durable.max(manifest.highest));
    }
    Ok(durable)
}
