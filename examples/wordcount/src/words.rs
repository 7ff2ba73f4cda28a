//! Where the words of a text begin and end.
//!
//! A word is a longest run of ASCII letters and of other alphabetic characters (Unicode), in lower
//! case. Bytes that are not UTF-8 are no letters.

/// Whether a byte is an ASCII letter.
const LETTER: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        table[byte] = (byte as u8).is_ascii_alphabetic();
        byte += 1;
    }
    table
};

/// A word in lower case. Words are in the order of their bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word<'a> {
    /// The first eight letters, the first one on top, zeros after the last: it decides most
    /// comparisons.
    pub(crate) head: u64,
    pub(crate) letters: &'a [u8],
}

impl<'a> Word<'a> {
    pub(crate) fn new(letters: &'a [u8]) -> Self {
        let mut head = [0; 8];
        for (to, letter) in head.iter_mut().zip(letters) {
            *to = *letter;
        }
        Self {
            head: u64::from_be_bytes(head),
            letters,
        }
    }

    /// The first `len` bytes of `bytes`.
    pub(crate) fn take(bytes: &mut &'a [u8], len: usize) -> Option<Self> {
        let eight = bytes.first_chunk::<8>().copied();
        let letters = bytes.split_off(..len)?;
        let Some(eight) = eight else {
            return Some(Self::new(letters));
        };
        let others = (8 * len as u32).min(64);
        let head = u64::from_be_bytes(eight) & !u64::MAX.checked_shr(others).unwrap_or(0);
        Some(Self { head, letters })
    }
}

/// Calls `found` with each word of `text`.
pub(crate) fn for_each(text: &[u8], mut found: impl FnMut(Word<'_>)) {
    let mut long = Vec::with_capacity(64);
    let mut at = 0;
    while at < text.len() {
        let start = at;
        while at < text.len() && LETTER[usize::from(text[at])] {
            at += 1;
        }
        // Anything beyond ASCII next to or in the word: the careful way.
        if at < text.len() && text[at] >= 0x80 {
            at = any_word(text, start, &mut long);
            if !long.is_empty() {
                found(Word::new(&long));
            }
            continue;
        }
        let letters = &text[start..at];
        if let (1..=8, Some(eight)) = (letters.len(), text[start..].first_chunk::<8>()) {
            // All are ASCII letters, so that one bit makes them lower case.
            let lower = u64::from_be_bytes(*eight) | 0x2020_2020_2020_2020;
            let head = lower & (u64::MAX << (64 - 8 * letters.len()));
            found(Word {
                head,
                letters: &head.to_be_bytes()[..letters.len()],
            });
        } else if !letters.is_empty() {
            long.clear();
            long.extend(letters.iter().map(|letter| letter | 0x20));
            found(Word::new(&long));
        }
        at += 1;
    }
}

/// Reads the word that starts at `at`, of whatever letters; gives the place after it and after the
/// character that ended it.
#[cold]
fn any_word(text: &[u8], mut at: usize, word: &mut Vec<u8>) -> usize {
    word.clear();
    while at < text.len() {
        let (character, len) = decode(&text[at..]);
        at += len;
        let Some(character) = character.filter(|character| character.is_alphabetic()) else {
            break;
        };
        let mut utf8 = [0; 4];
        for lower in character.to_lowercase() {
            word.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
        }
    }
    at
}

/// The first character of a text that is not empty, if there is one, and how many bytes it takes.
fn decode(text: &[u8]) -> (Option<char>, usize) {
    let head = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(character) => (Some(character), character.len_utf8()),
        None => (None, 1),
    }
}

/// The number of lines; a last one needs no line feed.
pub(crate) fn lines(text: &[u8]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let (eights, rest) = text.as_chunks::<8>();
    let mut feeds = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
    for eight in eights {
        // Line feeds become 0, and the only bytes whose top bit the sum leaves clear.
        let zeros = u64::from_le_bytes(*eight) ^ 0x0a0a_0a0a_0a0a_0a0a;
        let others = ((zeros & LOW) + LOW) | zeros | LOW;
        feeds += u64::from(others.count_zeros());
    }
    feeds + u64::from(text.last().is_some_and(|byte| *byte != b'\n'))
}
