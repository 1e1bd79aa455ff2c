//! What `--help` shows of the commands that are used most. A test runs all of it.

pub(crate) const PUT: &str = "\
Examples:
  warp put user:1 Ada
  warp put --keyspace jobs 1 print --ttl 12h
  date | warp put last:run -";

pub(crate) const GET: &str = "\
Examples:
  warp get user:1
  warp get --keyspace jobs 1
  warp get --hex 757365723a31";

pub(crate) const LIST: &str = "\
Examples:
  warp list --limit 10
  warp list --prefix user: --keys-only";

pub(crate) const IMPORT: &str = "\
Examples:
  warp import entries.jsonl
  warp export | warp --data ./copy import";

pub(crate) const EXPORT: &str = "\
Examples:
  warp export entries.jsonl
  warp export | gzip > entries.jsonl.gz";

pub(crate) const ENTANGLE: &str = "\
Examples:
  warp entangle order:7 user:1
  warp entangle user:1 profile:1 session:1 --strength 0.5";

pub(crate) const QUANTUM: &str = "\
Examples:
  warp quantum user:1
  warp quantum user:1 --partners 3 --strength 0.5";

pub(crate) const BACKUP: &str = "\
Examples:
  warp backup ./backup
  warp --data ./backup verify";

pub(crate) const VERIFY: &str = "\
Examples:
  warp verify
  warp verify && warp backup ./backup";

pub(crate) const REPAIR: &str = "\
Examples:
  warp repair
  warp repair --json > report.json";
