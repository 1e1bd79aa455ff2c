//! What every measurement is told, whichever it is.

use std::path::PathBuf;

/// Any number does; the same one gives the same requests.
const SEED_DEFAULT: u64 = 2026;

/// Arguments of the main job and of all measurements.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// A short run of a few seconds, for a quick look and for CI: fewer entries, fewer repetitions.
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// Repeats the requests of another run.
    #[arg(long, global = true, default_value_t = SEED_DEFAULT)]
    pub(crate) seed: u64,
    /// Where the databases are made, in a directory of their own that is removed at the end. By default in
    /// $TMPDIR, or else in the current directory.
    #[arg(long, global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, global = true, default_value = "warp-bench-report.json")]
    pub(crate) report: PathBuf,
}
