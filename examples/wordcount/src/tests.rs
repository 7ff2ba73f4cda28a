//! Tests of the counting, natively.

use super::WordCount;
use super::words::for_each;
use manyhands_guest_sdk::testing::Harness;

const TEXT: &str = include_str!("../input.txt");

fn count(inputs: Vec<&[u8]>) -> String {
    let harness = Harness::<WordCount>::new(include_str!("../params.json"));
    String::from_utf8(harness.inputs(inputs).run_all_ways().unwrap()).unwrap()
}

fn words(text: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    for_each(text, |word| {
        words.push(String::from_utf8(word.letters.to_vec()).unwrap());
    });
    words
}

#[test]
fn small_text_gives_the_expected_bytes() {
    let expected = include_str!("../expected.json").trim_end();
    assert_eq!(count(vec![TEXT.as_bytes()]), expected);
    // A line a task: the pieces do not matter.
    let lines = TEXT.as_bytes().split_inclusive(|byte| *byte == b'\n');
    assert_eq!(count(lines.collect()), expected);
}

#[test]
fn no_text_has_no_words() {
    let expected = "{\n  \"bytes\": 0,\n  \"distinct\": 0,\n  \"lines\": 0,\n  \"top\": [],\n  \"words\": 0\n}";
    assert_eq!(count(Vec::new()), expected);
    assert_eq!(count(vec![b""]), expected);
}

#[test]
fn words_are_runs_of_letters_in_lower_case() {
    assert_eq!(
        words(b"Don't stop-it_now x2"),
        ["don", "t", "stop", "it", "now", "x"]
    );
    assert_eq!(
        words("ÄRGER «naïve» — Жук".as_bytes()),
        ["ärger", "naïve", "жук"]
    );
    // Not UTF-8: a stray byte, and a character that the text's end cuts off.
    assert_eq!(words(b"a\xffb \xc3"), ["a", "b"]);
    assert_eq!(words("a日本".as_bytes()), ["a日本"]);
}

#[test]
fn many_distinct_words_survive_growth_and_travel() {
    let texts: Vec<String> = (0..8)
        .map(|piece| {
            (0..5000)
                .map(|word| format!("{} ", letters(word * (piece + 1))))
                .collect()
        })
        .collect();
    let mut known = std::collections::BTreeMap::<&str, u64>::new();
    for text in &texts {
        for word in text.split_whitespace() {
            *known.entry(word).or_default() += 1;
        }
    }
    let result = count(texts.iter().map(|text| text.as_bytes()).collect());
    assert!(result.contains(&format!("\"distinct\": {},", known.len())));
    let (word, count) = known
        .iter()
        .max_by_key(|(word, count)| (**count, std::cmp::Reverse(**word)))
        .unwrap();
    let first =
        format!("\"top\": [\n    {{\n      \"count\": {count},\n      \"word\": \"{word}\"");
    assert!(result.contains(&first), "{result}");
}

/// A number in base 26, digits a to z.
fn letters(mut number: u64) -> String {
    let mut word = String::new();
    loop {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return word;
        }
    }
}
