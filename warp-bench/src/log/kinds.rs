//! What small records are committed to: ours, the skeleton, Redis where there is one, and rivals with the feature `peers`
//! (RocksDB with `rocksdb`).

use std::path::Path;

use warp_io::OsDir;

use super::committer::{Committer, Mode};
use super::ours::{BareLog, Engine};
#[cfg(feature = "peers")]
use super::peers;
use super::redis::Redis;
#[cfg(feature = "rocksdb")]
use super::rocksdb;
use super::server;
use super::skeleton::Skeleton;
use crate::run::Outcome;

/// What something is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The engine: table and log.
    Ours,
    /// Our log alone.
    Log,
    /// Less than a log: what it reaches is a bound.
    Limit,
    /// A key-value store.
    Rival,
    /// A log without a store.
    #[cfg(feature = "peers")]
    RivalLog,
}

impl Role {
    /// Whether it is something that a program could use in place of ours.
    pub(crate) fn is_rival(self) -> bool {
        !matches!(self, Role::Ours | Role::Log | Role::Limit)
    }
}

/// Opens something to commit to, in a directory that is there and empty.
type Open = fn(&Path, Mode) -> Outcome<Box<dyn Committer>>;

/// Something to commit to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Whether it knows commits that return at once.
    pub(crate) lazy: bool,
    open: Open,
}

impl Kind {
    /// Makes an empty one in a directory of its own, under `parent`.
    ///
    /// # Errors
    /// What the store or the system answers.
    pub(crate) fn open_in(&self, parent: &Path, mode: Mode) -> Outcome<Box<dyn Committer>> {
        let place = parent.join(self.name);
        OsDir::open(&place, true)?;
        (self.open)(&place, mode)
    }
}

/// All kinds, ours first.
const KINDS: &[Kind] = &[
    Kind {
        name: "ours",
        role: Role::Ours,
        lazy: true,
        open: |dir, mode| Ok(Box::new(Engine::open(dir, mode)?)),
    },
    Kind {
        name: "warp-wal",
        role: Role::Log,
        lazy: true,
        open: |dir, mode| Ok(Box::new(BareLog::open(dir, mode)?)),
    },
    Kind {
        name: "skeleton",
        role: Role::Limit,
        lazy: false,
        open: |dir, _| Ok(Box::new(Skeleton::open(dir)?)),
    },
    Kind {
        name: "redis",
        role: Role::Rival,
        lazy: false,
        open: |dir, mode| Ok(Box::new(Redis::open(dir, mode)?)),
    },
    #[cfg(feature = "peers")]
    Kind {
        name: "fjall",
        role: Role::Rival,
        lazy: true,
        open: |dir, mode| Ok(Box::new(peers::Fjall::open(dir, mode)?)),
    },
    #[cfg(feature = "peers")]
    Kind {
        name: "redb",
        role: Role::Rival,
        lazy: true,
        open: |dir, mode| Ok(Box::new(peers::Redb::open(dir, mode)?)),
    },
    #[cfg(feature = "peers")]
    Kind {
        name: "surrealkv",
        role: Role::Rival,
        lazy: true,
        open: |dir, mode| Ok(Box::new(peers::SurrealKv::open(dir, mode)?)),
    },
    #[cfg(feature = "peers")]
    Kind {
        name: "surrealmx",
        role: Role::Rival,
        lazy: true,
        open: |dir, mode| Ok(Box::new(peers::SurrealMx::open(dir, mode)?)),
    },
    #[cfg(feature = "peers")]
    Kind {
        name: "sled",
        role: Role::Rival,
        lazy: true,
        open: |dir, mode| Ok(Box::new(peers::Sled::open(dir, mode)?)),
    },
    #[cfg(feature = "rocksdb")]
    Kind {
        name: "rocksdb",
        role: Role::Rival,
        lazy: true,
        open: |dir, mode| Ok(Box::new(rocksdb::RocksDb::open(dir, mode)?)),
    },
    #[cfg(feature = "peers")]
    Kind {
        name: "okaywal",
        role: Role::RivalLog,
        lazy: false,
        open: |dir, _| Ok(Box::new(peers::OkayWal::open(dir)?)),
    },
];

const REDIS: &str = "redis";

/// The kinds with these names, in their own order, and ours in any case; without names, all that there are here.
/// Without `limits` the skeleton is left out.
///
/// # Errors
/// A name that no kind has, or Redis by its name where there is none.
pub(crate) fn kinds(names: &[String], limits: bool) -> Outcome<Vec<Kind>> {
    for name in names {
        if !KINDS.iter().any(|kind| kind.name == name) {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let known = known.join(", ");
            return Err(format!(
                "nothing is called {name:?}; there are {known} (rivals with the feature peers, RocksDB with rocksdb)"
            )
            .into());
        }
    }
    let named = |name: &str| names.iter().any(|other| other == name);
    let redis = server::is_there();
    if !redis && named(REDIS) {
        return Err("there is no redis-server in PATH".into());
    }
    let wanted = |kind: &&Kind| {
        let ours = matches!(kind.role, Role::Ours | Role::Log);
        let possible = (redis || kind.name != REDIS) && (limits || kind.role != Role::Limit);
        possible && (ours || names.is_empty() || named(kind.name))
    };
    Ok(KINDS.iter().filter(wanted).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::super::committer::check_committer;
    use super::*;

    #[test]
    fn ours_is_always_there_and_unknown_names_are_refused() {
        let only = kinds(&["skeleton".to_owned()], true).unwrap();
        assert_eq!(only.iter().map(|kind| kind.name).collect::<Vec<_>>(), ["ours", "warp-wal", "skeleton"]);
        assert!(kinds(&[], false).unwrap().iter().all(|kind| kind.role != Role::Limit));
        assert!(kinds(&["nobody".to_owned()], true).is_err());
    }

    #[test]
    fn every_kind_commits() {
        for kind in kinds(&[], true).unwrap() {
            for mode in [Mode::Sync, Mode::Lazy] {
                let dir = tempfile::tempdir().unwrap();
                let store = kind.open_in(dir.path(), mode).unwrap();
                check_committer(&*store, mode);
            }
        }
    }
}
