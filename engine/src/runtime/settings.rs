//! wasmtime's settings: which features, how instances are allocated, how much
//! stack. Each differs from a default for a reason named beside it.

use crate::admit::{FEATURES, MAX_MEMORY, MAX_TABLE_ELEMENTS, MAX_TABLES};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result,
    WasmBacktraceDetails, WasmFeatures,
};

/// The stack a thread needs that calls guests, in bytes. It must exceed what
/// wasm may use: overrunning the real stack would end the process.
pub const SLOT_STACK: usize = 8 << 20;

/// What wasm may use of it. Browsers give about 1 MB too.
const WASM_STACK: usize = 1 << 20;

/// How much of a linear memory or a table is kept and zeroed by hand instead of being
/// given back to the system after each block.
const KEEP_RESIDENT: usize = 64 << 10;

/// The same of a linear memory where the system says which pages were written to, so
/// that no others are zeroed: as much as a guest has that reads 1 MiB at a time and
/// leaves a partial of as much. A page that is given back costs its fault in the next
/// block, ten times what zeroing it costs.
const KEEP_WRITTEN: usize = 8 << 20;

pub(super) fn engine(slots: usize) -> Result<Engine> {
    // Without the address space that pooling reserves (a container's limit),
    // guests run slower instead of not at all.
    let pooled = Engine::new(config().allocation_strategy(pool(slots)));
    pooled.or_else(|error| {
        tracing::warn!(%error, "guests run without the pooling allocator");
        Engine::new(&config())
    })
}

fn config() -> Config {
    let mut config = Config::new();
    config.wasm_features(WasmFeatures::all().difference(FEATURES), false);
    config.wasm_features(FEATURES, true);
    config.max_wasm_stack(WASM_STACK);
    // With all of 32 bits reserved and guarded, bounds checks vanish.
    config.memory_reservation(MAX_MEMORY);
    config.memory_guard_size(MAX_MEMORY);
    config.memory_init_cow(true);
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn pool(slots: usize) -> InstanceAllocationStrategy {
    // An instance is dropped before its thread makes the next; the second one
    // a slot is for memory that still waits for its batch to be given back.
    let instances = u32::try_from(slots).unwrap_or(u32::MAX).clamp(1, 4096) * 2 + BATCH as u32;
    let keep = match PoolingAllocationConfig::is_pagemap_scan_available() {
        true => KEEP_WRITTEN,
        false => KEEP_RESIDENT,
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances * MAX_TABLES)
        .max_memories_per_module(1)
        .max_tables_per_module(MAX_TABLES)
        .max_memory_size(MAX_MEMORY as usize)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .decommit_batch_size(BATCH)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    InstanceAllocationStrategy::Pooling(pool)
}

/// Memories are given back to the system this many at a time: two threads that
/// do it singly hold each other up (20 µs an instance instead of 4).
const BATCH: usize = 32;
