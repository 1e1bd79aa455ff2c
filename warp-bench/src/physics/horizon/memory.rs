//! Memory of a full cache, in a process of its own: what another part has freed would hide it.

use warp_physics::EventHorizonCache;

use crate::child;
use crate::machine::Usage;
use crate::physics::Job;
use crate::report::{Cell, Table};
use crate::run::Outcome;

/// Enough to drown what the process takes else.
const ENTRIES: u32 = 1_000_000;

/// What the process that fills a cache is told.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArguments {
    /// Remnants for each entry.
    remnants: f32,
}

/// The child's side: fills a cache with four times as many keys as fit, and prints the anonymous bytes that it takes, and its
/// entries.
///
/// # Errors
/// A kernel that does not say what a process takes.
pub(crate) fn cache(arguments: &CacheArguments) -> Outcome<()> {
    let before = Usage::anonymous()?;
    let cache: EventHorizonCache<u32, u64> =
        EventHorizonCache::builder(ENTRIES.into()).remnants(arguments.remnants).build();
    for key in 0..4 * ENTRIES {
        cache.insert(key, u64::from(key));
    }
    println!("{} {}", Usage::anonymous()?.saturating_sub(before), cache.stats().entries);
    Ok(())
}

/// Resident memory of a full cache over that of keys and values, without remnants and with them.
///
/// # Errors
/// What the children and the system answer.
pub(super) fn memory(job: &mut Job) -> Outcome<()> {
    let mut table = Table::new("Memory of a full cache of a million entries", &["what", "bytes an entry"]);
    for (remnants, what) in
        [(0, "beyond key and value, without remnants"), (4, "the same, with four remnants an entry")]
    {
        table.row([Cell::text(what), Cell::number(held(remnants)?, " B")]);
    }
    table.note("As the kernel counts it, with the doubled room of growing vectors where it was touched; each in a process of");
    table.note("its own.");
    job.report.table(table);
    Ok(())
}

/// Bytes an entry beyond key and value.
fn held(remnants: u32) -> Outcome<f64> {
    let answer =
        child::answer("the process with a cache", |command| command.args(["cache", &remnants.to_string()]))?;
    let numbers: Vec<f64> = answer.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers[..] {
        [bytes, entries] => Ok(bytes / entries.max(1.0) - size_of::<(u32, u64)>() as f64),
        _ => Err("the child's answer is not two numbers".into()),
    }
}
