//! A hash table from words to counts, made for being filled, merged and sent: the words stand one
//! after another in one buffer, and travel sorted, so that no bytes depend on the table's history.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

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
    hash: u32,
    start: u32,
    len: u32,
    count: u64,
}

/// Eight bytes at a time, multiplied and folded; only the table sees it.
fn hash(word: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = word.len() as u64;
    let mut step = |eight: [u8; 8]| {
        hash = (hash ^ u64::from_le_bytes(eight)).wrapping_mul(FACTOR);
        hash ^= hash >> 32;
    };
    let (eights, rest) = word.as_chunks::<8>();
    eights.iter().for_each(|eight| step(*eight));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        step(last);
    }
    hash as u32
}

impl Table {
    /// Counts `word` `count` more times.
    pub(crate) fn add(&mut self, word: &[u8], count: u64) {
        self.add_hashed(hash(word), word, count);
    }

    fn add_hashed(&mut self, hash: u32, word: &[u8], count: u64) {
        if self.entries.len() * 4 >= self.places.len() * 3 {
            self.grow((self.places.len() * 2).max(1 << 10));
        }
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            let Some(number) = self.places[place].checked_sub(1) else {
                break;
            };
            let entry = &mut self.entries[number as usize];
            let start = entry.start as usize;
            if entry.hash == hash && &self.letters[start..start + entry.len as usize] == word {
                entry.count += count;
                return;
            }
            place = (place + 1) & mask;
        }
        self.entries.push(Entry {
            hash,
            start: u32::try_from(self.letters.len()).expect("less than 4 GiB of distinct words"),
            len: word.len() as u32,
            count,
        });
        self.letters.extend_from_slice(word);
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

    fn word(&self, entry: &Entry) -> &[u8] {
        &self.letters[entry.start as usize..][..entry.len as usize]
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
            .map(|entry| (self.word(entry), entry.count))
    }

    /// All words and counts, by word.
    fn sorted(&self) -> Vec<(&[u8], u64)> {
        // The first eight letters decide most comparisons without a look at the buffer.
        let head = |word: &[u8]| {
            let mut head = [0; 8];
            let len = word.len().min(8);
            head[..len].copy_from_slice(&word[..len]);
            u64::from_be_bytes(head)
        };
        let mut sorted: Vec<_> = self
            .iter()
            .map(|(word, count)| (head(word), word, count))
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
        table.add(word, take_number(&mut bytes)?);
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
