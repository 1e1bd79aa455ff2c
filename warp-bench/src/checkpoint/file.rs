//! A layer file alone, through a map and read block by block, beside a constant database of another crate (`cdb64`, with
//! the feature `peers`).

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use warp_checkpoint::{
    BlockCache, Layer, LayerAccess, LayerEntry, LayerInfo, LayerOptions, LayerWriter, hash,
};
use warp_io::OsDir;

use super::files::{disk_bytes, drop_page_cache};
use super::job::Job;
use crate::keys::{Key, keys, value};
use crate::latency::median;
use crate::random::Random;
use crate::report::{Cell as Shown, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// Reads of one pass.
const READS: usize = 200_000;
/// Reads from the disk: each may wait for it.
const COLD_READS: usize = 5_000;
const STREAM: u64 = 31;
/// Blocks that are kept where the file is not mapped: the engine's default.
const CACHE_BYTES: usize = 64 << 20;

/// Something that is written once and then read.
trait Constant {
    /// Writes all records.
    fn write(&self, dir: &Path, keys: &[Key]) -> Outcome<()>;
    /// Opens what was written.
    fn open(&self, dir: &Path) -> Outcome<Box<dyn Lookup>>;
}

/// An open file.
trait Lookup {
    /// Whether a key is there with its value.
    fn has(&self, key: &Key) -> Outcome<bool>;
}

/// A layer, and what a manifest would say of it.
struct Ours {
    access: fn() -> LayerAccess,
    info: Cell<LayerInfo>,
}

impl Ours {
    fn new(access: fn() -> LayerAccess) -> Ours {
        Ours { access, info: Cell::default() }
    }
}

const ID: u64 = 1;

impl Constant for Ours {
    fn write(&self, dir: &Path, keys: &[Key]) -> Outcome<()> {
        let dir = OsDir::open(dir, true)?;
        let mut writer = LayerWriter::create_in(&dir, ID, &LayerOptions { compress_from: None })?;
        for (seq, key) in (1..).zip(keys) {
            let value = value(key);
            writer.add(&LayerEntry {
                hash: hash(key),
                keyspace: 0,
                key,
                seq,
                deadline: 0,
                value: Some(&value),
            })?;
        }
        self.info.set(writer.finish_with(&(self.access)(), &mut |_| true)?);
        Ok(())
    }

    fn open(&self, dir: &Path) -> Outcome<Box<dyn Lookup>> {
        let dir = OsDir::open(dir, false)?;
        Ok(Box::new(Layer::open_with(&dir, &self.info.get(), &(self.access)())?))
    }
}

impl Lookup for Layer {
    fn has(&self, key: &Key) -> Outcome<bool> {
        let found = self.get(hash(key), 0, key)?;
        Ok(found.and_then(|found| found.value).is_some_and(|value| value.starts_with(key)))
    }
}

#[cfg(feature = "peers")]
mod cdb {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use cdb64::{Cdb, CdbHash, CdbWriter, ReaderAt};
    use warp_io::{Dir, MappedBytes, OsDir};

    use super::{Constant, Lookup};
    use crate::keys::{Key, value};
    use crate::run::Outcome;

    pub(super) struct Cdb64;

    /// The file in a map: the crate's own way to one cannot be switched on, since its code asks for a feature that it does
    /// not have.
    struct Mapped(MappedBytes);

    impl ReaderAt for Mapped {
        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
            let start = usize::try_from(offset).map_err(io::Error::other)?.min(self.0.len());
            let count = out.len().min(self.0.len() - start);
            out[..count].copy_from_slice(&self.0[start..start + count]);
            Ok(count)
        }
    }

    const NAME: &str = "records.cdb";

    impl Constant for Cdb64 {
        fn write(&self, dir: &Path, keys: &[Key]) -> Outcome<()> {
            OsDir::open(dir, true)?;
            let mut writer = CdbWriter::<File, CdbHash>::create(dir.join(NAME))?;
            for key in keys {
                writer.put(key, &value(key))?;
            }
            writer.finalize()?;
            Ok(writer.into_inner()?.sync_data()?)
        }

        fn open(&self, dir: &Path) -> Outcome<Box<dyn Lookup>> {
            let file = OsDir::open(dir, false)?.open(NAME, false)?;
            Ok(Box::new(Cdb::<_, CdbHash>::new(Mapped(file.map()?))?))
        }
    }

    impl<R: ReaderAt> Lookup for Cdb<R, CdbHash> {
        fn has(&self, key: &Key) -> Outcome<bool> {
            Ok(self.get(key)?.is_some_and(|value| value.starts_with(key)))
        }
    }
}

/// Writes, opens and reads.
///
/// # Errors
/// What the files answer; a wrong answer.
pub(crate) fn file(job: &mut Job) -> Outcome<()> {
    let keys = keys(job.seed, job.sizes.entries * 2);
    let (there, absent) = keys.split_at(job.sizes.entries);
    let rows: Vec<(&str, Box<dyn Constant>)> = vec![
        ("warp-checkpoint, mapped", Box::new(Ours::new(|| LayerAccess::Map))),
        (
            "warp-checkpoint, read in blocks",
            Box::new(Ours::new(|| LayerAccess::Read(BlockCache::new(CACHE_BYTES)))),
        ),
        #[cfg(feature = "peers")]
        ("cdb64, mapped", Box::new(cdb::Cdb64)),
    ];
    let mut table = Table::new(
        format!("A file of {} entries alone", grouped(there.len() as f64)),
        &[
            "what",
            "write",
            "bytes",
            "open",
            "hit",
            "miss",
            "hit, page cache dropped before",
            "gets a second then",
        ],
    );
    for (what, constant) in rows {
        let mut runs: [Vec<f64>; 5] = Default::default();
        let mut bytes = 0;
        for run in 0..job.sizes.runs {
            job.say(&format!("file, {what}, run {}", run + 1));
            let dir = job.dir()?;
            let (written, write) = job.time(|| constant.write(dir.path(), there));
            written?;
            bytes = disk_bytes(dir.path())?;
            let (opened, open) = job.time(|| constant.open(dir.path()));
            let opened = opened?;
            let mut random = Random::new(job.seed, STREAM + run as u64);
            // What is touched for the first time has its checksum looked at: a pass before shows neither that nor the disk.
            reads(job, &*opened, there, there.len().min(READS * 5), true, &mut random)?;
            let hit = reads(job, &*opened, there, READS, true, &mut random)?;
            let miss = reads(job, &*opened, absent, READS, false, &mut random)?;
            drop(opened);
            drop_page_cache(dir.path())?;
            let opened = constant.open(dir.path())?;
            let cold = reads(job, &*opened, there, COLD_READS, true, &mut random)?;
            let times = [write, open, hit, miss, cold];
            runs.iter_mut().zip(times).for_each(|(runs, time)| runs.push(time.as_secs_f64()));
        }
        let [write, open, hit, miss, cold] = runs.map(|runs| Duration::from_secs_f64(median(&runs)));
        let title = [Shown::text(what), Shown::time(write), Shown::bytes(bytes)];
        let times = [open, hit, miss, cold].map(Shown::time);
        table.row(title.into_iter().chain(times).chain([Shown::rate(1.0 / cold.as_secs_f64())]));
    }
    table.note("Written, synced, and, ours, read back and verified in full, which cdb64 does not do; ours has checksums, sequence");
    table.note(
        "numbers and a filter beside. Read in blocks: a cache of 64 MiB. Reads are uniform, on one thread.",
    );
    job.report.table(table);
    Ok(())
}

/// The time of one read.
fn reads(
    job: &Job,
    file: &dyn Lookup,
    keys: &[Key],
    count: usize,
    expected: bool,
    random: &mut Random,
) -> Outcome<Duration> {
    let asked: Vec<Key> = (0..count).map(|_| keys[random.below(keys.len())]).collect();
    let (right, time) = job.time(|| {
        asked.iter().try_fold(0, |right, key| -> Outcome<usize> {
            Ok(right + usize::from(file.has(key)? == expected))
        })
    });
    if right? != count {
        return Err("a constant file gave a wrong answer".into());
    }
    Ok(time.div_f64(count as f64))
}
