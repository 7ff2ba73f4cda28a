//! What happened, in order: a running hash that two runs of a seed must share,
//! and the last lines in words where somebody is to read them.

use crate::rng::mix;
use std::collections::VecDeque;
use std::fmt::Write;

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    /// The last so many lines are kept.
    keep: usize,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            hash: 0,
            events: 0,
            keep,
            lines: VecDeque::new(),
        }
    }

    /// Notes that something happened, to what the numbers name.
    pub(crate) fn note(&mut self, now: u64, what: &str, numbers: &[u64]) {
        self.events += 1;
        let mut hash = self.hash ^ now;
        for byte in what.bytes().take(8) {
            hash = hash.rotate_left(8) ^ u64::from(byte);
        }
        for number in numbers {
            hash = mix(hash ^ number);
        }
        self.hash = mix(hash);
        if self.keep > 0 {
            let mut line = format!("{:>13.6} {what}", now as f64 / 1e6);
            for number in numbers {
                let _ = write!(line, " {number}");
            }
            self.line(line);
        }
    }

    /// More words about what was noted last, where they are kept.
    pub(crate) fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.keep > 0 {
            self.line(format!("{:>13} {}", "", words()));
        }
    }

    fn line(&mut self, line: String) {
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
