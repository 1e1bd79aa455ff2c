//! The engine with everything on against the bare table under it, over the same keys.

use std::hint::black_box;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use warp_api::{Error, WarpEngine};

use super::job::Job;
use super::ours::Ours;
use super::store::{Read, Reading, Seen, Store, StorePass, digest};
use crate::clients::clients;
use crate::keys::{Key, Requests, Spread, Value, requests};
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

/// An engine as a store. What fails is kept until [`Store::settle`] is called, as the other stores cannot fail.
struct Engine {
    engine: WarpEngine,
    failed: Mutex<Option<Error>>,
}

impl Engine {
    /// The value of `result`, or the default after keeping the error.
    fn kept<T: Default>(&self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            T::default()
        })
    }
}

impl Read for Engine {
    fn with_value(&self, key: &Key) -> Option<u64> {
        self.kept(self.engine.with_value(key, digest))
    }

    fn get(&self, key: &Key) -> Option<u64> {
        // Looked at where it was returned: to move a handle costs more than the digest of it.
        match self.engine.get(key) {
            Ok(value) => value.as_deref().map(digest),
            Err(error) => self.kept(Err(error)),
        }
    }
}

impl Store for Engine {
    fn insert(&self, key: &Key, value: &Value) {
        black_box(self.kept(self.engine.put(key, value).map(Some)));
    }

    fn overwrite(&self, key: &Key, value: &Value) {
        self.insert(key, value);
    }

    fn remove(&self, key: &Key) {
        self.kept(self.engine.delete(key));
    }

    fn settle(&self) -> Outcome<()> {
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error.into()),
            None => Ok(self.engine.sync()?),
        }
    }
}

/// What is measured, by the name of the call on the engine.
#[derive(Clone, Copy, Debug)]
enum Call {
    Put,
    Read(Reading),
}

const CALLS: [(Call, &str); 3] =
    [(Call::Put, "put"), (Call::Read(Reading::Get), "get"), (Call::Read(Reading::With), "with_value")];

/// Fills both, and measures them by turns.
///
/// # Errors
/// What the engine answers.
pub(crate) fn engine(job: &mut Job, dir: &Path) -> Outcome<()> {
    let dir = tempfile::tempdir_in(dir)?;
    let engine = Engine { engine: WarpEngine::open(dir.path())?, failed: Mutex::default() };
    let stores: [Box<dyn StorePass>; 2] = [Box::new(engine), Box::new(Ours::new())];
    let keys = job.keys();
    for (store, name) in stores.iter().zip(["the engine", "the table"]) {
        job.say(&format!("filling {name}"));
        store.insert_all(&keys);
        store.settle()?;
    }
    let mut table = Table::new(
        format!("The engine against the bare table, {} keys", grouped(keys.len() as f64)),
        &["keys asked for", "threads", "operation", "engine", "least", "most", "table", "engine / table"],
    );
    let mut wrong = Vec::new();
    for spread in Spread::ALL {
        let requests = requests(spread, &keys, job.clients_max(), job.sizes.operations, job.seed);
        for &threads in &job.sizes.threads {
            for (call, what) in CALLS {
                job.say(&format!("{}, {threads} threads, {what}", spread.name()));
                let series = rates(job, &stores, call, &requests[..threads], &mut wrong)?;
                let title = [Cell::text(spread.name()), Cell::count(threads as u64), Cell::text(what)];
                let bare = [Cell::rate(series.median(1)), Cell::ratio(series.ratio(0, 1))];
                table.row(title.into_iter().chain(series.cells(0)).chain(bare));
            }
        }
    }
    table.note(format!(
        "Medians of {} by turns, ratios within a run. The engine has default options, with all",
        job.sizes.runs
    ));
    table.note(
        "physics on, and lies on the disk; puts are Interval. Its sync after a pass of puts is not timed.",
    );
    job.report.table(table);
    let detail = wrong.first().cloned().unwrap_or_else(|| "in both".to_owned());
    job.report.check("every read found its key", wrong.is_empty(), detail);
    // The engine goes before its directory does.
    drop(stores);
    Ok(())
}

fn rates(
    job: &Job,
    stores: &[Box<dyn StorePass>; 2],
    call: Call,
    requests: &[Requests],
    wrong: &mut Vec<String>,
) -> Outcome<Series> {
    let mut series = Series::new(stores.len());
    let count: usize = requests.iter().map(|requests| requests.keys.len()).sum();
    for run in 0..job.sizes.runs {
        for place in turns(stores.len(), run) {
            let store = &stores[place];
            let (outcome, time) = job.time(|| {
                clients(requests.len(), |number| {
                    let keys = &requests[number].keys;
                    match call {
                        Call::Put => store.overwrite_all(keys),
                        Call::Read(how) => return Ok(Some(store.read(how, keys))),
                    }
                    Ok(None)
                })
            });
            let seen: Vec<Seen> = outcome?.into_iter().flatten().collect();
            series.push(place, count as f64 / time.as_secs_f64());
            let hits: u64 = seen.iter().map(|seen| seen.hits).sum();
            if !seen.is_empty() && hits != count as u64 {
                wrong.push(format!("{call:?} found {hits} of {count}"));
            }
            store.settle()?;
        }
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_answers_as_every_store_must() {
        let dir = tempfile::tempdir().unwrap();
        let engine = WarpEngine::open(dir.path()).unwrap();
        super::super::store::check_store(&Engine { engine, failed: Mutex::default() });
    }

    #[test]
    fn an_error_comes_out_when_the_store_settles() {
        let dir = tempfile::tempdir().unwrap();
        let engine = WarpEngine::open(dir.path()).unwrap();
        engine.clone().close().unwrap();
        let store = Engine { engine, failed: Mutex::default() };
        assert_eq!(store.get(&[0; 16]), None);
        assert!(Store::settle(&store).is_err());
    }
}
