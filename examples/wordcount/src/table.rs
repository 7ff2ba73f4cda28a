//! A hash table from words to counts, made for being filled: the words stand one after another in
//! one buffer.

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

    /// All words and counts, by word.
    pub(crate) fn sorted(&self) -> Vec<(Word<'_>, u64)> {
        let each = self.entries.iter();
        let mut sorted: Vec<_> = each.map(|entry| (self.word(entry), entry.count)).collect();
        sorted.sort_unstable();
        sorted
    }
}
