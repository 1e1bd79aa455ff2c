//! Redis over a socket beside ours in this process: the same clients, the same records, alone and 16 in a pipeline.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use warp_api::{Durability, WarpEngine};
use warp_io::Clock;

use super::committer::{CLIENTS_MAX, Committer, Mode};
use super::job::Job;
use super::kinds::Role;
use super::resp::{Connection, Reply};
use super::server::{self, Server};
use crate::child;
use crate::clients::clients;
use crate::keys::{Key, Requests, next_value};
use crate::report::{Cell, Table};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

const CLIENTS: [usize; 3] = [1, 8, 64];
const PIPELINES: [usize; 2] = [1, 16];

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Set,
    Get,
}

/// Something that takes several requests of a client at once.
trait Batches: Sync {
    /// `count` goes into the values, so that they are new ones.
    ///
    /// # Errors
    /// What the store answers; that a key is not there.
    fn batch(&self, client: usize, operation: Operation, keys: &[Key], count: u64) -> Outcome<()>;
}

/// A server with a connection for each client.
#[derive(Debug)]
pub(crate) struct Redis {
    server: Server,
    connections: Vec<Mutex<Option<Connection>>>,
}

impl Redis {
    /// Starts a server with nothing in it.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Redis> {
        let server = Server::start(dir, mode)?;
        Ok(Redis { server, connections: (0..CLIENTS_MAX).map(|_| Mutex::default()).collect() })
    }

    /// Sends requests together, and reads their replies.
    fn with<T>(&self, client: usize, work: impl FnOnce(&mut Connection) -> Outcome<T>) -> Outcome<T> {
        let mut connection = self.connections[client].lock().unwrap_or_else(PoisonError::into_inner);
        if connection.is_none() {
            *connection = Some(self.server.connect()?);
        }
        work(connection.as_mut().ok_or("a client has no connection")?)
    }
}

impl Committer for Redis {
    fn commit(&self, client: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.with(client, |connection| {
            connection.set(key, value);
            connection.send()?;
            expect(&connection.reply()?, Operation::Set)
        })
    }
}

impl Batches for Redis {
    fn batch(&self, client: usize, operation: Operation, keys: &[Key], count: u64) -> Outcome<()> {
        self.with(client, |connection| {
            for key in keys {
                match operation {
                    Operation::Set => connection.set(key, &next_value(key, count)),
                    Operation::Get => connection.get(key),
                }
            }
            connection.send()?;
            keys.iter().try_for_each(|_| expect(&connection.reply()?, operation))
        })
    }
}

fn expect(reply: &Reply, operation: Operation) -> Outcome<()> {
    match (reply, operation) {
        (Reply::Done, Operation::Set) | (Reply::Value(_), Operation::Get) => Ok(()),
        (other, _) => Err(format!("the server answered {other:?} to a {operation:?}").into()),
    }
}

/// The engine: a batch of puts is put one by one, and waited for once if it is to be durable.
struct Ours {
    engine: WarpEngine,
    mode: Mode,
}

impl Batches for Ours {
    fn batch(&self, _: usize, operation: Operation, keys: &[Key], count: u64) -> Outcome<()> {
        match operation {
            Operation::Get => {
                for key in keys {
                    self.engine.get(key)?.ok_or("a key that was put is not there")?;
                }
            }
            Operation::Set => {
                let mut last = None;
                for key in keys {
                    last = Some(self.engine.put(key, next_value(key, count))?);
                }
                if let (Mode::Sync, Some(last)) = (self.mode, last) {
                    self.engine.durable(last).wait()?;
                }
            }
        }
        Ok(())
    }
}

/// Compares, or says that there is nothing to compare with.
///
/// # Errors
/// What the engine, the server and the system answer.
pub(crate) fn redis(job: &mut Job) -> Outcome<()> {
    if !server::is_there() {
        println!("\nNOT MEASURED: there is no redis-server in PATH, so that nothing is said about Redis.");
        return Ok(());
    }
    if !job.kinds.iter().any(|kind| kind.name == "redis" && kind.role == Role::Rival) {
        return Ok(());
    }
    let dir = job.dir()?;
    let place = |name: &str| -> Outcome<std::path::PathBuf> {
        let place = dir.path().join(name);
        warp_io::OsDir::open(&place, true)?;
        Ok(place)
    };
    // One engine, as the durability of a write is the caller's choice.
    let engine =
        child::on_demand().checkpoints_kept(1).durability(Durability::Interval).open(place("ours")?)?;
    let stores: [(&str, Box<dyn Batches>); 4] = [
        ("ours, Sync", Box::new(Ours { engine: engine.clone(), mode: Mode::Sync })),
        ("redis, always", Box::new(Redis::open(&place("always")?, Mode::Sync)?)),
        ("ours, Interval", Box::new(Ours { engine: engine.clone(), mode: Mode::Lazy })),
        ("redis, everysec", Box::new(Redis::open(&place("everysec")?, Mode::Lazy)?)),
    ];
    let requests = job.requests(CLIENTS.into_iter().max().unwrap_or(1));
    for (_, store) in &stores {
        clients(requests.len(), |number| {
            requests[number]
                .keys
                .chunks(1_000)
                .try_for_each(|keys| store.batch(number, Operation::Set, keys, 0))
        })?;
    }
    engine.checkpoint()?;
    let names: Vec<&str> = stores.iter().map(|(name, _)| *name).collect();
    let columns =
        [&["operation", "clients", "pipeline"], &names[..], &["ours / always", "ours / everysec"]].concat();
    let mut table =
        Table::new("Ours in this process, and Redis over a unix socket: operations a second", &columns);
    for operation in [Operation::Set, Operation::Get] {
        for clients in job.threads(&CLIENTS) {
            for pipeline in PIPELINES {
                job.say(&format!("redis, {operation:?}, {clients} clients, pipeline {pipeline}"));
                let mut series = Series::new(stores.len());
                for run in 0..job.sizes.runs {
                    for store in turns(stores.len(), run) {
                        let requests = &requests[..clients.min(requests.len())];
                        series.push(store, rate(job, &*stores[store].1, operation, pipeline, requests)?);
                    }
                    engine.checkpoint()?;
                }
                let title =
                    [format!("{operation:?}").to_uppercase(), clients.to_string(), pipeline.to_string()];
                let rates = (0..stores.len()).map(|store| Cell::rate(series.median(store)));
                let ratios = [series.ratio(0, 1), series.ratio(2, 3)].map(Cell::ratio);
                table.row_now(title.map(Cell::text).into_iter().chain(rates).chain(ratios));
            }
        }
    }
    table.note(
        "Ours answers in the process that asks: no socket and no protocol is between, which is most of the",
    );
    table.note(
        "difference where nobody waits for the disk. A pipeline of ours is as many puts, and one wait.",
    );
    table.note(
        "GET: both columns of ours are the same engine, and both of Redis differ in what they write only.",
    );
    job.report.table(table);
    Ok(())
}

fn rate(
    job: &Job,
    store: &dyn Batches,
    operation: Operation,
    pipeline: usize,
    requests: &[Requests],
) -> Outcome<f64> {
    let start = job.clock.monotonic();
    let end = start + job.sizes.pass;
    let counts = clients(requests.len(), |number| {
        let mut count = 0_u64;
        for keys in requests[number].keys.chunks(pipeline).cycle() {
            store.batch(number, operation, keys, count)?;
            count += keys.len() as u64;
            if job.clock.monotonic() >= end {
                break;
            }
        }
        Ok(count)
    })?;
    let time: Duration = job.clock.monotonic() - start;
    Ok(counts.iter().sum::<u64>() as f64 / time.as_secs_f64())
}
