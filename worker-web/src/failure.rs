//! From what a slot tells of a failed guest, or the browser throws, to what an
//! author reads; the same shape as native workers give.

use crate::slot::Told;
use js_sys::Array;
use manyhands_protocol::{Failure, FailureKind, limits};
use std::fmt::Write;
use wasm_bindgen::{JsCast, JsValue};

/// Frames that say how Rust panics, not where.
const MACHINERY: [&str; 7] = [
    "std::panicking::",
    "core::panicking::",
    "std::sys::backtrace::",
    "std::panic::",
    "__rust",
    "rust_begin_unwind",
    "core::result::unwrap_failed",
];

/// A failure with a text; cut to what the protocol carries.
pub(crate) fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        message: limits::clip(message.into()),
    }
}

/// What a `failed` says; `memory` is the job's limit in bytes.
pub(crate) fn of_told(told: &Told, memory: u64) -> Failure {
    let mut message = told.text();
    let kind = match told.kind().as_str() {
        "error" => FailureKind::Error,
        "stack" => FailureKind::Stack,
        "memory" => FailureKind::Memory,
        _ => FailureKind::Trap,
    };
    if kind == FailureKind::Memory && message.is_empty() {
        message = format!("out of memory: the job allows {} MiB", memory >> 20);
    }
    for frame in told.frames().iter() {
        append(&mut message, &frame.unchecked_into());
    }
    failure(kind, message)
}

fn append(message: &mut String, frame: &Array) {
    let text = |at| frame.get(at).as_string().unwrap_or_default();
    let (name, offset) = (text(0), text(1));
    let name = format!("{:#}", rustc_demangle::demangle(&name));
    if MACHINERY
        .iter()
        .any(|machinery| name.starts_with(machinery))
    {
        return;
    }
    let line = if offset.is_empty() {
        format!("\n  at {name}")
    } else {
        format!("\n  at {name} ({offset})")
    };
    message.write_str(&line).expect("a String takes all");
}

/// What a thrown value says.
pub(crate) fn text_of(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}
