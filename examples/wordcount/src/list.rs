//! Words and counts as they travel: by word, so that no bytes depend on how they were counted, and
//! two lists are merged side by side, without a table.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::table::Table;
use crate::words::Word;

/// Words and how often each occurs: in a table while they are counted here, in a list when they
/// came from elsewhere.
pub(crate) enum Counted {
    Table(Table),
    List(List),
}

impl Default for Counted {
    fn default() -> Self {
        Self::Table(Table::default())
    }
}

impl Counted {
    /// The words and counts of both.
    pub(crate) fn merged(self, other: Self) -> Self {
        match (self, other) {
            (Self::Table(left), Self::Table(right)) => Self::Table(left.merged(right)),
            (left, right) => Self::List(left.into_list().merged(&right.into_list())),
        }
    }

    pub(crate) fn into_list(self) -> List {
        match self {
            Self::Table(table) => List::of(&table),
            Self::List(list) => list,
        }
    }
}

/// For each word, in ascending order, its length, its letters, its count; numbers are LEB128.
#[derive(Default)]
pub(crate) struct List {
    words: u64,
    bytes: Vec<u8>,
}

impl List {
    fn of(table: &Table) -> Self {
        let mut list = Self::default();
        for (word, count) in table.sorted() {
            list.push(word, count);
        }
        list
    }

    fn push(&mut self, word: Word<'_>, count: u64) {
        self.words += 1;
        let len = word.letters.len();
        put_number(len as u64, &mut self.bytes);
        if len <= 8 {
            // Always as many bytes, which is a store instead of a copy.
            let end = self.bytes.len() + len;
            self.bytes.extend_from_slice(&word.head.to_be_bytes());
            self.bytes.truncate(end);
        } else {
            self.bytes.extend_from_slice(word.letters);
        }
        put_number(count, &mut self.bytes);
    }

    fn merged(&self, other: &Self) -> Self {
        let mut both = Self::default();
        // Room for eight letters of the last word, however short it is.
        both.bytes.reserve(self.bytes.len() + other.bytes.len() + 8);
        let (mut left, mut right) = (self.iter(), other.iter());
        let (mut a, mut b) = (left.next(), right.next());
        while let (Some((word, count)), Some((its, times))) = (a, b) {
            let order = word.cmp(&its);
            match order.is_le() {
                true if order.is_eq() => both.push(word, count + times),
                true => both.push(word, count),
                false => both.push(its, times),
            }
            if order.is_le() {
                a = left.next();
            }
            if order.is_ge() {
                b = right.next();
            }
        }
        for (word, count) in a.into_iter().chain(left).chain(b).chain(right) {
            both.push(word, count);
        }
        both
    }

    /// All words and counts, by word.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Word<'_>, u64)> {
        let mut bytes = &self.bytes[..];
        std::iter::from_fn(move || take_entry(&mut bytes))
    }

    /// What came, if it is such a list.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let words = take_number(&mut bytes)?;
        let list = bytes;
        let mut last = None;
        for _ in 0..words {
            let (word, _) = take_entry(&mut bytes)?;
            if last.is_some_and(|last| last >= word) {
                return None;
            }
            last = Some(word);
        }
        bytes.is_empty().then(|| Self {
            words,
            bytes: list.to_vec(),
        })
    }
}

/// As bytes: the number of words, and the list.
impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let listed;
        let list = match self {
            Self::Table(table) => {
                listed = List::of(table);
                &listed
            }
            Self::List(list) => list,
        };
        let mut bytes = Vec::with_capacity(list.bytes.len() + 10);
        put_number(list.words, &mut bytes);
        bytes.extend_from_slice(&list.bytes);
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ListVisitor)
    }
}

struct ListVisitor;

impl de::Visitor<'_> for ListVisitor {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a list of words")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Counted, E> {
        let list = List::read(bytes);
        let list = list.ok_or_else(|| E::custom("a list of words is not whole, or not sorted"))?;
        Ok(Counted::List(list))
    }
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

fn take_entry<'a>(bytes: &mut &'a [u8]) -> Option<(Word<'a>, u64)> {
    let len = usize::try_from(take_number(bytes)?).ok()?;
    Some((Word::take(bytes, len)?, take_number(bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[(&str, u64)]) -> List {
        let mut table = Table::default();
        for (word, count) in words {
            table.add(Word::new(word.as_bytes()), *count);
        }
        List::of(&table)
    }

    #[test]
    fn a_merged_list_is_that_of_the_merged_tables() {
        let left = [("of", 3), ("a", 1), ("thoroughly", 2), ("thoroughness", 7)];
        let right = [("thoroughness", 200), ("light", 1), ("a", 9)];
        let both = list(&[&left[..], &right[..]].concat());
        for merged in [
            list(&left).merged(&list(&right)),
            list(&right).merged(&list(&left)),
        ] {
            assert_eq!(
                (merged.words, merged.bytes),
                (both.words, both.bytes.clone())
            );
        }
        let words: Vec<_> = both
            .iter()
            .map(|(word, count)| (word.letters, count))
            .collect();
        assert_eq!(words[..2], [(&b"a"[..], 10), (b"light", 1)]);
        assert_eq!(
            words[3..],
            [(&b"thoroughly"[..], 2), (b"thoroughness", 207)]
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let read = |bytes: &[u8]| List::read(bytes).map(|list| list.iter().count());
        assert_eq!(read(b"\x02\x01a\x05\x02of\x01"), Some(2));
        assert_eq!(read(b"\x00"), Some(0));
        assert_eq!(read(b"\x02\x02of\x01\x01a\x05"), None, "not sorted");
        assert_eq!(read(b"\x02\x01a\x05\x01a\x05"), None, "twice");
        assert_eq!(read(b"\x02\x01a\x05\x02of"), None, "cut off");
        assert_eq!(
            read(b"\x02\x01a\x05\x09of\x01"),
            None,
            "shorter than it says"
        );
        assert_eq!(read(b"\x01\x01a\x05\x02of\x01"), None, "more than it says");
        assert_eq!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), None);
        assert_eq!(read(b""), None);
    }
}
