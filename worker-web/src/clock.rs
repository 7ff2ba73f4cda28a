//! The one place that reads the browser's clock and randomness.

use js_sys::Math;
use manyhands_worker_core::Micros;
use wasm_bindgen::JsCast;
use web_sys::WorkerGlobalScope;

/// The worker this code runs in.
pub(crate) fn scope() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Microseconds since this worker began.
pub(crate) fn now() -> Micros {
    let clock = scope().performance().expect("workers have a clock");
    Micros((clock.now() * 1000.0) as u64)
}

/// A random number, to spread reconnects: no secret depends on it.
pub(crate) fn seed() -> u64 {
    // Within what a double holds exactly.
    (Math::random() * 9.0e15) as u64
}
