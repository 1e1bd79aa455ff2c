//! The lives of a log: what belongs to which time that it was open.

use crate::frame::Statement;
use crate::options::Recovery;
use crate::reader::Segment;

/// One time that the log was open: the segments from one open frame to before the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) first: usize,
    /// Behind the last one.
    pub(crate) end: usize,
    /// What its open frame states; `None` if its first segments were removed.
    pub(crate) statement: Option<Statement>,
    /// What the next life's open frame states about this one's end.
    pub(crate) stop: Option<Statement>,
    pub(crate) recovery: Recovery,
}

/// The lives of a log, oldest first.
pub(crate) fn lives(segments: &[Segment], recovery: Recovery) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if segment.statement.is_some() || lives.is_empty() {
            if let Some(last) = lives.last_mut() {
                last.stop = segment.statement;
            }
            let statement = segment.statement;
            lives.push(Life { first: index, end: index, statement, stop: None, recovery });
        }
        if let Some(last) = lives.last_mut() {
            last.end = index + 1;
        }
    }
    // Who opened a log in spite of damage has accepted it.
    let mut accepted = false;
    for life in lives.iter_mut().rev() {
        accepted |= life.stop.is_some_and(|stop| stop.salvaged);
        if accepted {
            life.recovery = Recovery::Salvage;
        }
    }
    lives
}

impl Life {
    /// Whether the life had ended before this place.
    pub(crate) fn stops_at(&self, segment: &Segment, offset: u64) -> bool {
        self.stop.is_some_and(|stop| (segment.number, offset) >= (stop.end_segment, stop.end_offset))
    }
}
