//! Small hand-written guests of ABI.md for the tests, inside the crate and
//! outside. The merge of the `reduce` guest is neither commutative nor
//! associative, so that a wrong tree gives other bytes.
#![allow(unreachable_pub, reason = "one module of two crates, private in both")]

/// A `reduce` guest. A task's value is what the body of `$task` (its index is
/// local `$i`) leaves on the stack, an i64; `open` answers its parameters.
pub fn reduce(imports: &str, task: &str) -> Vec<u8> {
    module(
        "\\01\\00\\00\\00",
        imports,
        &format!("{REDUCE}(func $task (param $i i64) (result i64) {task})"),
    )
}

/// A `concat` guest. A task's bytes are written by the body of `$task` at
/// `$out`, which it moves on; the input flag is set if `inputs`.
pub fn concat(inputs: bool, imports: &str, task: &str) -> Vec<u8> {
    let section = if inputs {
        "\\01\\00\\01\\01"
    } else {
        "\\01\\00\\01\\00"
    };
    module(
        section,
        imports,
        &format!("{CONCAT}(func $task (param $i i64) {task})"),
    )
}

/// Assembles text.
pub fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's text is right")
}

/// The value of task `i` of [`plain`].
pub fn value(i: u64) -> u64 {
    i * i + 1
}

/// The merge of the `reduce` guest.
pub fn merge(left: u64, right: u64) -> u64 {
    left.wrapping_mul(31)
        .wrapping_add(right.wrapping_mul(17))
        .wrapping_add(7)
}

/// `reduce`; no task fails.
pub fn plain() -> Vec<u8> {
    reduce("", VALUE)
}

/// `reduce`; task 5 does `what` first.
pub fn bad_at_5(imports: &str, what: &str) -> Vec<u8> {
    reduce(
        imports,
        &format!("(if (i64.eq (local.get $i) (i64.const 5)) (then {what})) {VALUE}"),
    )
}

pub const VALUE: &str = "(i64.add (i64.mul (local.get $i) (local.get $i)) (i64.const 1))";
pub const RECURSE: &str = "(call $deep (i64.const 0)) (drop)";
/// Asks for a page until there is none.
pub const HOG: &str = "(loop $more (drop (memory.grow (i32.const 1))) (br $more))";
pub const ERROR: &str = "(global.set $failed (i32.const 1))";
pub const LOG: &str = r#"(import "manyhands" "log" (func $log (param i32 i32)))"#;

fn module(section: &str, imports: &str, functions: &str) -> Vec<u8> {
    let text =
        format!("(module {imports} {COMMON} {functions} (@custom \"manyhands\" \"{section}\"))");
    assemble(&text)
}

/// 16: an answer. 512: texts. 1024: the stack. 65600 and up: arguments.
const COMMON: &str = r#"
  (memory (export "memory") 4)
  (global $bump (mut i32) (i32.const 65600))
  (global $failed (mut i32) (i32.const 0))
  (data (i32.const 512) "\01no luck")
  (data (i32.const 528) "panicked at src/lib.rs:7:9: boom!")
  (func $alloc (export "alloc") (param $len i32) (result i32)
    (global.get $bump)
    (global.set $bump (i32.add (global.get $bump) (i32.add (local.get $len) (i32.const 8)))))
  (func $bytes (param $ptr i32) (param $len i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32)) (i64.extend_i32_u (local.get $len))))
  (func (export "open") (param $ptr i32) (param $len i32) (result i64)
    (i32.store8 (i32.sub (local.get $ptr) (i32.const 1)) (i32.const 0))
    (call $bytes (i32.sub (local.get $ptr) (i32.const 1)) (i32.add (local.get $len) (i32.const 1))))
  (func $deep (param i64) (result i64)
    (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))
  (func $answer (result i64)
    (if (result i64) (global.get $failed)
      (then (call $bytes (i32.const 512) (i32.const 8)))
      (else (i32.store8 (i32.const 16) (i32.const 0)) (call $bytes (i32.const 16) (i32.const 1)))))
"#;

/// The stack holds a value and its level, 16 bytes each.
const REDUCE: &str = r#"
  (global $top (mut i32) (i32.const 1024))
  (func $number (param $value i64) (result i64)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i64.store (i32.const 17) (local.get $value))
    (call $bytes (i32.const 16) (i32.const 9)))
  (func $join (param $a i64) (param $b i64) (result i64)
    (i64.add (i64.add (i64.mul (local.get $a) (i64.const 31)) (i64.mul (local.get $b) (i64.const 17))) (i64.const 7)))
  (func $push (param $value i64) (param $level i32)
    (i64.store (global.get $top) (local.get $value))
    (i32.store offset=8 (global.get $top) (local.get $level))
    (global.set $top (i32.add (global.get $top) (i32.const 16))))
  (func $fold
    (global.set $top (i32.sub (global.get $top) (i32.const 16)))
    (i64.store (i32.sub (global.get $top) (i32.const 16))
      (call $join (i64.load (i32.sub (global.get $top) (i32.const 16))) (i64.load (global.get $top))))
    (i32.store offset=8 (i32.sub (global.get $top) (i32.const 16))
      (i32.add (i32.load offset=8 (i32.sub (global.get $top) (i32.const 16))) (i32.const 1))))
  (func (export "run") (param $i i64) (param $count i64) (result i64)
    (local $end i64)
    (local.set $end (i64.add (local.get $i) (local.get $count)))
    (loop $next
      (call $push (call $task (local.get $i)) (i32.const 0))
      (block $done
        (loop $siblings
          (br_if $done (i32.lt_u (global.get $top) (i32.const 1056)))
          (br_if $done (i32.ne
            (i32.load offset=8 (i32.sub (global.get $top) (i32.const 16)))
            (i32.load offset=8 (i32.sub (global.get $top) (i32.const 32)))))
          (call $fold)
          (br $siblings)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $i) (local.get $end))))
    (call $answer))
  (func (export "take") (result i64)
    (block $done
      (loop $more
        (br_if $done (i32.lt_u (global.get $top) (i32.const 1056)))
        (call $fold)
        (br $more)))
    (call $number (i64.load (i32.const 1024))))
  (func (export "merge") (param $a i32) (param i32) (param $b i32) (param i32) (result i64)
    (call $number (call $join (i64.load (local.get $a)) (i64.load (local.get $b)))))
  (func (export "finish") (param $ptr i32) (param $len i32) (result i64)
    (i32.store8 (i32.sub (local.get $ptr) (i32.const 1)) (i32.const 0))
    (call $bytes (i32.sub (local.get $ptr) (i32.const 1)) (i32.add (local.get $len) (i32.const 1))))
"#;

const CONCAT: &str = r#"
  (global $out (mut i32) (i32.const 131073))
  (func (export "run") (param $i i64) (param $count i64) (result i64)
    (local $end i64)
    (local.set $end (i64.add (local.get $i) (local.get $count)))
    (loop $next
      (call $task (local.get $i))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $i) (local.get $end))))
    (call $answer))
  (func (export "take") (result i64)
    (call $bytes (i32.const 131072) (i32.sub (global.get $out) (i32.const 131072))))
"#;
