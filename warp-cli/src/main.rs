//! `warp`: look into a WarpEngine database, and work with it, from a shell.
//!
//! ```text
//!   args --> commands --> session --> engine (for reading only, unless the command writes)
//!               |    \--> log segments, read without the engine and its lock
//!             stdout: data, raw or as lines of JSON      stderr: progress, warnings, one line on failure
//! ```
//!
//! **Invariant:** a command that only reads changes nothing in the directory, and starts no log segment.
//! **Invariant:** a command that writes returns success only once what it wrote is on the disk.
//! **Invariant:** standard output carries what was asked for, and nothing else.
//!
//! Every command is described, with an example, in `docs/cli.md`.

mod args;
mod commands;
mod duration;
mod examples;
mod failure;
mod files;
mod listing;
mod progress;
mod session;
mod text;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::session::Session;

/// Bytes of output that are gathered before they are written.
const OUTPUT_BUFFER_BYTES: usize = 64 << 10;

fn main() -> ExitCode {
    let args = Args::parse();
    let progress = Progress::new();
    listen(level(&args), &progress);
    let session = Session::new(args.data, args.encoding.chosen(), progress.clone());
    let mut out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout().lock());
    let outcome = commands::run(args.command, &session, &mut out);
    // What a failing command has found is worth showing, too.
    let flushed = out.flush().map_err(Failure::Output);
    progress.clear();
    match outcome.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough of it, which is no failure of ours: `warp list | head`.
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "warp: {}", failure.with_causes());
            ExitCode::from(failure.status())
        }
    }
}

/// How much of what the engine reports of its background work is shown.
fn level(args: &Args) -> LevelFilter {
    match &args.command {
        _ if args.verbose => LevelFilter::INFO,
        // It lists itself what the engine would warn of.
        Command::Verify | Command::Repair { .. } => LevelFilter::OFF,
        _ => LevelFilter::WARN,
    }
}

fn listen(level: LevelFilter, progress: &Progress) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(progress.clone())
        .with_target(false)
        .without_time()
        .init();
}
