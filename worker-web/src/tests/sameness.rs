//! What a guest sees and answers is taken as native engines take it, also where
//! JavaScript would be kinder: the cases are those of `engine`'s own tests.

use super::slots::{end, failure_of_guest, is_log, slot_of, sum};
use crate::jobs::Part;
use crate::orders::Order;
use manyhands_protocol::{Failure, FailureKind, JobId};
use wasm_bindgen_test::wasm_bindgen_test;

const JOB: JobId = JobId(7);

const FILE_LEN: &str =
    r#"(import "manyhands" "file_len" (func $file_len (param i32 i32) (result i64)))"#;
const FILE_READ: &str =
    r#"(import "manyhands" "file_read" (func $file_read (param i32 i32 i64 i32 i32)))"#;
const INPUT_LEN: &str =
    r#"(import "manyhands" "input_len" (func $input_len (param i64) (result i64)))"#;
const INPUT_READ: &str =
    r#"(import "manyhands" "input_read" (func $input_read (param i64 i64 i32 i32)))"#;
const LOG: &str = r#"(import "manyhands" "log" (func $log (param i32 i32)))"#;

/// What `run` answers when all is well: one byte at 0, the status 0.
const OK: &str = "(i64.const 1)";

/// A guest whose `alloc` and `run` have these bodies and whose partial is the
/// global `$sum`; `data` lies at 1024.
fn guest(imports: &str, data: &str, alloc: &str, run: &str, rest: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {imports}
          (memory (export "memory") 2 4)
          (global $sum (mut i64) (i64.const 0))
          (data (i32.const 1024) "{data}")
          (func (export "alloc") (param i32) (result i32) {alloc})
          (func (export "open") (param i32 i32) (result i64) (i64.const 1))
          (func (export "run") (param $first i64) (param $count i64) (result i64) {run})
          (func (export "take") (result i64)
            (i64.store (i32.const 129) (global.get $sum))
            (i64.or (i64.shl (i64.const 128) (i64.const 32)) (i64.const 9)))
          {rest})"#
    );
    wat::parse_str(text).expect("the guest is well-formed")
}

const ALLOC: &str = "(i32.const 4096)";

async fn sum_of(wasm: &[u8], files: &[(&str, &[u8])]) -> i64 {
    let (slot, events) = slot_of(wasm, "-", files);
    slot.post(&Order::run(1, JOB, &(0..1), false, vec![]));
    sum(&end(&events).await).cast_signed()
}

/// How a guest fails that runs `body`.
async fn failure(imports: &str, data: &str, body: &str) -> Failure {
    let wasm = guest(imports, data, ALLOC, &format!("{body} {OK}"), "");
    failure_of_guest(&wasm, vec![]).await
}

fn trap(message: &str) -> Failure {
    Failure {
        kind: FailureKind::Trap,
        message: message.to_owned(),
    }
}

#[wasm_bindgen_test]
async fn broadcast_files_go_by_their_names_bytes() {
    let files: &[(&str, &[u8])] = &[("__proto__", b"four"), ("data", b"seven..")];
    let names = [
        ("data", 4, 7),
        ("__proto__", 9, 4),
        // Every plain object has this one.
        ("constructor", 11, -1),
        // A mark that some decoders drop.
        ("\\ef\\bb\\bfdata", 7, -1),
        // No UTF-8: no name at all, rather than one with a replaced character.
        ("data\\ff", 5, -1),
    ];
    for (name, len, expected) in names {
        let body =
            format!("(global.set $sum (call $file_len (i32.const 1024) (i32.const {len}))) {OK}");
        let wasm = guest(FILE_LEN, name, ALLOC, &body, "");
        assert_eq!(sum_of(&wasm, files).await, expected, "{name}");
    }
    let bad = failure(
        FILE_READ,
        "data\\ff",
        "(call $file_read (i32.const 1024) (i32.const 5) (i64.const 0) (i32.const 0) (i32.const 0))",
    )
    .await;
    assert_eq!(bad.kind, FailureKind::Trap);
    let text = "file_read: there is no broadcast file \"data\u{fffd}\"";
    assert!(bad.message.starts_with(text), "{bad:?}");
}

#[wasm_bindgen_test]
async fn errors_are_utf8_to_the_byte() {
    let answer = |len| {
        format!("(return (i64.or (i64.shl (i64.const 1024) (i64.const 32)) (i64.const {len})))")
    };
    let marked = failure("", "\\01\\ef\\bb\\bfno", &answer(6)).await;
    assert_eq!(
        (marked.kind, marked.message.as_str()),
        (FailureKind::Error, "\u{feff}no")
    );
    let bad = failure("", "\\01no\\ff", &answer(4)).await;
    assert_eq!(bad, trap("run answered an error that is not UTF-8"));
}

#[wasm_bindgen_test]
async fn garbage_is_a_trap_with_a_text() {
    let cases = [
        (
            "(return (i64.const -1))",
            "run answered 4294967295 bytes at 0xffffffff, outside the guest's memory",
        ),
        ("(return (i64.const 0))", "run answered no status byte"),
        (
            "(return (i64.const 0x40000000001))",
            "run answered the unknown status 9",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(failure("", "\\09", body).await, trap(message));
    }
    let wasm = guest("", "", "(i32.const -8)", OK, "");
    assert_eq!(
        failure_of_guest(&wasm, vec![]).await,
        trap("alloc(1) answered 0xfffffff8, outside the guest's memory")
    );
}

#[wasm_bindgen_test]
async fn inputs_outside_the_block_trap() {
    let cases = [
        (
            "(drop (call $input_len (i64.const 3)))",
            "input_len: task 3 is outside the block that runs",
        ),
        (
            "(drop (call $input_len (i64.const -1)))",
            "input_len: task -1 is outside the block that runs",
        ),
        (
            "(call $input_read (i64.const 0) (i64.const 3) (i32.const 0) (i32.const 2))",
            "input_read: 2 bytes from offset 3 are outside its 4 bytes",
        ),
        (
            "(call $input_read (i64.const 0) (i64.const -1) (i32.const 0) (i32.const 0))",
            "input_read: 0 bytes from offset -1 are outside its 4 bytes",
        ),
        (
            "(call $input_read (i64.const 0) (i64.const 0x7fffffffffffffff) (i32.const 0) (i32.const 1))",
            "input_read: 1 bytes from offset 9223372036854775807 are outside its 4 bytes",
        ),
        (
            "(call $input_read (i64.const 0) (i64.const 0) (i32.const -2) (i32.const 4))",
            "input_read: a range of 4 bytes at 0xfffffffe is outside the guest's memory",
        ),
    ];
    for (body, message) in cases {
        let wasm = guest(
            &format!("{INPUT_LEN}{INPUT_READ}"),
            "",
            ALLOC,
            &format!("{body} {OK}"),
            "",
        );
        let part = Part {
            first: 0,
            bytes: b"one\ntwo\n",
            ends: vec![4, 8],
        };
        let failure = failure_of_guest(&wasm, vec![part]).await;
        assert_eq!(failure.kind, FailureKind::Trap);
        assert_eq!(failure.message.lines().next(), Some(message));
    }
}

#[wasm_bindgen_test]
async fn memory_that_alloc_grew_is_there() {
    // The argument's room begins where the memory ended before.
    let alloc = "(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))";
    let body = "(global.set $sum (i64.load8_u (i32.const 131072)))";
    let wasm = guest("", "", alloc, &format!("{body} {OK}"), "");
    assert_eq!(sum_of(&wasm, &[]).await, i64::from(b'-'));
}

#[wasm_bindgen_test]
async fn lines_lose_nothing() {
    let body = "(call $log (i32.const 1024) (i32.const 5))";
    let wasm = guest(LOG, "\\ef\\bb\\bfa\\ff", ALLOC, &format!("{body} {OK}"), "");
    let (slot, events) = slot_of(&wasm, "-", &[]);
    slot.post(&Order::run(1, JOB, &(0..1), false, vec![]));
    assert_eq!(events.find(is_log).await.text(), "\u{feff}a\u{fffd}");
}

#[wasm_bindgen_test]
async fn a_panics_line_without_a_trap_is_a_line_as_any_other() {
    // Task 0 writes the line, task 1 traps without one.
    let body = "(if (i64.eq (local.get $first) (i64.const 1)) (then unreachable))
        (call $log (i32.const 1024) (i32.const 16))";
    let wasm = guest(LOG, "panicked at home", ALLOC, &format!("{body} {OK}"), "");
    let (slot, events) = slot_of(&wasm, "-", &[]);
    slot.post(&Order::run(1, JOB, &(0..2), true, vec![]));
    assert_eq!(events.find(is_log).await.text(), "panicked at home");
    let told = end(&events).await;
    let failure = crate::failure::of_told(&told, 0);
    assert_eq!(failure.kind, FailureKind::Trap);
    assert!(!failure.message.contains("panicked"), "{failure:?}");
}

#[wasm_bindgen_test]
async fn a_start_function_may_call_imports() {
    let start = r#"(func $begin
          (call $log (i32.const 1024) (i32.const 5))
          (global.set $sum (call $input_len (i64.const 0))))
        (start $begin)"#;
    let wasm = guest(&format!("{LOG}{INPUT_LEN}"), "hello", ALLOC, OK, start);
    let (slot, events) = slot_of(&crate::start::as_export(&wasm), "-", &[]);
    let part = Part {
        first: 0,
        bytes: b"abc",
        ends: vec![3],
    };
    slot.post(&Order::run(1, JOB, &(0..1), false, vec![part]));
    assert_eq!(events.find(is_log).await.text(), "hello");
    assert_eq!(sum(&end(&events).await), 3);
}
