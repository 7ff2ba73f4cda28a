//! Guests in text form. Their tasks are never run here: the workers of these
//! tests make partials up; `open`, `merge` and `finish` run for real.

/// `merge` joins the two partials; `finish` gives the partial. `open` wants an
/// object, and fails otherwise.
fn guest(mode: u8, flags: u8, tasks: u64) -> Vec<u8> {
    let opened = format!(r#"{{\22tasks\22:{tasks},\22media_type\22:\22text/plain\22}}"#);
    let opened_len = opened.replace(r"\22", "\"").len() + 1;
    let (merge, finish) = match mode {
        0 => (r#"(export "merge")"#, r#"(export "finish")"#),
        _ => ("", ""),
    };
    let text = format!(
        r#"(module
          (@custom "manyhands" "\01\00\{mode:02x}\{flags:02x}")
          (memory (export "memory") 4)
          (global $top (mut i32) (i32.const 1024))
          (data (i32.const 16) "\00{opened}")
          (data (i32.const 128) "\01params must be an object")
          (func $bytes (param $at i32) (param $len i32) (result i64)
            (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
                    (i64.extend_i32_u (local.get $len))))
          (func (export "alloc") (param $len i32) (result i32)
            (global.get $top)
            (global.set $top (i32.add (global.get $top) (local.get $len))))
          (func (export "open") (param $at i32) (param $len i32) (result i64)
            (if (result i64) (i32.eq (i32.load8_u (local.get $at)) (i32.const 123))
              (then (call $bytes (i32.const 16) (i32.const {opened_len})))
              (else (call $bytes (i32.const 128) (i32.const 25)))))
          (func (export "run") (param i64 i64) (result i64)
            (call $bytes (i32.const 8) (i32.const 1)))
          (func (export "take") (result i64) (call $bytes (i32.const 8) (i32.const 1)))
          (func {merge} (param $a i32) (param $al i32) (param $b i32) (param $bl i32) (result i64)
            (memory.copy (i32.const 131073) (local.get $a) (local.get $al))
            (memory.copy (i32.add (i32.const 131073) (local.get $al)) (local.get $b) (local.get $bl))
            (call $bytes (i32.const 131072)
              (i32.add (i32.const 1) (i32.add (local.get $al) (local.get $bl)))))
          (func {finish} (param $at i32) (param $len i32) (result i64)
            (memory.copy (i32.const 131073) (local.get $at) (local.get $len))
            (call $bytes (i32.const 131072) (i32.add (i32.const 1) (local.get $len)))))"#
    );
    wat::parse_str(text).expect("a module in text form")
}

pub(crate) fn reduce(tasks: u64) -> Vec<u8> {
    guest(0, 0, tasks)
}

pub(crate) fn concat(tasks: u64) -> Vec<u8> {
    guest(1, 0, tasks)
}

pub(crate) fn over_records() -> Vec<u8> {
    guest(1, 1, 0)
}
