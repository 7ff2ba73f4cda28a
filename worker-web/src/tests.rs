//! Tests in a real browser's dedicated worker: `wasm-pack test --headless
//! --chrome` (or `--firefox`).

mod coordinator;
mod guest;
mod hub;
mod mailbox;
mod sameness;
mod slots;
mod starting;
mod watching;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
