//! Fixed work for the pure crates: what their benches time and what `cargo
//! xtask instructions` counts. Measures nothing itself, and reads no clock.

pub mod core;
pub mod protocol;
pub mod scheduler;
