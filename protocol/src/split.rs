//! The splitter: one pure function from an input file's bytes to its tasks.
//!
//! A file is cut into *segments* of about 1 MiB, the unit that is hashed, sent
//! and cached; each holds a whole number of tasks. Coordinator ([`segments_of`])
//! and workers ([`cut_segment`]) find the same tasks, because a segment begins
//! where a task begins and a cut depends on the bytes since then alone.

use crate::ids::wide;
use serde::{Deserialize, Serialize};

/// How an input is cut into tasks. No task spans two files; files are taken in
/// the bytewise order of their paths.
///
/// ```
/// use manyhands_protocol::{Split, cut_segment};
/// let cut = cut_segment(b"one\ntwo\nthree", Split::Lines);
/// assert_eq!(cut.tasks(), 3);
/// assert_eq!(cut.range(0), 0..4); // a line keeps its LF
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Split {
    /// One line a task. A line keeps its LF; the last may lack one.
    Lines,
    /// One file a task, empty ones too.
    File,
    /// The fewest whole lines that come to at least this many bytes.
    Size(#[serde(with = "wide")] u64),
}

impl Default for Split {
    /// Whole lines of at least 1 MiB.
    fn default() -> Self {
        Self::Size(SEGMENT_TARGET)
    }
}

/// A segment is closed at the first end of a task at or past this size.
pub const SEGMENT_TARGET: u64 = 1 << 20;

/// The most bytes one task's input may have: 1 GiB, a quarter of what a guest
/// can address.
pub const MAX_TASK_INPUT: u64 = 1 << 30;

/// A range of one input file that holds a whole number of tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it begins in its file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// How many tasks it holds: at least one.
    pub tasks: u64,
}

/// Why an input cannot be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SplitError {
    /// One task would have more than [`MAX_TASK_INPUT`] bytes.
    #[error(
        "the task at byte {offset} has no end within 1 GiB: cut the input with another --split"
    )]
    TaskTooLarge {
        /// Where in its file that task begins.
        offset: u64,
    },
}

/// Cuts one file, fed in pieces of any size: memory does not grow with it.
#[derive(Clone, Debug)]
pub struct Splitter {
    split: Split,
    segment_start: u64,
    task_start: u64,
    position: u64,
    tasks: u64,
}

impl Splitter {
    /// At the start of a file.
    #[must_use]
    pub fn new(split: Split) -> Self {
        Self {
            split,
            segment_start: 0,
            task_start: 0,
            position: 0,
            tasks: 0,
        }
    }

    /// Takes the file's next bytes; appends the segments they complete.
    ///
    /// # Errors
    /// When a task grows past [`MAX_TASK_INPUT`].
    pub fn push(&mut self, bytes: &[u8], segments: &mut Vec<Segment>) -> Result<(), SplitError> {
        let start = self.position;
        let least = match self.split {
            Split::File => u64::MAX,
            Split::Lines => 1,
            Split::Size(size) => size.max(1),
        };
        let mut from = 0;
        while let Some(end) = self.next_end(&bytes[from..], start + from as u64, least) {
            from = (end - start) as usize;
            self.position = end;
            self.check_task()?;
            self.end_task();
            if self.position - self.segment_start >= SEGMENT_TARGET {
                segments.push(self.end_segment());
            }
        }
        self.position = start + bytes.len() as u64;
        self.check_task()
    }

    /// How many of the next bytes decide nothing, whatever they are: they may be
    /// [skipped](Self::skip) unread.
    #[must_use]
    pub fn undecided(&self) -> u64 {
        let earliest = match self.split {
            Split::File => return u64::MAX,
            Split::Lines => self.task_start,
            Split::Size(size) => self.task_start.saturating_add(size.max(1) - 1),
        };
        earliest.saturating_sub(self.position)
    }

    /// Goes past the next `len` bytes.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// # Panics
    /// When some of them might decide something.
    pub fn skip(&mut self, len: u64) -> Result<(), SplitError> {
        assert!(len <= self.undecided(), "{len} bytes are not undecided");
        self.position += len;
        self.check_task()
    }

    /// The current task, up to here, may be as long as it is.
    fn check_task(&self) -> Result<(), SplitError> {
        if self.position - self.task_start > MAX_TASK_INPUT {
            let offset = self.task_start;
            return Err(SplitError::TaskTooLarge { offset });
        }
        Ok(())
    }

    /// The file ends here; appends its last segment, if any is left.
    pub fn finish(mut self, segments: &mut Vec<Segment>) {
        if self.task_start < self.position || (self.split == Split::File && self.position == 0) {
            self.end_task();
        }
        if self.tasks > 0 {
            segments.push(self.end_segment());
        }
    }

    /// Where the current task ends, if in `bytes`, which begin at `at`.
    fn next_end(&self, bytes: &[u8], at: u64, least: u64) -> Option<u64> {
        // The LF that ends a task of at least `least` bytes is its byte
        // `least - 1` or a later one.
        let earliest = self.task_start.checked_add(least - 1)?;
        let skip = usize::try_from(earliest.saturating_sub(at)).ok()?;
        let found = memchr::memchr(b'\n', bytes.get(skip..)?)?;
        Some(at + (skip + found + 1) as u64)
    }

    fn end_task(&mut self) {
        self.task_start = self.position;
        self.tasks += 1;
    }

    fn end_segment(&mut self) -> Segment {
        let segment = Segment {
            offset: self.segment_start,
            len: self.position - self.segment_start,
            tasks: std::mem::take(&mut self.tasks),
        };
        self.segment_start = self.position;
        segment
    }
}

/// The segments of a whole file that is in memory.
///
/// # Errors
/// As [`Splitter::push`].
pub fn segments_of(bytes: &[u8], split: Split) -> Result<Vec<Segment>, SplitError> {
    let mut segments = Vec::new();
    let mut splitter = Splitter::new(split);
    splitter.push(bytes, &mut segments)?;
    splitter.finish(&mut segments);
    Ok(segments)
}

/// Where the tasks of one segment lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Where each task ends, ascending; a segment has under 2 GiB.
    ends: Vec<u32>,
}

impl Cut {
    /// How many tasks the segment holds.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The bytes of the segment's `task`-th task (from 0).
    ///
    /// # Panics
    /// When the segment holds fewer tasks.
    #[must_use]
    pub fn range(&self, task: u64) -> std::ops::Range<usize> {
        let task = usize::try_from(task).expect("a task of this segment");
        let start = task.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[task] as usize
    }
}

/// The tasks of one segment, found by the same rule that made it.
#[must_use]
pub fn cut_segment(bytes: &[u8], split: Split) -> Cut {
    let mut splitter = Splitter::new(split);
    let least = match split {
        Split::File => {
            return Cut {
                ends: vec![bytes.len() as u32],
            };
        }
        Split::Lines => 1,
        Split::Size(size) => size.max(1),
    };
    let mut ends = Vec::new();
    let mut from = 0;
    while let Some(end) = splitter.next_end(&bytes[from..], from as u64, least) {
        splitter.task_start = end;
        from = end as usize;
        ends.push(end as u32);
    }
    if from < bytes.len() {
        ends.push(bytes.len() as u32);
    }
    Cut { ends }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tasks_of(bytes: &[u8], split: Split) -> Vec<Vec<u8>> {
        let mut tasks = Vec::new();
        for segment in segments_of(bytes, split).unwrap() {
            let part = &bytes[segment.offset as usize..(segment.offset + segment.len) as usize];
            let cut = cut_segment(part, split);
            assert_eq!(cut.tasks(), segment.tasks, "both sides find the same tasks");
            tasks.extend((0..cut.tasks()).map(|task| part[cut.range(task)].to_vec()));
        }
        tasks
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n')], 0..400)
    }

    proptest! {
        #[test]
        fn tasks_are_the_file_in_order(bytes in text(), size in 0u64..40, pick in 0..3) {
            let split = [Split::Lines, Split::File, Split::Size(size)][pick as usize];
            let tasks = tasks_of(&bytes, split);
            prop_assert_eq!(tasks.concat(), bytes.clone());
            let last = tasks.len().saturating_sub(1);
            for (at, task) in tasks.iter().enumerate() {
                match split {
                    Split::File => prop_assert_eq!(tasks.len(), 1),
                    Split::Lines => prop_assert!(at == last || task.ends_with(b"\n")),
                    Split::Size(_) if at < last => {
                        prop_assert!(task.ends_with(b"\n") && task.len() as u64 >= size);
                        let shorter = &task[..task.len() - 1];
                        let fits = shorter.iter().rposition(|b| *b == b'\n').map_or(0, |lf| lf + 1);
                        prop_assert!((fits as u64) < size.max(1), "the fewest lines");
                    }
                    Split::Size(_) => {}
                }
            }
        }

        #[test]
        fn pieces_do_not_matter(bytes in text(), piece in 1usize..50) {
            // Larger than one segment, so that boundaries between them count.
            let bytes = bytes.repeat(9000);
            let mut segments = Vec::new();
            let mut splitter = Splitter::new(Split::Size(100));
            for part in bytes.chunks(piece * 9973) {
                splitter.push(part, &mut segments).unwrap();
            }
            splitter.finish(&mut segments);
            prop_assert_eq!(segments, segments_of(&bytes, Split::Size(100)).unwrap());
        }
    }

    #[test]
    fn what_decides_nothing_may_be_skipped() {
        let bytes = b"some words\nand others\n".repeat(200_000);
        for split in [
            Split::Size(100),
            Split::default(),
            Split::Lines,
            Split::File,
        ] {
            let (mut segments, mut pushed) = (Vec::new(), 0);
            let mut splitter = Splitter::new(split);
            let mut at = 0;
            while at < bytes.len() {
                let skip = splitter.undecided().min((bytes.len() - at) as u64);
                splitter.skip(skip).unwrap();
                at += skip as usize;
                let piece = &bytes[at..bytes.len().min(at + 40)];
                splitter.push(piece, &mut segments).unwrap();
                at += piece.len();
                pushed += piece.len();
            }
            splitter.finish(&mut segments);
            assert_eq!(segments, segments_of(&bytes, split).unwrap(), "{split:?}");
            assert!(
                split == Split::Lines || pushed < bytes.len() / 2,
                "{split:?}"
            );
        }
    }

    #[test]
    fn empty_files() {
        assert!(segments_of(b"", Split::Lines).unwrap().is_empty());
        assert!(segments_of(b"", Split::default()).unwrap().is_empty());
        let one = Segment {
            offset: 0,
            len: 0,
            tasks: 1,
        };
        assert_eq!(segments_of(b"", Split::File).unwrap(), [one]);
        assert_eq!(cut_segment(b"", Split::File).range(0), 0..0);
    }

    #[test]
    fn a_task_without_end_is_refused() {
        let mut splitter = Splitter::new(Split::Lines);
        let mut segments = Vec::new();
        let piece = vec![b'x'; 1 << 26];
        splitter.push(b"short\n", &mut segments).unwrap();
        let outcome = (0..17).try_for_each(|_| splitter.push(&piece, &mut segments));
        assert_eq!(outcome, Err(SplitError::TaskTooLarge { offset: 6 }));
    }
}
