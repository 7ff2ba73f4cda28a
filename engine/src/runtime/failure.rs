//! From wasmtime's errors to the failures that an author reads: which kind, the
//! panic's own text, and a backtrace with function names.

use super::host::HostFault;
use manyhands_protocol::{Failure, FailureKind, limits};
use std::fmt::Write;
use wasmtime::{Error, Trap, WasmBacktrace};

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

/// What ended a call of a guest. `out_of_memory` is whether the sentinel is
/// set, `panic` the line its panic handler wrote.
pub(super) fn of_call(
    error: &Error,
    out_of_memory: bool,
    memory_limit: u64,
    panic: Option<String>,
) -> Failure {
    let (kind, reason) = if out_of_memory {
        let limit = memory_limit >> 20;
        (
            FailureKind::Memory,
            format!("out of memory: the job allows {limit} MiB"),
        )
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        match (trap, panic) {
            (Trap::StackOverflow, _) => (FailureKind::Stack, "the stack overflowed".to_owned()),
            (_, Some(panic)) => (FailureKind::Trap, panic),
            (trap, None) => (FailureKind::Trap, trap.to_string()),
        }
    } else if let Some(fault) = error.downcast_ref::<HostFault>() {
        (FailureKind::Trap, fault.to_string())
    } else {
        // No fault of the guest: no room for an instance, say.
        (
            FailureKind::Memory,
            format!("the guest cannot run here: {error:#}"),
        )
    };
    let mut message = reason;
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        append(&mut message, backtrace);
    }
    failure(kind, message)
}

fn append(message: &mut String, backtrace: &WasmBacktrace) {
    for frame in backtrace.frames() {
        let offset = frame.module_offset().unwrap_or_default();
        let line = match frame.func_name() {
            Some(name) => {
                let name = format!("{:#}", rustc_demangle::demangle(name));
                if MACHINERY
                    .iter()
                    .any(|machinery| name.starts_with(machinery))
                {
                    continue;
                }
                format!("\n  at {name} ({offset:#x})")
            }
            None => format!("\n  at function {} ({offset:#x})", frame.func_index()),
        };
        message.write_str(&line).expect("a String takes all");
    }
}
