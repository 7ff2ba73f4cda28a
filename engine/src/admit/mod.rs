//! Admission: the one pass that decides whether a module may be a guest, and
//! writes the job's limits into it. What it puts out is what is hashed and
//! shipped. Nothing here runs or compiles a guest.
//!
//! # What admission writes into a module
//! - The memory's maximum: the smaller of the module's own and the job's limit.
//! - A function that grows the memory, or sets the exported mutable `i32`
//!   global [`OOM_SENTINEL`] to 1 and executes `unreachable`. Every
//!   `memory.grow` of the module becomes a call of it, so that "no more memory"
//!   is a trap in every engine and never a value a guest could compute with.
//!   After a trap a host tells it from others by that global, which wasmtime,
//!   V8, SpiderMonkey and JavaScriptCore all let it read
//!   (`instance.exports.manyhands_oom.value` in JavaScript).
//! - A memory that begins 1 MiB larger than the module's own, within its maximum, and a
//!   mutable `i32` global that counts the pages which the guest has asked for: the first
//!   it grows by are there, and `memory.size` reads that global. An access beyond the
//!   guest's pages, and within those, does not trap, in any engine.
//! - Custom sections other than `manyhands` and `name` are dropped (DWARF is
//!   most of a debug build's bytes; names keep backtraces readable).
//!
//! Admission is idempotent: what it puts out, it puts out again unchanged.

mod refusal;
mod rewrite;
mod shape;

use bytes::Bytes;
use manyhands_protocol::{BlobHash, MergeMode};
pub use refusal::Refusal;
use shape::Shape;
use wasmparser::{Validator, WasmFeatures};

/// The ABI version of `guest-sdk/ABI.md` that this engine speaks.
pub const ABI_VERSION: u16 = 1;

/// The exported global that is not 0 once a guest has run out of memory.
pub const OOM_SENTINEL: &str = "manyhands_oom";

/// The most memory any guest can have: all that 32 bits address, in bytes.
pub const MAX_MEMORY: u64 = 1 << 32;

/// The most elements the tables of a module may have.
pub const MAX_TABLE_ELEMENTS: u32 = 100_000;

/// The most tables a module may have.
pub const MAX_TABLES: u32 = 4;

pub(crate) const PAGE: u64 = 65_536;

/// What a guest may use: rustc's defaults for `wasm32-unknown-unknown`, and
/// SIMD128. Without `GC_TYPES` reference types mean tables of functions, not
/// `externref`. All that may differ between engines stays out.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::FLOATS
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::SIMD);

/// A module that may run anywhere, as it is shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The rewritten module.
    pub wasm: Bytes,
    /// The hash of [`wasm`](Self::wasm).
    pub hash: BlobHash,
    /// How partials are merged.
    pub merge: MergeMode,
    /// Whether tasks are records of an input.
    pub takes_inputs: bool,
    /// Whether the engine must have SIMD128.
    pub simd: bool,
}

/// Checks that `wasm` is a guest that may run anywhere, and limits its memory
/// to `memory_limit` bytes (rounded down to pages of 64 KiB; 4 GiB at most).
///
/// # Errors
/// Says why the module is no guest, with the place.
///
/// ```
/// use manyhands_engine::admit::{Refusal, admit};
/// assert_eq!(admit(b"#!/bin/sh", 1 << 30), Err(Refusal::NotWasm));
/// ```
pub fn admit(wasm: &[u8], memory_limit: u64) -> Result<Admitted, Refusal> {
    check_framing(wasm)?;
    validate(wasm)?;
    let shape = Shape::read(wasm)?;
    let pages = memory_limit.min(MAX_MEMORY) / PAGE;
    let wasm = rewrite::rewrite(wasm, &shape, pages)?;
    Ok(Admitted {
        hash: BlobHash::of(&wasm),
        simd: uses_simd(&wasm),
        wasm: wasm.into(),
        merge: shape.merge,
        takes_inputs: shape.takes_inputs,
    })
}

/// Finds what a validator would report less clearly: other files, components,
/// and modules that end too early.
fn check_framing(wasm: &[u8]) -> Result<(), Refusal> {
    const MAGIC: &[u8] = b"\0asm";
    if !wasm.starts_with(MAGIC) {
        let cut = !wasm.is_empty() && MAGIC.starts_with(wasm);
        return Err(if cut {
            Refusal::Truncated { offset: wasm.len() }
        } else {
            Refusal::NotWasm
        });
    }
    match wasm.get(4..8) {
        None => return Err(Refusal::Truncated { offset: wasm.len() }),
        Some([1, 0, 0, 0]) => {}
        Some([_, _, 1, 0]) => return Err(Refusal::Component),
        Some(_) => return Err(Refusal::NotWasm),
    }
    let mut at = 8;
    while at < wasm.len() {
        let (size, start) =
            read_u32(wasm, at + 1).ok_or(Refusal::Truncated { offset: wasm.len() })?;
        at = start + size as usize;
        if at > wasm.len() {
            return Err(Refusal::Truncated { offset: wasm.len() });
        }
    }
    Ok(())
}

/// An LEB128 `u32` at `at` and the offset behind it; `None` past the end.
/// Malformed numbers are the validator's to report.
fn read_u32(wasm: &[u8], mut at: usize) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = *wasm.get(at)?;
        at += 1;
        value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((value, at))
}

fn validate(wasm: &[u8]) -> Result<(), Refusal> {
    let Err(error) = Validator::new_with_features(FEATURES).validate_all(wasm) else {
        return Ok(());
    };
    Err(match missing_feature(wasm, &error) {
        Some(feature) => Refusal::Feature {
            feature,
            offset: error.offset(),
        },
        None => Refusal::Invalid {
            reason: error.message().to_owned(),
            offset: error.offset(),
        },
    })
}

/// Whether the valid module needs SIMD128.
fn uses_simd(wasm: &[u8]) -> bool {
    let without = FEATURES.difference(WasmFeatures::SIMD);
    Validator::new_with_features(without)
        .validate_all(wasm)
        .is_err()
}

/// Names the refused feature that the module fails for, if it is one: with it,
/// validation comes further.
fn missing_feature(wasm: &[u8], error: &wasmparser::Error) -> Option<&'static str> {
    const REFUSED: [(WasmFeatures, &str); 14] = [
        (WasmFeatures::THREADS, "threads (atomics or shared memory)"),
        (WasmFeatures::RELAXED_SIMD, "relaxed SIMD"),
        (WasmFeatures::MEMORY64, "64-bit memory"),
        (WasmFeatures::MULTI_MEMORY, "more than one memory"),
        (WasmFeatures::EXCEPTIONS, "exceptions"),
        (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exceptions"),
        (WasmFeatures::TAIL_CALL, "tail calls"),
        (WasmFeatures::GC_TYPES, "externref"),
        (
            WasmFeatures::FUNCTION_REFERENCES.union(WasmFeatures::GC_TYPES),
            "typed function references",
        ),
        (
            WasmFeatures::GC
                .union(WasmFeatures::GC_TYPES)
                .union(WasmFeatures::FUNCTION_REFERENCES),
            "garbage collection",
        ),
        (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
        (
            WasmFeatures::EXTENDED_CONST,
            "extended constant expressions",
        ),
        (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
        (WasmFeatures::STACK_SWITCHING, "stack switching"),
    ];
    REFUSED.into_iter().find_map(|(feature, name)| {
        let further = match Validator::new_with_features(FEATURES.union(feature)).validate_all(wasm)
        {
            Ok(_) => true,
            Err(later) => later.offset() > error.offset(),
        };
        further.then_some(name)
    })
}
