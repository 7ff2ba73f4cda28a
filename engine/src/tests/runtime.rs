//! Guests in this process: results under many cuttings, failures by kind and
//! text, imports, garbage.

use super::guests::{self, bad_at_5, concat, plain, reduce};
use crate::reference::{self, Job, RunError};
use crate::runtime::{Guest, Inputs, Runtime, SLOT_STACK, Segment, Settings, Silent, Sink};
use bytes::Bytes;
use manyhands_protocol::{Failure, FailureKind, Node, Split, Tree};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Writes the line of a panic handler, the text at 528, and traps.
const PANIC: &str = "(call $log (i32.const 528) (i32.const 33)) (unreachable)";

fn job(wasm: Vec<u8>, params: &'static str) -> Job {
    Job {
        wasm: wasm.into(),
        params: Bytes::from_static(params.as_bytes()),
        memory_limit: 1 << 20,
        segments: Vec::new(),
        files: Arc::default(),
        sink: Arc::new(Silent),
    }
}

/// On a thread with the stack that guests need.
fn run(job: Job) -> Result<Vec<u8>, RunError> {
    let thread = std::thread::Builder::new().stack_size(SLOT_STACK);
    thread
        .spawn(move || reference::run(&job))
        .unwrap()
        .join()
        .unwrap()
}

fn failure(wasm: Vec<u8>) -> Failure {
    match run(job(wasm, r#"{"tasks":8}"#)) {
        Err(RunError::Guest(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn expected(tree: Tree, node: Node) -> u64 {
    match tree.halves(node) {
        None => guests::value(node.first()),
        Some((left, None)) => expected(tree, left),
        Some((left, Some(right))) => guests::merge(expected(tree, left), expected(tree, right)),
    }
}

#[test]
fn every_cutting_gives_the_same_bytes() {
    for (params, n) in [
        (r#"{"tasks":1}"#, 1),
        (r#"{"tasks":11}"#, 11),
        (r#"{"tasks":64}"#, 64),
    ] {
        let tree = Tree::new(n).unwrap();
        let bytes = expected(tree, tree.root().unwrap()).to_le_bytes();
        let job = job(plain(), params);
        assert_eq!(reference::run(&job).unwrap(), bytes);
        for cut in [1, n / 3, n - 1] {
            let nodes = |tree: Tree| {
                let mut nodes = tree.cover(cut..n);
                nodes.extend(tree.cover(0..cut));
                nodes
            };
            assert_eq!(
                reference::run_cut(&job, nodes).unwrap(),
                bytes,
                "{n} cut at {cut}"
            );
        }
        let leaves = |tree: Tree| (0..tree.tasks()).map(Node::leaf).collect();
        assert_eq!(reference::run_cut(&job, leaves).unwrap(), bytes);
    }
}

#[test]
fn no_tasks_are_the_empty_string() {
    assert_eq!(run(job(plain(), r#"{"tasks":0}"#)).unwrap(), b"");
    assert_eq!(
        run(job(concat(false, "", ""), r#"{"tasks":0}"#)).unwrap(),
        b""
    );
}

#[test]
fn a_number_of_tasks_must_be_answered() {
    let answers = [
        "{}",
        "4",
        "nonsense",
        r#"{"tasks":-1}"#,
        r#"{"tasks":4611686018427387905}"#,
    ];
    for params in answers {
        match run(job(plain(), params)) {
            Err(RunError::Tasks(text)) => assert_eq!(text, params),
            other => panic!("{params}: {other:?}"),
        }
    }
}

#[test]
fn slices_do_not_show() {
    let runtime = Runtime::new(&Settings {
        slots: 2,
        cache: None,
    })
    .unwrap();
    let program = runtime.load(&plain(), 1 << 20).unwrap();
    let guest = || {
        let mut guest = Guest::new(
            &program,
            Inputs::default(),
            Arc::default(),
            Arc::new(Silent),
        )
        .unwrap();
        guest.open(b"{}").unwrap();
        guest
    };
    let mut whole = guest();
    whole.run(16, 16).unwrap();
    let mut slices = guest();
    for (first, count) in [(16, 1), (17, 6), (23, 9)] {
        slices.run(first, count).unwrap();
    }
    let tree = Tree::new(1 << 10).unwrap();
    let bytes = expected(tree, Node::new(4, 1).unwrap()).to_le_bytes();
    assert_eq!(whole.take().unwrap(), bytes);
    assert_eq!(slices.take().unwrap(), bytes);
}

#[test]
fn failures_are_told_apart() {
    let error = failure(bad_at_5("", guests::ERROR));
    assert_eq!(
        (error.kind, error.message.as_str()),
        (FailureKind::Error, "no luck")
    );
    let trap = failure(bad_at_5("", "(unreachable)"));
    assert_eq!(trap.kind, FailureKind::Trap);
    assert!(
        trap.message
            .starts_with("wasm trap: wasm `unreachable` instruction executed\n  at task (0x"),
        "{trap:?}"
    );
    let stack = failure(bad_at_5("", guests::RECURSE));
    assert_eq!(stack.kind, FailureKind::Stack);
    assert!(
        stack
            .message
            .starts_with("the stack overflowed\n  at deep (0x"),
        "{stack:?}"
    );
    let memory = failure(bad_at_5("", guests::HOG));
    assert_eq!(memory.kind, FailureKind::Memory);
    assert!(
        memory
            .message
            .starts_with("out of memory: the job allows 1 MiB"),
        "{memory:?}"
    );
    assert!(memory.message.contains("\n  at task (0x"), "{memory:?}");
}

#[test]
fn a_panic_brings_its_own_text() {
    let panic = failure(bad_at_5(guests::LOG, PANIC));
    assert_eq!(panic.kind, FailureKind::Trap);
    assert!(
        panic
            .message
            .starts_with("panicked at src/lib.rs:7:9: boom!\n  at task (0x"),
        "{panic:?}"
    );
}

#[test]
fn growing_within_the_limit_works() {
    let grow = "(if (i32.ne (memory.grow (i32.const 2)) (i32.const 4)) (then (unreachable)))";
    let grown = run(job(bad_at_5("", grow), r#"{"tasks":8}"#)).unwrap();
    assert_eq!(grown, run(job(plain(), r#"{"tasks":8}"#)).unwrap());
}

#[test]
fn garbage_is_a_trap_with_a_text() {
    // What `merge` answers, and what is made of it.
    let cases = [
        (
            "(i64.const -1)",
            "merge answered 4294967295 bytes at 0xffffffff, outside the guest's memory",
        ),
        ("(i64.const 0)", "merge answered no status byte"),
        (
            "(i32.store8 (i32.const 16) (i32.const 9)) (i64.const 0x1000000001)",
            "merge answered the unknown status 9",
        ),
        (
            "(i32.store16 (i32.const 16) (i32.const 0xff01)) (i64.const 0x1000000002)",
            "merge answered an error that is not UTF-8",
        ),
    ];
    for (body, message) in cases {
        let wasm = with_merge("(i32.const 65600)", body);
        let failure = Failure {
            kind: FailureKind::Trap,
            message: message.to_owned(),
        };
        assert_eq!(merged(&wasm), Err(failure));
    }
    let alloc = merged(&with_merge("(i32.const -8)", "(i64.const 0)")).unwrap_err();
    assert_eq!(
        alloc.message,
        "alloc(4) answered 0xfffffff8, outside the guest's memory"
    );
}

fn with_merge(alloc: &str, merge: &str) -> Vec<u8> {
    guests::assemble(&format!(
        r#"(module (memory (export "memory") 2)
          (func (export "alloc") (param i32) (result i32) {alloc})
          (func (export "open") (param i32 i32) (result i64) (i64.const 0x1000000001))
          (func (export "run") (param i64 i64) (result i64) (i64.const 0x1000000001))
          (func (export "take") (result i64) (i64.const 0x1000000001))
          (func (export "merge") (param i32 i32 i32 i32) (result i64) {merge})
          (func (export "finish") (param i32 i32) (result i64) (i64.const 0x1000000001))
          (@custom "manyhands" "\01\00\00\00"))"#
    ))
}

fn merged(wasm: &[u8]) -> Result<Vec<u8>, Failure> {
    let runtime = Runtime::new(&Settings {
        slots: 1,
        cache: None,
    })
    .unwrap();
    let program = runtime.load(wasm, 1 << 20).unwrap();
    let mut guest = Guest::new(
        &program,
        Inputs::default(),
        Arc::default(),
        Arc::new(Silent),
    )?;
    guest.merge(b"left", b"right").map(<[u8]>::to_vec)
}

const INPUT_LEN: &str =
    r#"(import "manyhands" "input_len" (func $input_len (param i64) (result i64)))"#;
const INPUT_READ: &str =
    r#"(import "manyhands" "input_read" (func $input_read (param i64 i64 i32 i32)))"#;
const ECHO: &str = "(local $len i64) (local.set $len (call $input_len (local.get $i)))
    (call $input_read (local.get $i) (i64.const 0) (global.get $out) (i32.wrap_i64 (local.get $len)))
    (global.set $out (i32.add (global.get $out) (i32.wrap_i64 (local.get $len))))";

#[test]
fn inputs_reach_their_tasks() {
    let segment = |text: &'static str| {
        Arc::new(Segment::new(
            Bytes::from_static(text.as_bytes()),
            Split::Lines,
        ))
    };
    let mut job = job(
        concat(true, &format!("{INPUT_LEN}{INPUT_READ}"), ECHO),
        "{}",
    );
    job.segments = vec![segment("one\ntwo\n"), segment("three\n\nfive")];
    assert_eq!(reference::run(&job).unwrap(), b"one\ntwo\nthree\n\nfive");
    let leaves = |tree: Tree| (0..tree.tasks()).rev().map(Node::leaf).collect();
    assert_eq!(
        reference::run_cut(&job, leaves).unwrap(),
        b"one\ntwo\nthree\n\nfive"
    );
}

#[test]
fn inputs_outside_the_block_trap() {
    let imports = format!("{INPUT_LEN}{INPUT_READ}");
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
            "(call $input_read (i64.const 0) (i64.const 0) (i32.const -2) (i32.const 4))",
            "input_read: a range of 4 bytes at 0xfffffffe is outside the guest's memory",
        ),
    ];
    for (body, message) in cases {
        let mut job = job(concat(true, &imports, body), "{}");
        job.segments = vec![Arc::new(Segment::new(
            Bytes::from_static(b"one\ntwo\n"),
            Split::Lines,
        ))];
        match run(job) {
            Err(RunError::Guest(failure)) => {
                assert_eq!(failure.kind, FailureKind::Trap);
                assert!(
                    failure
                        .message
                        .starts_with(&format!("{message}\n  at task")),
                    "{failure:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn broadcast_files_are_read_by_name() {
    // The text "no luck" at 513 is a file's name here.
    let imports = r#"(import "manyhands" "file_len" (func $file_len (param i32 i32) (result i64)))
        (import "manyhands" "file_read" (func $file_read (param i32 i32 i64 i32 i32)))"#;
    let body = "(if (i64.ne (call $file_len (i32.const 512) (i32.const 3)) (i64.const -1)) (then (unreachable)))
        (if (i64.ne (call $file_len (i32.const 513) (i32.const 7)) (i64.const 6)) (then (unreachable)))
        (call $file_read (i32.const 513) (i32.const 7) (i64.const 2) (global.get $out) (i32.const 4))
        (global.set $out (i32.add (global.get $out) (i32.const 4)))";
    let mut job = job(concat(false, imports, body), r#"{"tasks":2}"#);
    job.files = Arc::new(BTreeMap::from([(
        "no luck".to_owned(),
        Bytes::from_static(b"abcdef"),
    )]));
    assert_eq!(run(job).unwrap(), b"cdefcdef");
}

/// Keeps what a guest tells.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Sink for Lines {
    fn log(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
    fn progress(&self, fraction: f64) {
        self.0.lock().unwrap().push(fraction.to_string());
    }
}

#[test]
fn lines_and_progress_reach_the_sink() {
    let lines = Arc::new(Lines::default());
    let imports = format!(
        r#"{} (import "manyhands" "progress" (func $progress (param f64)))"#,
        guests::LOG
    );
    let body = format!(
        "(call $log (i32.const 513) (i32.const 7)) (call $progress (f64.const 0.5))
         (call $progress (f64.const nan)) (call $progress (f64.const 7)) {}",
        guests::VALUE
    );
    let mut job = job(reduce(&imports, &body), r#"{"tasks":1}"#);
    job.sink = Arc::clone(&lines) as Arc<dyn Sink>;
    run(job).unwrap();
    assert_eq!(*lines.0.lock().unwrap(), ["no luck", "0.5", "0", "1"]);
}

#[test]
fn a_panics_line_without_a_trap_is_a_line_as_any_other() {
    let lines = Arc::new(Lines::default());
    // Both tasks write it; the second fails in another way.
    let body = format!(
        "(call $log (i32.const 528) (i32.const 33))
         (if (i64.eq (local.get $i) (i64.const 1)) (then {})) {}",
        guests::ERROR,
        guests::VALUE
    );
    let mut job = job(reduce(guests::LOG, &body), r#"{"tasks":2}"#);
    job.sink = Arc::clone(&lines) as Arc<dyn Sink>;
    match run(job) {
        Err(RunError::Guest(failure)) => assert_eq!(failure.message, "no luck"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        *lines.0.lock().unwrap(),
        ["panicked at src/lib.rs:7:9: boom!"; 2]
    );
}

#[test]
fn a_concat_guest_has_no_merge_whatever_it_exports() {
    let wasm = concat(false, "", r#") (func (export "merge") (param f32) (nop)"#);
    assert_eq!(
        merged(&wasm).unwrap_err().message,
        "a concat guest has no merge"
    );
}

#[test]
fn a_module_that_admission_would_change_is_not_loaded_by_hash() {
    let runtime = Runtime::new(&Settings {
        slots: 1,
        cache: None,
    })
    .unwrap();
    let admitted = crate::admit::admit(&plain(), 1 << 20).unwrap();
    assert!(
        runtime
            .load_admitted(&admitted.wasm, admitted.hash, 1 << 20)
            .is_ok()
    );
    let Err(error) = runtime.load_admitted(&admitted.wasm, admitted.hash, 1 << 19) else {
        panic!("other limits")
    };
    assert!(
        error
            .to_string()
            .contains("was not admitted under this job's limits"),
        "{error}"
    );
    assert!(
        runtime
            .load_admitted(&plain(), admitted.hash, 1 << 20)
            .is_ok(),
        "that is what admission puts out"
    );
}
