//! Start functions become exports, and nothing else changes.

use crate::start::{EXPORT, as_export};
use wasm_bindgen_test::wasm_bindgen_test;

const BODY: &str = r#"(memory (export "memory") 1)
    (func (export "f")) (func $begin (i32.store (i32.const 0) (i32.const 7)))"#;

fn module(rest: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {BODY} {rest})")).expect("it is well-formed")
}

#[wasm_bindgen_test]
fn a_start_function_becomes_an_export() {
    let expected = module(&format!(r#"(export "{EXPORT}" (func $begin))"#));
    assert_eq!(*as_export(&module("(start $begin)")), *expected);
}

#[wasm_bindgen_test]
fn all_else_stays_as_it_is() {
    let taken = module(&format!(r#"(start $begin) (export "{EXPORT}" (func 0))"#));
    let whole = module("(start $begin)");
    let plain = module("");
    for bytes in [&plain[..], &taken, &whole[..whole.len() / 2], &[], b"\0asm"] {
        assert_eq!(*as_export(bytes), *bytes);
    }
}

#[wasm_bindgen_test]
fn garbage_of_any_length_is_left_to_the_browser() {
    let whole = module("(start $begin)");
    for at in 8..whole.len() {
        for byte in [0, 1, 8, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            // Whatever comes of it, it is no panic.
            drop(as_export(&bytes));
        }
    }
}
