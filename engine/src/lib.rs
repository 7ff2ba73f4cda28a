//! What runs guests, for the coordinator and for native workers.
//!
//! - [`admit`]: which modules may be guests, and the limits written into them.
//! - [`runtime`]: wasmtime with its settings; runs a guest in the calling thread.
//! - [`reference`](mod@reference): the plainest way to a job's result, to compare with.
//! - [`child`]: the process that runs guests on its threads under a time limit.
//! - [`sealed`], [`part`]: memory and parts of files that a child is given instead of a copy.
//! - [`neighbour`]: how a worker is handed parts of files by a coordinator of its machine.
//! - [`open_files`]: the limit that sealed memory and parts of files count against.
//! - [`compute`]: the parent's handle on that process, which it replaces when it dies.
//!
//! A coordinator or a worker calls no guest in its own process: it spawns a
//! [`compute::Compute`]. This crate knows nothing of leases, of jobs' lives or
//! of the network.

pub mod admit;
pub mod child;
pub mod compute;
mod given;
pub mod neighbour;
pub mod open_files;
pub mod part;
#[cfg(target_os = "linux")]
mod passing;
pub mod reference;
pub mod runtime;
pub mod sealed;

pub use given::Given;

#[cfg(test)]
mod tests;
