//! What users see.

use std::collections::HashMap;

use serde::Serialize;

use crate::Bytes;
use crate::answer::{Layout, write};

fn written<T: Serialize>(value: &T, layout: Layout) -> String {
    let mut out = b">".to_vec();
    write(value, layout, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[derive(Serialize)]
struct Row {
    z: f64,
    a: Option<u32>,
}

#[test]
fn text_and_bytes_are_written_as_they_are() {
    for (layout, end) in [(Layout::Pretty, ""), (Layout::Line, "\n")] {
        assert_eq!(written(&"a\"b", layout), format!(">a\"b{end}"));
        assert_eq!(written(&String::from("ä"), layout), format!(">ä{end}"));
        assert_eq!(written(&Some("x"), layout), format!(">x{end}"));
        assert_eq!(written(&Bytes(b"raw\n".to_vec()), layout), ">raw\n");
    }
}

#[test]
fn nothing_is_no_line_but_is_a_result() {
    assert_eq!(written(&None::<u32>, Layout::Line), ">");
    assert_eq!(written(&(), Layout::Line), ">");
    assert_eq!(written(&None::<u32>, Layout::Pretty), ">null");
}

#[test]
fn json_is_sorted_by_key_and_knows_no_nan() {
    let row = Row { z: 0.1, a: Some(1) };
    assert_eq!(written(&row, Layout::Line), ">{\"a\":1,\"z\":0.1}\n");
    assert_eq!(
        written(&row, Layout::Pretty),
        ">{\n  \"a\": 1,\n  \"z\": 0.1\n}"
    );
    for z in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let row = Row { z, a: None };
        assert_eq!(written(&row, Layout::Line), ">{\"a\":null,\"z\":null}\n");
    }
    let map: HashMap<String, u32> = (10..30).map(|n| (format!("k{n}"), n)).collect();
    let entries: Vec<_> = (10..30).map(|n| format!("\"k{n}\":{n}")).collect();
    assert_eq!(
        written(&map, Layout::Line),
        format!(">{{{}}}\n", entries.join(","))
    );
    assert_eq!(written(&vec![1_u8, 2], Layout::Line), ">[1,2]\n");
}

#[test]
fn what_json_cannot_hold_is_an_error() {
    let map = HashMap::from([((1, 2), 3)]);
    let error = write(&map, Layout::Pretty, &mut Vec::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the output does not fit JSON: ")
    );
}
