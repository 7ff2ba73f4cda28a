//! What one task sees: its index, its input, its random numbers.

use std::cell::{Cell, OnceCell};

use crate::rng::Rng;
use crate::{Error, Result, host};

/// One task, as [`Reduce::run`](crate::Reduce::run) and [`Concat::run`](crate::Concat::run) see it.
pub struct Task {
    index: u64,
    job_seed: u64,
    input: OnceCell<Vec<u8>>,
    /// The buffer of an earlier task's input, used again so that reading allocates nothing.
    spare: Cell<Vec<u8>>,
}

impl Task {
    pub(crate) fn new(job_seed: u64) -> Self {
        Self {
            index: 0,
            job_seed,
            input: OnceCell::new(),
            spare: Cell::default(),
        }
    }

    #[inline]
    pub(crate) fn begin(&mut self, index: u64) {
        self.index = index;
        if let Some(buffer) = self.input.take() {
            self.spare.set(buffer);
        }
    }

    /// This task's number, from 0.
    #[inline]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// This task's random numbers, from the beginning at each call: seeded by the parameters and
    /// the index. Put a `seed` field into the parameters to get others.
    #[inline]
    pub fn rng(&self) -> Rng {
        Rng::of_task(self.job_seed, self.index)
    }

    /// This task's input: a piece of the job's input, cut at record boundaries.
    ///
    /// A job without an input has none: asking for it is a trap.
    pub fn input(&self) -> &[u8] {
        self.input.get_or_init(|| {
            let mut buffer = self.spare.take();
            host::read_input(self.index, &mut buffer);
            buffer
        })
    }

    /// This task's input as text.
    ///
    /// # Errors
    /// Where it is not UTF-8, naming the byte.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(self.input()).map_err(Error::from)
    }

    /// The lines of this task's input, each without its line feed.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        lines(self.input())
    }
}

/// The lines of `text`, each without its line feed; a last one needs none.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}
