//! Counts the words of a text and lists the most frequent ones. A task is a piece of the input.

mod list;
mod table;
mod words;

use list::Counted;
use manyhands_guest_sdk::prelude::*;
use table::Table;
use words::Word;

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
    counted: Counted,
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
        let (mut words, mut table) = (0, Table::default());
        words::for_each(text, |word| {
            words += 1;
            table.add(word, 1);
        });
        Counts {
            bytes: text.len() as u64,
            lines: words::lines(text),
            words,
            counted: Counted::Table(table),
        }
    }

    fn merge(&self, left: Counts, right: Counts) -> Counts {
        Counts {
            bytes: left.bytes + right.bytes,
            lines: left.lines + right.lines,
            words: left.words + right.words,
            counted: left.counted.merged(right.counted),
        }
    }

    fn empty(&self) -> Option<Counts> {
        Some(Counts::default())
    }

    fn finish(&self, counts: Counts) -> Summary {
        let list = counts.counted.into_list();
        let mut entries: Vec<_> = list.iter().collect();
        let distinct = entries.len();
        // Words are unique, so no two entries are equal and the order is one only.
        let order = |a: &(Word, u64), b: &(Word, u64)| b.1.cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top < distinct {
            entries.select_nth_unstable_by(self.top, order);
            entries.truncate(self.top);
        }
        entries.sort_unstable_by(order);
        Summary {
            bytes: counts.bytes,
            distinct,
            lines: counts.lines,
            top: entries
                .iter()
                .map(|(word, count)| Entry {
                    count: *count,
                    word: String::from_utf8_lossy(word.letters).into_owned(),
                })
                .collect(),
            words: counts.words,
        }
    }
}

#[cfg(test)]
mod tests;
