//! How far long work has come.

/// How far a piece of long work has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Which work it is.
    pub task: Task,
    /// How much is done, in the unit of the task.
    pub done: u64,
    /// How much there is in all, if that is known.
    pub total: Option<u64>,
}

/// The kinds of long work, each with the unit in which it is counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Task {
    /// Replaying the log at opening, in bytes of log.
    Recovery,
    /// Writing a checkpoint, in entries.
    Checkpoint,
    /// Importing, in lines.
    Import,
    /// Verifying, in files.
    Verify,
    /// Copying layers into a backup, in bytes.
    Backup,
    /// Exporting, in entries.
    Export,
    /// Repairing, in files.
    Repair,
}
