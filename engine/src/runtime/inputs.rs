//! The bytes that the tasks of a block read. How an input is cut is settled by
//! the splitter of the protocol crate.

use bytes::Bytes;
use manyhands_protocol::{Cut, Split, cut_segment};
use std::ops::Range;
use std::sync::Arc;

/// A piece of an input that holds a whole number of tasks.
#[derive(Debug)]
pub struct Segment {
    bytes: Bytes,
    cut: Cut,
}

impl Segment {
    /// Cuts `bytes` into tasks.
    #[must_use]
    pub fn new(bytes: Bytes, split: Split) -> Self {
        let cut = cut_segment(&bytes, split);
        Self { bytes, cut }
    }

    /// How many tasks it holds.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.cut.tasks()
    }
}

/// What the tasks of one block may read.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    tasks: Range<u64>,
    /// By first task, ascending.
    segments: Vec<(u64, Arc<Segment>)>,
}

impl Inputs {
    /// For a block of `tasks`, given segments with the index of their first
    /// task, in any order.
    #[must_use]
    pub fn new(tasks: Range<u64>, mut segments: Vec<(u64, Arc<Segment>)>) -> Self {
        segments.sort_by_key(|(first, _)| *first);
        Self { tasks, segments }
    }

    /// The first task of the block that no segment holds.
    #[must_use]
    pub fn missing(&self) -> Option<u64> {
        let mut next = self.tasks.start;
        for (first, segment) in &self.segments {
            if (*first..first.saturating_add(segment.tasks())).contains(&next) {
                next = first + segment.tasks();
            }
        }
        (next < self.tasks.end).then_some(next)
    }

    /// The input of `task`; `None` outside the block.
    pub(super) fn get(&self, task: u64) -> Option<&[u8]> {
        if !self.tasks.contains(&task) {
            return None;
        }
        let at = self
            .segments
            .partition_point(|(first, _)| *first <= task)
            .checked_sub(1)?;
        let (first, segment) = &self.segments[at];
        let within = task - first;
        (within < segment.tasks()).then(|| &segment.bytes[segment.cut.range(within)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_found_in_their_segments() {
        let segment = |text: &'static str| {
            Arc::new(Segment::new(
                Bytes::from_static(text.as_bytes()),
                Split::Lines,
            ))
        };
        let inputs = Inputs::new(1..4, vec![(2, segment("c\nd\n")), (0, segment("a\nb\n"))]);
        let texts: Vec<_> = (0..5).map(|task| inputs.get(task)).collect();
        assert_eq!(
            texts,
            [None, Some(&b"b\n"[..]), Some(b"c\n"), Some(b"d\n"), None]
        );
        assert_eq!(inputs.missing(), None);
        assert_eq!(Inputs::new(1..5, inputs.segments).missing(), Some(4));
        assert_eq!(Inputs::new(0..0, vec![]).missing(), None);
    }
}
