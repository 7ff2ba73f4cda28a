//! The coordinator's brain: pure, no clock, no socket, no randomness.
//!
//! [`Scheduler`] owns jobs, blocks, leases and workers. A driver feeds it
//! [`Event`]s and carries out the [`Action`]s it answers with; it is generic
//! over the handle `P` to a partial's bytes, which it never looks into.

mod config;
mod event;
mod scheduler;
mod time;
mod view;

pub use config::Config;
pub use event::{Action, Capacity, Event, JobSpec, Reason};
pub use scheduler::Scheduler;
pub use time::Micros;
pub use view::{Contribution, JobProgress, Phase, Waiting, WorkerProgress};
