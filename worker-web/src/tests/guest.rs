//! A guest by hand: it sums task numbers, and misbehaves when its parameters'
//! first byte says so.

/// Fails where `params` begin with `e` (error), `p` (panic), `t` (trap), `s`
/// (stack), `m` (memory), `o` (reads outside its block), or never ends (`l`);
/// `i` sums the lengths of the tasks' inputs and logs the last of them.
pub(super) const WAT: &str = r#"
(module $sums.wasm
  (import "manyhands" "log" (func $log (param i32 i32)))
  (import "manyhands" "input_len" (func $input_len (param i64) (result i64)))
  (import "manyhands" "input_read" (func $input_read (param i64 i64 i32 i32)))
  (memory (export "memory") 2 4)
  (global $oom (export "manyhands_oom") (mut i32) (i32.const 0))
  (global $mode (mut i32) (i32.const 0))
  (global $sum (mut i64) (i64.const 0))
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 16) "\01no such luck")
  (data (i32.const 64) "panicked at 'odd', src/lib.rs:7")
  (func (export "alloc") (param $len i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $len))))
  (func (export "open") (param $ptr i32) (param $len i32) (result i64)
    (global.set $mode (i32.load8_u (local.get $ptr)))
    (i64.const 1)) ;; one byte at 0: status 0
  (func $recurse (param i64) (result i64)
    (i64.add (i64.const 1) (call $recurse (i64.add (local.get 0) (i64.const 1)))))
  (func $misbehave (param $task i64)
    (if (i32.eq (global.get $mode) (i32.const 116)) (then unreachable)) ;; t
    (if (i32.eq (global.get $mode) (i32.const 112)) ;; p
      (then (call $log (i32.const 64) (i32.const 31)) unreachable))
    (if (i32.eq (global.get $mode) (i32.const 109)) ;; m
      (then (global.set $oom (i32.const 1)) unreachable))
    (if (i32.eq (global.get $mode) (i32.const 115)) ;; s
      (then (global.set $sum (call $recurse (i64.const 0)))))
    (if (i32.eq (global.get $mode) (i32.const 111)) ;; o
      (then (drop (call $input_len (i64.add (local.get $task) (i64.const 1000))))))
    (if (i32.eq (global.get $mode) (i32.const 108)) (then (loop (br 0)))) ;; l
    (if (i32.eq (global.get $mode) (i32.const 105)) ;; i
      (then
        (call $input_read (local.get $task) (i64.const 0) (i32.const 2048)
          (i32.wrap_i64 (call $input_len (local.get $task))))
        (call $log (i32.const 2048) (i32.wrap_i64 (call $input_len (local.get $task))))
        (global.set $sum (i64.add (global.get $sum) (call $input_len (local.get $task))))
        (return)))
    (global.set $sum (i64.add (global.get $sum) (local.get $task))))
  (func (export "run") (param $first i64) (param $count i64) (result i64)
    (if (i32.eq (global.get $mode) (i32.const 101)) ;; e
      (then (return (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 13)))))
    (loop $next
      (call $misbehave (local.get $first))
      (local.set $first (i64.add (local.get $first) (i64.const 1)))
      (local.set $count (i64.sub (local.get $count) (i64.const 1)))
      (br_if $next (i64.gt_s (local.get $count) (i64.const 0))))
    (i64.const 1))
  (func $sum_of (result i64) ;; status and sum at 128
    (i64.store (i32.const 129) (global.get $sum))
    (i64.or (i64.shl (i64.const 128) (i64.const 32)) (i64.const 9)))
  (func (export "take") (result i64) (call $sum_of))
  (func (export "merge") (param i32 i32 i32 i32) (result i64)
    (global.set $sum (i64.add (i64.load (local.get 0)) (i64.load (local.get 2))))
    (call $sum_of)))
"#;

/// The module's bytes.
pub(super) fn module() -> Vec<u8> {
    wat::parse_str(WAT).expect("the guest is well-formed")
}
