//! Counts the words of a text and lists the most frequent ones. A task is a piece of the input.

mod table;
mod words;

use manyhands_guest_sdk::prelude::*;
use table::Table;

/// The parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordCount {
    /// How many of the most frequent words are listed.
    #[serde(default = "default_top")]
    top: usize,
}

fn default_top() -> usize {
    20
}

/// What a piece of the text comes to.
#[derive(Serialize, Deserialize, Default)]
pub struct Counts {
    bytes: u64,
    lines: u64,
    words: u64,
    table: Table,
}

/// The result.
#[derive(Serialize)]
pub struct Summary {
    bytes: u64,
    distinct: usize,
    lines: u64,
    top: Vec<Entry>,
    words: u64,
}

/// A word and how often it occurs.
#[derive(Serialize)]
pub struct Entry {
    count: u64,
    word: String,
}

#[job(input)]
impl Reduce for WordCount {
    type Partial = Counts;
    type Output = Summary;

    fn run(&self, task: &Task) -> Counts {
        let text = task.input();
        let mut counts = Counts {
            bytes: text.len() as u64,
            lines: words::lines(text),
            ..Counts::default()
        };
        words::for_each(text, |word| {
            counts.words += 1;
            counts.table.add(word, 1);
        });
        counts
    }

    fn merge(&self, left: Counts, right: Counts) -> Counts {
        Counts {
            bytes: left.bytes + right.bytes,
            lines: left.lines + right.lines,
            words: left.words + right.words,
            table: left.table.merged(right.table),
        }
    }

    fn empty(&self) -> Option<Counts> {
        Some(Counts::default())
    }

    fn finish(&self, counts: Counts) -> Summary {
        let mut entries: Vec<_> = counts.table.iter().collect();
        // Words are unique, so no two entries are equal and the order is one only.
        entries.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        Summary {
            bytes: counts.bytes,
            distinct: entries.len(),
            lines: counts.lines,
            top: entries
                .iter()
                .take(self.top)
                .map(|(word, count)| Entry {
                    count: *count,
                    word: String::from_utf8_lossy(word).into_owned(),
                })
                .collect(),
            words: counts.words,
        }
    }
}

#[cfg(test)]
mod tests;
