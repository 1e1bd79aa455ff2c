//! Which segments a log has, and in which of them a sequence lies.

use std::io;

use warp_io::Dir;

use crate::error::{Error, Result};
use crate::frame::Statement;
use crate::reader::{Segment, Window};
use crate::segment::{segment_names, segment_number};

/// The segments that hold frames, oldest first. What is said of one never changes; that it is there may.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    segments: Vec<Outlined>,
}

/// What is known of a segment without holding it open.
#[derive(Debug)]
struct Outlined {
    name: String,
    number: u64,
    /// The first sequence of its first frame.
    first_seq: u64,
    /// What that frame states, if a life begins with it.
    statement: Option<Statement>,
}

/// Where a sequence is to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Find<'a> {
    In(Target<'a>),
    /// It is not there any more. With the oldest sequence that is there; `None` if there are no frames at all.
    Gone(Option<u64>),
}

/// The segment in which a sequence lies, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) number: u64,
    /// The first sequence of its first frame.
    pub(crate) first_seq: u64,
    /// The sequence that was looked for; or the first one of a later life, if it was never given or never recovered.
    pub(crate) seq: u64,
    /// The last sequence of the life, if a later one has begun: what lies beyond is not part of the log.
    pub(crate) life_end: Option<u64>,
}

impl Outline {
    /// All segments that there are.
    pub(crate) fn read(dir: &dyn Dir) -> Result<Outline> {
        let mut outline = Outline::default();
        outline.extend(dir)?;
        Ok(outline)
    }

    /// Adds the segments that came behind the last one that is known.
    pub(crate) fn extend(&mut self, dir: &dyn Dir) -> Result<()> {
        let last = self.segments.last().map(|last| last.number);
        for name in segment_names(dir)? {
            let Some(number) = segment_number(&name).filter(|number| last.is_none_or(|last| *number > last))
            else {
                continue;
            };
            let segment = match Segment::open(dir, name, &mut Window::default()) {
                Ok(segment) => segment,
                // Another thread of this process has removed it meanwhile.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let Some(first) = segment.first else { continue };
            let Segment { name, statement, .. } = segment;
            self.segments.push(Outlined { name, number, first_seq: first.first_seq, statement });
        }
        Ok(())
    }

    /// Where `seq` is to be looked for.
    pub(crate) fn find(&self, seq: u64) -> Find<'_> {
        let Some(oldest) = self.segments.first() else { return Find::Gone(None) };
        let is_gone = match oldest.statement {
            // Between the end of the life before and its own beginning no sequence was given.
            Some(statement) => seq <= statement.last_seq,
            None => seq < oldest.first_seq,
        };
        if is_gone {
            return Find::Gone(Some(oldest.first_seq));
        }
        let mut seq = oldest.statement.map_or(seq, |statement| seq.max(statement.next_seq));
        let mut index = self.last_at(seq, 0);
        loop {
            let later = self.segments.iter().enumerate().skip(index + 1);
            let next_life = later.filter_map(|(next, life)| Some((next, life.statement?))).next();
            match next_life {
                Some((next, statement)) if seq > statement.last_seq => {
                    seq = seq.max(statement.next_seq);
                    index = self.last_at(seq, next);
                }
                _ => {
                    let Outlined { name, number, first_seq, .. } = &self.segments[index];
                    let life_end = next_life.map(|(_, statement)| statement.last_seq);
                    let (number, first_seq) = (*number, *first_seq);
                    return Find::In(Target { name, number, first_seq, seq, life_end });
                }
            }
        }
    }

    /// The last segment from `from` on that begins at or below a sequence, and `from` if none does.
    fn last_at(&self, seq: u64, from: usize) -> usize {
        let begin_below = self.segments[from..].partition_point(|segment| segment.first_seq <= seq);
        from + begin_below.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64, first_seq: u64, stated: Option<(u64, u64)>) -> Outlined {
        let statement =
            stated.map(|(last_seq, next_seq)| Statement { last_seq, next_seq, ..Statement::default() });
        Outlined { name: String::new(), number, first_seq, statement }
    }

    /// Two lives, the first of which wrote more than was recovered, and one that wrote nothing in between.
    fn outline() -> Outline {
        let segments = vec![
            segment(3, 40, None),
            segment(4, 60, None),
            segment(6, 90, None),
            segment(7, 1000, Some((80, 1000))),
            segment(8, 2000, Some((80, 2000))),
            segment(9, 2050, None),
        ];
        Outline { segments }
    }

    #[test]
    fn a_sequence_is_found_in_its_life() {
        let outline = outline();
        let place = |seq| match outline.find(seq) {
            Find::In(target) => (target.number, target.seq, target.life_end),
            Find::Gone(oldest) => panic!("{seq} is gone, the oldest is {oldest:?}"),
        };
        assert_eq!(place(40), (3, 40, Some(80)));
        assert_eq!(place(59), (3, 59, Some(80)));
        assert_eq!(place(80), (4, 80, Some(80)));
        // Written, but not recovered; and never given.
        for seq in [81, 95, 999, 1000, 1500, 2000] {
            assert_eq!(place(seq), (8, 2000, None), "{seq}");
        }
        assert_eq!(place(2049), (8, 2049, None));
        assert_eq!(place(9999), (9, 9999, None));
    }

    #[test]
    fn what_is_gone_is_told_with_the_oldest_that_is_not() {
        let mut outline = outline();
        assert_eq!(outline.find(39), Find::Gone(Some(40)));
        assert_eq!(Outline::default().find(1), Find::Gone(None));
        outline.segments.drain(..3);
        assert_eq!(outline.find(80), Find::Gone(Some(1000)));
        assert!(matches!(outline.find(81), Find::In(Target { number: 8, seq: 2000, .. })));
        outline.segments.remove(0);
        assert!(matches!(outline.find(81), Find::In(Target { number: 8, seq: 2000, .. })));
    }
}
