//! The coordinator's brain: pure, no clock, no socket, no randomness.
//!
//! [`Scheduler`] owns jobs, blocks, leases and workers. A driver feeds it
//! [`Event`]s and carries out the [`Action`]s it answers with; it is generic
//! over the handle `P` to a partial's bytes, which it never looks into.

mod assembly;
mod blocks;
mod buddy;
mod config;
mod ending;
mod ends;
mod event;
mod failures;
mod fairness;
mod getters;
mod grants;
mod holders;
mod jobs;
mod leases;
mod lifecycle;
mod prediction;
mod presence;
mod pulse;
mod quarantine;
mod restore;
mod results;
mod scheduler;
mod sizing;
mod stragglers;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod unusable;
mod view;
mod workers;

pub use config::Config;
pub use event::{Action, Capacity, Event, JobSpec, Reason};
pub use scheduler::Scheduler;
pub use time::Micros;
pub use view::{Contribution, JobProgress, Phase, Quarantine, Waiting, WorkerProgress};
