//! Guests whose tasks nobody runs: stand-ins make their partials up, and `merge`
//! and `finish` give nothing.

use manyhands_protocol::MergeMode;

/// A module of so many tasks.
pub(crate) fn guest(mode: MergeMode, tasks: u64) -> Vec<u8> {
    let opened = format!(r#"{{\22tasks\22:{tasks}}}"#);
    let opened_len = r#"{"tasks":}"#.len() + tasks.to_string().len() + 1;
    let (byte, merges) = match mode {
        MergeMode::Reduce => (
            0,
            r#"(func (export "merge") (param i32 i32 i32 i32) (result i64) (call $nothing))
               (func (export "finish") (param i32 i32) (result i64) (call $nothing))"#,
        ),
        MergeMode::Concat => (1, ""),
    };
    let text = format!(
        r#"(module
          (@custom "manyhands" "\01\00\{byte:02x}\00")
          (memory (export "memory") 16)
          (data (i32.const 16) "\00{opened}")
          (func $nothing (result i64) (i64.const {nothing}))
          ;; Arguments are not looked at: they may lie in one another's place.
          (func (export "alloc") (param i32) (result i32) (i32.const 1024))
          (func (export "open") (param i32 i32) (result i64) (i64.const {opened_at}))
          (func (export "run") (param i64 i64) (result i64) (call $nothing))
          (func (export "take") (result i64) (call $nothing))
          {merges})"#,
        // A packed address and length: the status byte 0, which means success.
        nothing = bytes(8, 1),
        opened_at = bytes(16, opened_len),
    );
    wat::parse_str(text).expect("a module in text form")
}

fn bytes(at: u64, len: usize) -> u64 {
    (at << 32) | len as u64
}
