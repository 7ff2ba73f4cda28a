//! The worker's brain: one pure session for native and browser workers.
//!
//! [`Session`] takes what happens ([`Input`]) and answers with what to do
//! ([`Output`]). It reads no clock (time is an argument), no randomness (a seed
//! is), no socket, and knows nothing of the engine that runs the guests.

mod blobs;
mod config;
mod connection;
mod halves;
mod input;
mod jobs;
mod leases;
mod output;
mod pieces;
mod results;
mod room;
mod session;
mod slots;
mod sorted;
#[cfg(test)]
mod tests;
mod view;

pub use config::Config;
pub use input::{Found, Input};
pub use output::{End, GrantFault, JobBundle, Output, Reason, Work};
pub use room::{Ordinary, Room, Rooms};
pub use session::Session;
pub use view::{ConnectionView, LeaseView, View};

/// A point in time, or a span: microseconds since whatever moment the driver
/// chose, never going back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// `self` and `span` later, at most the end of time.
    #[must_use]
    pub const fn after(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to here; zero if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}
