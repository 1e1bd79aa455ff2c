//! What may be said on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::duration;
use crate::examples;
use crate::text::Encoding;

/// Looks into a WarpEngine database, and works with it.
///
/// Exit status: 0 for success, 1 if a key is not there or problems were found, 2 for any other failure.
#[derive(Debug, Parser)]
#[command(name = "warp", version)]
pub(crate) struct Args {
    /// The directory of the database
    #[arg(short, long, env = "WARP_DATA", default_value = "./data", value_name = "DIR", global = true)]
    pub(crate) data: PathBuf,
    /// Say on standard error what the engine does, not only what goes wrong
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) encoding: EncodingArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How keys and values on the command line are written.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct EncodingArgs {
    /// Keys, values, patterns and prefixes on the command line are hexadecimal
    #[arg(long, global = true, conflicts_with = "base64")]
    hex: bool,
    /// Keys, values, patterns and prefixes on the command line are base64
    #[arg(long, global = true)]
    base64: bool,
}

impl EncodingArgs {
    pub(crate) fn chosen(self) -> Encoding {
        match (self.hex, self.base64) {
            (true, _) => Encoding::Hex,
            (false, true) => Encoding::Base64,
            (false, false) => Encoding::Raw,
        }
    }
}

/// Which keyspace a command is about.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct KeyspaceArgs {
    /// The keyspace; a command that puts or links makes it if there is none
    #[arg(short = 'k', long = "keyspace", default_value = "default", value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put a value; the database is made if there is none
    #[command(after_help = examples::PUT)]
    Put(PutArgs),
    /// Write a value to standard output, as it is
    #[command(after_help = examples::GET)]
    Get {
        /// The key
        key: OsString,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
    },
    /// Delete a key
    Delete {
        /// The key
        key: OsString,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
    },
    /// Say how long a key has until it expires; `none` where it has no deadline
    Ttl {
        /// The key
        key: OsString,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
    },
    /// Have a key expire, in place of any deadline that it had
    Expire {
        /// The key
        key: OsString,
        /// How long from now, for instance 90s or 1h30m
        #[arg(value_name = "DURATION", value_parser = duration::parse)]
        ttl: Duration,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
    },
    /// Take a key's deadline away
    Persist {
        /// The key
        key: OsString,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
    },
    /// List keys with their values in the order of the keys, as the lines of JSON of an export
    #[command(visible_alias = "scan", after_help = examples::LIST)]
    List(ListArgs),
    /// Put everything that an export holds; the database is made if there is none
    #[command(after_help = examples::IMPORT)]
    Import {
        /// The export; `-` for standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Write everything that was put, and all links, rules, wormholes and laws, as lines of JSON
    #[command(after_help = examples::EXPORT)]
    Export {
        /// Where to; `-` for standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Declare links between a key and others, in both directions
    #[command(after_help = examples::ENTANGLE)]
    Entangle {
        /// The key
        key: OsString,
        /// The keys that belong with it
        #[arg(required = true)]
        partners: Vec<OsString>,
        /// How strongly they belong together, from 0.0 to 1.0
        #[arg(long, default_value_t = 1.0)]
        strength: f64,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
    },
    /// Take declared links between a key and others away; those that rules make stay
    Disentangle {
        /// The key
        key: OsString,
        /// The keys that it is linked with
        #[arg(required = true)]
        partners: Vec<OsString>,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
    },
    /// State a rule: every key that matches a pattern belongs with the keys that its id makes of other patterns
    Rule {
        /// A key with one `{id}`, for instance `user:{id}`
        pattern: OsString,
        /// The keys that belong with it, for instance `profile:{id}`
        #[arg(required = true)]
        partners: Vec<OsString>,
        /// How strongly they belong together, from 0.0 to 1.0
        #[arg(long, default_value_t = 1.0)]
        strength: f64,
    },
    /// Read a key together with its partners, strongest first, as JSON
    #[command(after_help = examples::QUANTUM)]
    Quantum(QuantumArgs),
    /// Say what the database holds, and what opening it found
    Stats {
        /// Count the keys of the keyspace, which walks all of them
        #[arg(long)]
        count: bool,
        #[command(flatten)]
        keyspace: KeyspaceArgs,
        /// All metrics and the recovery report, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what each part of physics did, as far as the database holds it, and what it was worth
    Physics(PhysicsArgs),
    /// Write the changes that the log holds, one a line, in the order in which they were made
    Watch(WatchArgs),
    /// List the names of the keyspaces
    Keyspaces,
    /// Drop a keyspace with everything in it
    Drop {
        /// The name of the keyspace
        name: String,
    },
    /// Take a checkpoint, so that the next open has less of the log to replay
    Checkpoint,
    /// Copy the database into a directory that opens as one, also while a program has it open
    #[command(after_help = examples::BACKUP)]
    Backup {
        /// The directory: empty, or with an earlier backup of this database, of which it keeps what is still needed
        to: PathBuf,
    },
    /// Read every file, check every checksum, and list what is wrong
    #[command(after_help = examples::VERIFY)]
    Verify,
    /// Keep what is sound of a damaged database, and list what is lost
    #[command(after_help = examples::REPAIR)]
    Repair {
        /// The report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at the write-ahead log, or convert it, without opening the database
    #[command(subcommand)]
    Log(LogCommand),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PutArgs {
    /// The key
    pub(crate) key: OsString,
    /// The value; `-` reads it from standard input
    pub(crate) value: OsString,
    /// The value is gone after this long, for instance 90s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) keyspace: KeyspaceArgs,
    /// Sync the log before anything else is done
    #[arg(long)]
    pub(crate) sync: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListArgs {
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    pub(crate) prefix: OsString,
    /// At most this many
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Leave the values out
    #[arg(long)]
    pub(crate) keys_only: bool,
    #[command(flatten)]
    pub(crate) keyspace: KeyspaceArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct QuantumArgs {
    /// The key
    pub(crate) key: OsString,
    /// At most this many partners [default: 10]
    #[arg(long, value_name = "COUNT")]
    pub(crate) partners: Option<usize>,
    /// Only partners of at least this strength [default: 0.1]
    #[arg(long)]
    pub(crate) strength: Option<f64>,
    #[command(flatten)]
    pub(crate) keyspace: KeyspaceArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PhysicsArgs {
    /// The directory of the database [default: that of --data]
    pub(crate) dir: Option<PathBuf>,
    /// Read every key with its partners, to say how many of those that links and rules name are there
    #[arg(long)]
    pub(crate) count: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WatchArgs {
    /// Only changes of keys that begin with this
    #[arg(default_value = "")]
    pub(crate) prefix: OsString,
    /// Only changes with numbers above this one [default: all that the log holds]
    #[arg(long, value_name = "SEQ")]
    pub(crate) since: Option<u64>,
    /// Only changes of this keyspace [default: all]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) keyspace: Option<String>,
    /// As lines of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// List the segments, oldest first
    List,
    /// Write segments as lines of JSON, whatever their format is
    Dump {
        /// The number or the file name of a segment, or `all`
        #[arg(default_value = "all")]
        segment: String,
    },
    /// Read the whole log, check every checksum, and list what is wrong
    Verify,
    /// Rewrite the log in the other form, without loss; the database must not be open
    Convert(ConvertArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConvertArgs {
    /// The directory of a database, of its log, or of an archive of its log [default: the database of --data]
    pub(crate) dir: Option<PathBuf>,
    /// The form that all segments have afterwards
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) to: Form,
    /// Write the new log into this directory, which is made if there is none, and leave the old one as it is
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// The forms of a log's segments.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Form {
    /// Compact and fast
    Binary,
    /// One line of JSON a record
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
