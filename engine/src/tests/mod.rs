//! Tests of admission and of guests in this process. Those of the compute child
//! are in `tests/compute.rs`: they need its executable.

mod admit;
mod cache;
#[path = "../../tests/guests/mod.rs"]
mod guests;
mod runtime;
