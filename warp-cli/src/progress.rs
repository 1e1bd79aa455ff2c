//! How far long work has come, shown on standard error if that is a terminal.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;
use warp_api::Task;

const WITH_TOTAL: &str = "{msg} {wide_bar} {human_pos} of {human_len}";
const WITH_TOTAL_BYTES: &str = "{msg} {wide_bar} {bytes} of {total_bytes}";
const WITHOUT_TOTAL: &str = "{spinner} {msg} {human_pos}";

/// The progress bar; clones show the same one. Without a terminal it shows nothing.
///
/// As a writer for `tracing` it writes above the bar, so that the two do not mix.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<ProgressBar>>);

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress(Arc::new(Mutex::new(ProgressBar::hidden())))
    }

    /// Shows what the engine reports.
    pub(crate) fn report(&self, progress: &warp_api::Progress) {
        let (what, with_total) = match progress.task {
            Task::Recovery => ("replaying the log", WITH_TOTAL_BYTES),
            Task::Checkpoint => ("writing a checkpoint", WITH_TOTAL),
            Task::Import => ("importing lines", WITH_TOTAL),
            Task::Verify => ("verifying files", WITH_TOTAL),
            Task::Backup => ("copying layers", WITH_TOTAL_BYTES),
            Task::Repair => ("reading files", WITH_TOTAL),
            Task::Export => ("exporting entries", WITH_TOTAL),
            _ => ("working", WITH_TOTAL),
        };
        self.show(what, with_total, progress.done, progress.total);
    }

    /// Shows that an export has come this far.
    pub(crate) fn exported(&self, lines: u64) {
        self.show("exporting lines", WITHOUT_TOTAL, lines, None);
    }

    /// Takes the bar away, until there is more to show.
    pub(crate) fn clear(&self) {
        self.with_bar(|bar| bar.finish_and_clear());
    }

    fn show(&self, what: &'static str, with_total: &str, done: u64, total: Option<u64>) {
        self.with_bar(|bar| {
            if bar.is_finished() || bar.message() != what {
                bar.finish_and_clear();
                let template = if total.is_some() { with_total } else { WITHOUT_TOTAL };
                let style =
                    ProgressStyle::with_template(template).expect("the templates are constants that parse");
                *bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
                    .with_style(style)
                    .with_message(what);
            }
            if let Some(total) = total.filter(|total| bar.length() != Some(*total)) {
                bar.set_length(total);
            }
            bar.set_position(done);
        });
    }

    fn with_bar<R>(&self, f: impl FnOnce(&mut ProgressBar) -> R) -> R {
        // A bar that a panic has left half changed is still a bar.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'a> MakeWriter<'a> for Progress {
    type Writer = AboveTheBar<'a>;

    fn make_writer(&'a self) -> AboveTheBar<'a> {
        AboveTheBar(self)
    }
}

/// Standard error, with the bar out of the way while it is written to.
#[derive(Debug)]
pub(crate) struct AboveTheBar<'a>(&'a Progress);

impl Write for AboveTheBar<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.with_bar(|bar| bar.suspend(|| io::stderr().write(bytes)))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_parse() {
        for template in [WITH_TOTAL, WITH_TOTAL_BYTES, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
