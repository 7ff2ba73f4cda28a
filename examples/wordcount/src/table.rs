//! A hash table from words to counts, made for being filled, merged and sent: the words stand one
//! after another in one buffer, and travel sorted, so that no bytes depend on the table's history.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::words::Word;

/// Words and how often each occurs.
#[derive(Default)]
pub(crate) struct Table {
    /// All words, one after another.
    letters: Vec<u8>,
    entries: Vec<Entry>,
    /// A power of two of places, at most three quarters of them taken: an entry's number plus one,
    /// or 0.
    places: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    head: u64,
    count: u64,
    hash: u32,
    start: u32,
    len: u32,
}

/// Eight bytes at a time, multiplied and folded; only the table sees it.
fn hash(word: Word<'_>) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, eight: u64| {
        let product = (hash ^ eight).wrapping_mul(FACTOR);
        product ^ (product >> 32)
    };
    let mut hash = step(word.letters.len() as u64, word.head);
    if let Some(rest) = word.letters.get(8..) {
        for eight in rest.chunks(8) {
            hash = step(hash, Word::new(eight).head);
        }
    }
    hash as u32
}

impl Table {
    /// Counts `word` `count` more times.
    #[inline]
    pub(crate) fn add(&mut self, word: Word<'_>, count: u64) {
        self.add_hashed(hash(word), word, count);
    }

    #[inline]
    fn add_hashed(&mut self, hash: u32, word: Word<'_>, count: u64) {
        if self.entries.len() * 4 >= self.places.len() * 3 {
            self.grow((self.places.len() * 2).max(1 << 10));
        }
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        while let Some(number) = self.places[place].checked_sub(1) {
            let entry = &mut self.entries[number as usize];
            if entry.head == word.head && entry.len as usize == word.letters.len() {
                let start = entry.start as usize;
                let letters = &self.letters[start..start + entry.len as usize];
                if letters.len() <= 8 || letters == word.letters {
                    entry.count += count;
                    return;
                }
            }
            place = (place + 1) & mask;
        }
        self.insert(place, hash, word, count);
    }

    fn insert(&mut self, place: usize, hash: u32, word: Word<'_>, count: u64) {
        self.entries.push(Entry {
            head: word.head,
            count,
            hash,
            start: u32::try_from(self.letters.len()).expect("less than 4 GiB of distinct words"),
            len: word.letters.len() as u32,
        });
        self.letters.extend_from_slice(word.letters);
        self.places[place] = self.entries.len() as u32;
    }

    fn grow(&mut self, places: usize) {
        self.places.clear();
        self.places.resize(places, 0);
        let mask = places - 1;
        for (number, entry) in self.entries.iter().enumerate() {
            let mut place = entry.hash as usize & mask;
            while self.places[place] != 0 {
                place = (place + 1) & mask;
            }
            self.places[place] = number as u32 + 1;
        }
    }

    /// Room for this many words without growing.
    fn with_capacity(words: usize) -> Self {
        let mut table = Self::default();
        table.entries.reserve(words);
        table.grow((words * 4 / 3 + 1).next_power_of_two().max(1 << 10));
        table
    }

    fn word(&self, entry: &Entry) -> Word<'_> {
        Word {
            head: entry.head,
            letters: &self.letters[entry.start as usize..][..entry.len as usize],
        }
    }

    /// The words and counts of both.
    pub(crate) fn merged(self, other: Self) -> Self {
        // Sums do not mind the order, so the smaller one is poured into the larger.
        let (mut into, from) = if self.entries.len() >= other.entries.len() {
            (self, other)
        } else {
            (other, self)
        };
        for entry in &from.entries {
            into.add_hashed(entry.hash, from.word(entry), entry.count);
        }
        into
    }

    /// All words and counts, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.entries
            .iter()
            .map(|entry| (self.word(entry).letters, entry.count))
    }

    /// All words and counts, by word.
    fn sorted(&self) -> Vec<(&[u8], u64)> {
        let mut sorted: Vec<_> = self
            .entries
            .iter()
            .map(|entry| (entry.head, self.word(entry).letters, entry.count))
            .collect();
        sorted.sort_unstable();
        sorted
            .into_iter()
            .map(|(_, word, count)| (word, count))
            .collect()
    }
}

/// As bytes: for each word, by word, its length, its letters, its count; numbers are LEB128.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.letters.len() + 4 * self.entries.len() + 10);
        put_number(self.entries.len() as u64, &mut bytes);
        for (word, count) in self.sorted() {
            put_number(word.len() as u64, &mut bytes);
            bytes.extend_from_slice(word);
            put_number(count, &mut bytes);
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TableVisitor)
    }
}

struct TableVisitor;

impl de::Visitor<'_> for TableVisitor {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a table of words")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Table, E> {
        decode(bytes).ok_or_else(|| E::custom("a table of words ends early"))
    }
}

fn decode(mut bytes: &[u8]) -> Option<Table> {
    let words = take_number(&mut bytes)?;
    // A word takes at least three bytes, which bounds what is set aside for them.
    let mut table = Table::with_capacity((words as usize).min(bytes.len() / 3));
    table.letters.reserve(bytes.len());
    for _ in 0..words {
        let len = usize::try_from(take_number(&mut bytes)?).ok()?;
        let word = bytes.split_off(..len)?;
        table.add(Word::new(word), take_number(&mut bytes)?);
    }
    bytes.is_empty().then_some(table)
}

fn put_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
