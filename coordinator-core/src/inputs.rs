//! What the driver tells the core.

use crate::record::Plan;
use bytes::Bytes;
use manyhands_protocol::api::{BlobView, JobView};
use manyhands_protocol::limits::MAX_SLOTS;
use manyhands_protocol::message::{Hello, ToCoordinator};
use manyhands_protocol::{Failure, JobId, LeaseId, Node, SessionToken};
use manyhands_scheduler::JobSpec;
use std::sync::Arc;

/// A connection, as the driver counts them: never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Someone who waits for an answer: never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Request(pub u64);

/// Something that happened. Given to [`Core::handle`](crate::Core::handle).
#[derive(Clone, Debug)]
pub enum Input {
    /// A worker said hello on a new connection. It is sent a welcome, or closed
    /// with the reason.
    Hello {
        /// Where.
        connection: ConnectionId,
        /// What it said; its version was checked.
        hello: Box<Hello>,
        /// 128 random bits, for the session if it is a new one.
        fresh: SessionToken,
        /// The time, in milliseconds since 1970, for people.
        unix_ms: u64,
    },
    /// A worker's message after its hello.
    Message {
        /// Where.
        connection: ConnectionId,
        /// What.
        message: FromWorker,
    },
    /// The connection ended. Not needed after
    /// [`Output::Close`](crate::Output::Close), and harmless.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// A page's beacon: its worker is gone for good.
    Goodbye {
        /// The worker's secret.
        session: SessionToken,
    },
    /// A submission that was found good.
    Submit {
        /// Who waits for [`Output::Submitted`](crate::Output::Submitted).
        request: Request,
        /// The job.
        job: Box<NewJob>,
    },
    /// An author takes a job back.
    Cancel {
        /// Who waits for [`Output::Cancelled`](crate::Output::Cancelled).
        request: Request,
        /// Which.
        job: JobId,
    },
    /// What a [`Output::Merge`](crate::Output::Merge) came to. Failures that
    /// depend on the machine were tried again before.
    Merged {
        /// Of which job; ignored when that is over.
        job: JobId,
        /// The output's node.
        node: Node,
        /// The merged partial.
        outcome: Result<Bytes, Failure>,
    },
    /// The result is stored, or never will be.
    Finished {
        /// Of which job; ignored when that is over.
        job: JobId,
        /// Where it lies.
        outcome: Result<BlobView, Failure>,
    },
    /// A `reduce` job's result, of at most [`SMALL_RESULT`](crate::SMALL_RESULT)
    /// bytes: it is recorded with the job's end.
    Result {
        /// Of which job; ignored when that is over.
        job: JobId,
        /// The result.
        bytes: Bytes,
        /// Whether all that wait for it learn of it from
        /// [`Output::Result`](crate::Output::Result): then the record has time.
        told: bool,
    },
    /// The first `len` bytes of a growing result are on disk: all that was
    /// appended up to the [`Output::Append`](crate::Output::Append) with `task`.
    Synced {
        /// Of which job; ignored when that is over.
        job: JobId,
        /// The first task that is not in those bytes.
        task: u64,
        /// Bytes.
        len: u64,
    },
    /// The group of an [`Output::Commit`](crate::Output::Commit) is durable.
    Committed {
        /// Its number.
        group: u64,
    },
    /// Why nothing can be kept at present; `None` when all is well again. While
    /// there is trouble nothing is handed out.
    Trouble(Option<String>),
    /// The coordinator is to end: nothing is handed out any more, and workers
    /// are told to come back to its successor.
    Drain,
    /// [`Core::next_deadline`](crate::Core::next_deadline) has come. Harmless at
    /// any time.
    Tick,
}

/// What a worker said after its hello; a partial's pieces are joined.
#[derive(Clone, Debug)]
pub enum FromWorker {
    /// A whole partial.
    Partial {
        /// The lease it names.
        lease: LeaseId,
        /// The node it claims to be of.
        node: Node,
        /// Its bytes.
        partial: Bytes,
        /// Slot time it took as the worker says, in microseconds.
        busy_us: u64,
    },
    /// A node failed in the guest.
    Failed {
        /// The lease it names.
        lease: LeaseId,
        /// The guilty node.
        node: Node,
        /// What happened.
        failure: Failure,
    },
    /// A job cannot run there at all.
    Unusable {
        /// Which.
        job: JobId,
        /// Why.
        failure: Failure,
    },
    /// The worker is done with a lease.
    Returned {
        /// Which.
        lease: LeaseId,
    },
    /// How far a lease is.
    Progress {
        /// Which.
        lease: LeaseId,
        /// Tasks done so far.
        done: u64,
    },
    /// The worker's capacity changed.
    Capacity {
        /// Threads that may compute now.
        slots: u16,
        /// Whether its page is hidden.
        hidden: bool,
    },
    /// A line from a guest.
    Log {
        /// Its job.
        job: JobId,
        /// The line.
        text: String,
    },
    /// Something of no further meaning here.
    Heard,
    /// It asks for a sign of life.
    Alive,
    /// It answers a `Ping`.
    Pong,
    /// It leaves for good.
    Goodbye,
}

/// Why a worker's message ends its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutOfPlace {
    /// Only the first message is one.
    #[error("a second hello")]
    Hello,
    /// More slots than a worker may claim.
    #[error("{0} slots; at most {MAX_SLOTS} are allowed")]
    Slots(
        /// How many.
        u16,
    ),
}

impl FromWorker {
    /// What a message without bulk says. The driver has dealt with the blobs of
    /// a `Need` itself; here it is a sign of life.
    ///
    /// # Errors
    /// When the message ends its connection.
    ///
    /// # Panics
    /// On a `Partial`: its pieces are joined before.
    pub fn of(message: ToCoordinator) -> Result<Self, OutOfPlace> {
        Ok(match message {
            ToCoordinator::Hello(_) => return Err(OutOfPlace::Hello),
            ToCoordinator::Partial { .. } => unreachable!("pieces are joined before"),
            ToCoordinator::Need(_) => Self::Heard,
            ToCoordinator::Failed {
                lease,
                node,
                failure,
            } => Self::Failed {
                lease,
                node,
                failure,
            },
            ToCoordinator::Unusable { job, failure } => Self::Unusable { job, failure },
            ToCoordinator::Returned { lease } => Self::Returned { lease },
            ToCoordinator::Progress { lease, done } => Self::Progress { lease, done },
            ToCoordinator::Capacity { slots, hidden } => {
                let slots = u16::from_le_bytes(slots);
                if slots > MAX_SLOTS {
                    return Err(OutOfPlace::Slots(slots));
                }
                Self::Capacity { slots, hidden }
            }
            ToCoordinator::Log { job, text } => Self::Log { job, text },
            ToCoordinator::Alive => Self::Alive,
            ToCoordinator::Pong => Self::Pong,
            ToCoordinator::Goodbye => Self::Goodbye,
        })
    }
}

/// A job as its submission was prepared.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What the scheduler needs.
    pub spec: JobSpec,
    /// What restarts it.
    pub plan: Arc<Plan>,
    /// As it is shown at first.
    pub view: JobView,
}
