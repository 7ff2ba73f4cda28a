//! Where the words of a text begin and end.
//!
//! A word is a longest run of ASCII letters and of other alphabetic characters (Unicode), in lower
//! case. Bytes that are not UTF-8 are no letters.

/// The byte in lower case if it is an ASCII letter, else 0.
const LETTER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = b'a';
    while byte <= b'z' {
        table[byte as usize] = byte;
        table[byte.to_ascii_uppercase() as usize] = byte;
        byte += 1;
    }
    table
};

/// Calls `found` with each word of `text`, in lower case.
pub(crate) fn for_each(text: &[u8], mut found: impl FnMut(&[u8])) {
    let mut word = Vec::with_capacity(64);
    let mut at = 0;
    while at < text.len() {
        let letter = LETTER[usize::from(text[at])];
        if letter != 0 {
            word.push(letter);
            at += 1;
            continue;
        }
        if text[at] >= 0x80 {
            let (character, len) = decode(&text[at..]);
            at += len;
            if let Some(character) = character.filter(|character| character.is_alphabetic()) {
                let mut utf8 = [0; 4];
                for lower in character.to_lowercase() {
                    word.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
                }
                continue;
            }
        } else {
            at += 1;
        }
        if !word.is_empty() {
            found(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        found(&word);
    }
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
    let feeds = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    feeds + u64::from(text.last().is_some_and(|byte| *byte != b'\n'))
}
