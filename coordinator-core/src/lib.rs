//! The coordinator's decisions, pure: no clock, no socket, no disk, no
//! randomness. [`Core`] owns the scheduler and adds what surrounds it: sessions
//! and their claims, the life of jobs, what is recorded of them, and who may be
//! told what before a record is durable. The bytes of partials pass through and
//! are not looked into.

mod actions;
mod claims;
mod core;
mod ids;
mod inputs;
mod jobs;
mod keys;
mod ledger;
mod life;
mod merging;
mod messages;
mod outputs;
mod record;
mod restore;
#[cfg(test)]
mod tests;
mod workers;

pub use crate::core::{Config, Core, Counts};
pub use claims::ClaimKey;
pub use inputs::{ConnectionId, FromWorker, Input, NewJob, OutOfPlace, Request};
pub use ledger::{KEEP_US, is_worth_keeping};
pub use outputs::Output;
pub use record::{Group, Plan, Record, SMALL_RESULT, Stored};
pub use restore::Damaged;
