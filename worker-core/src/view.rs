//! What a driver may show of a session: getters' values, for people.

use manyhands_protocol::{JobId, WorkerId};
use std::ops::Range;

/// A session at a glance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// How the connection stands.
    pub connection: ConnectionView,
    /// The name the coordinator shows, once it has given one.
    pub worker: Option<WorkerId>,
    /// The leases in hand, in the order they are worked on.
    pub leases: Vec<LeaseView>,
    /// Slots at work now.
    pub busy_slots: u16,
    /// Slots that may be used.
    pub slots: u16,
    /// Partials the coordinator has accepted, or that were handed in when it
    /// ended their job (be it complete or cancelled: it does not say).
    pub blocks_done: u64,
    /// Tasks of these partials.
    pub tasks_done: u64,
    /// Slot time of these partials, in microseconds.
    pub busy_us: u64,
    /// Bytes of partials computed and not yet accepted.
    pub retained_bytes: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames given out to be sent.
    pub bytes_out: u64,
}

/// How the connection stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectionView {
    /// A socket is being opened, or the hello is on its way.
    Connecting,
    /// The coordinator has welcomed this worker.
    Welcome,
    /// Waiting before the next try.
    Waiting {
        /// When it comes.
        until: crate::Micros,
        /// Why the last one ended, if this side or the coordinator said so.
        reason: Option<String>,
    },
    /// The session is over.
    Finished,
}

/// A lease in hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseView {
    /// Its job.
    pub job: JobId,
    /// The job's name.
    pub name: String,
    /// The block's tasks.
    pub tasks: Range<u64>,
    /// How many are done.
    pub done: u64,
    /// Whether any of it has begun.
    pub begun: bool,
}
