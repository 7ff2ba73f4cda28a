//! What the driver tells the scheduler and what the scheduler asks of it.

use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{Failure, JobId, LeaseId, MergeMode, Node, Operand, Tree, WorkerId};

/// What the scheduler must know of a submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobSpec {
    /// The tree over the job's tasks.
    pub tree: Tree,
    /// How partials are merged.
    pub merge: MergeMode,
    /// The job's share of the workers against other jobs; 0 counts as 1.
    pub weight: u32,
    /// Memory a guest may have, in bytes: workers with less get no block.
    pub memory: u64,
    /// Whether the module uses SIMD128: workers without it get no block.
    pub simd: bool,
    /// Mean input bytes a task; 0 for a job without inputs. Bounds a block by
    /// [`Config::block_input_bytes`](crate::Config::block_input_bytes).
    pub bytes_per_task: u64,
    /// The most tasks a block may have, whatever its predicted time; `u64::MAX`
    /// for no such bound. For a job with inputs the driver chooses it such that
    /// no block names more than
    /// [`MAX_LIST`](manyhands_protocol::limits::MAX_LIST) segments.
    pub max_block: u64,
}

/// What a worker can do, from its hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// What runs the guests: tabs get shorter blocks.
    pub engine: EngineKind,
    /// Threads that may compute; 0 while paused.
    pub slots: u16,
    /// Bytes of memory for guests and inputs together.
    pub memory: u64,
    /// Whether the engine has SIMD128.
    pub simd: bool,
    /// Whether its page is hidden: it may be silent for minutes.
    pub hidden: bool,
}

/// What happened. Those that name a worker count as signs of its life; those
/// of a worker that is not known (any more) are ignored.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<P> {
    /// A job was admitted.
    JobSubmitted {
        /// Never used before.
        job: JobId,
        /// What it needs.
        spec: JobSpec,
    },
    /// A job as a coordinator that was started anew finds it: goes on as if its
    /// partials had just been handed in, with [`Action::Merge`] for siblings,
    /// [`Action::Emit`] for what continues the prefix, and [`Action::Root`] or
    /// [`Action::Complete`] where nothing is left. Comes before the workers
    /// that may hold leases of the job.
    JobRestored {
        /// Never used before in this incarnation.
        job: JobId,
        /// What it needs.
        spec: JobSpec,
        /// `concat`: the tasks before this one are in the output already. 0 for
        /// `reduce`.
        prefix: u64,
        /// The partials that were stored, with their lengths in bytes: of
        /// disjoint canonical nodes of the job's tree, none of them before
        /// `prefix`.
        partials: Vec<(Node, P, u64)>,
    },
    /// Its author took the job back, or the driver gave it up (its output
    /// cannot be written, say). Ignored when the job is over.
    JobCancelled {
        /// Which.
        job: JobId,
    },
    /// Nobody will ask for the job any more: its getters answer `None` from now
    /// on. One that is not over is cancelled.
    JobRemoved {
        /// Which.
        job: JobId,
    },
    /// A worker said hello with no session to resume here.
    WorkerJoined {
        /// Never used before.
        worker: WorkerId,
        /// What it can do.
        capacity: Capacity,
        /// Leases it holds of a session that this incarnation does not know:
        /// the driver has proof that they were granted to it. Each stands as
        /// far as its block is not done, else it is revoked; answers are welcome
        /// either way. Of a job that is not running the worker is told to
        /// forget.
        held: Vec<(LeaseId, JobId, Node)>,
    },
    /// A worker came back to its session (also when its old connection has not
    /// been found dead yet). The driver asks
    /// [`Scheduler::worker`](crate::Scheduler::worker) before whether there is
    /// one to come back to; if not, the worker joins.
    WorkerResumed {
        /// Whose session.
        worker: WorkerId,
        /// What it can do now.
        capacity: Capacity,
        /// Leases it still holds: others are free.
        held: Vec<LeaseId>,
    },
    /// The capacity of a worker changed.
    WorkerCapacity {
        /// Which.
        worker: WorkerId,
        /// Threads that may compute; 0 while paused.
        slots: u16,
        /// Whether its page is hidden.
        hidden: bool,
    },
    /// The connection broke. Leases stand for
    /// [`Config::grace_us`](crate::Config::grace_us), the session for
    /// [`Config::session_us`](crate::Config::session_us).
    WorkerDisconnected {
        /// Which.
        worker: WorkerId,
    },
    /// A goodbye: leases are free at once and the session is over.
    WorkerLeft {
        /// Which.
        worker: WorkerId,
    },
    /// A worker answers an [`Action::Ping`].
    Pong {
        /// Which; one that was not asked is only heard.
        worker: WorkerId,
    },
    /// Bytes came, of whatever kind.
    Heard {
        /// From whom.
        worker: WorkerId,
    },
    /// A whole partial has come.
    Partial {
        /// From whom.
        worker: WorkerId,
        /// The lease it names.
        lease: LeaseId,
        /// The node it claims to be of.
        node: Node,
        /// The handle to its bytes.
        partial: P,
        /// Their number.
        len: u64,
        /// Slot time it took as the worker says, in microseconds.
        busy_us: u64,
    },
    /// A node failed in the guest.
    Failed {
        /// Where.
        worker: WorkerId,
        /// The lease it names.
        lease: LeaseId,
        /// The guilty node.
        node: Node,
        /// What happened.
        failure: Failure,
    },
    /// A worker cannot run a job at all: its leases of it are free, and it gets
    /// no other while its session lasts. No task is blamed. When
    /// [`Config::attempts`](crate::Config::attempts) workers have said so and
    /// none that fits is left, the job fails. Ignored of a job that the worker
    /// was never granted.
    Unusable {
        /// Which worker.
        worker: WorkerId,
        /// Which job.
        job: JobId,
        /// Why.
        failure: Failure,
    },
    /// The worker is done with a lease, whatever it has not handed in.
    Returned {
        /// Which worker.
        worker: WorkerId,
        /// Which lease.
        lease: LeaseId,
    },
    /// How far a lease is: advisory.
    Progress {
        /// Which worker.
        worker: WorkerId,
        /// Which lease.
        lease: LeaseId,
        /// Tasks done so far.
        done: u64,
    },
    /// A [`Action::Merge`] came to this.
    Merged {
        /// Of which job; ignored when that is over.
        job: JobId,
        /// The action's node.
        node: Node,
        /// The handle to the merged partial.
        partial: P,
        /// Its length in bytes.
        len: u64,
    },
    /// A [`Action::Merge`] failed for good: the job fails, if the outcome is still
    /// [awaited](crate::Scheduler::merging). The driver, who has the partials, retries
    /// failures that depend on the machine before.
    MergeFailed {
        /// Of which job; ignored when that is over.
        job: JobId,
        /// The action's node.
        node: Node,
        /// What happened.
        failure: Failure,
    },
    /// Whether grants are held back: what comes in could not be kept, or the
    /// coordinator is about to stop. While on, nothing is granted nor asked back
    /// for others; answers are taken in as always. Off from the start.
    Hold {
        /// From now on.
        on: bool,
    },
    /// [`Scheduler::next_deadline`](crate::Scheduler::next_deadline) has come.
    /// Harmless at any time.
    Tick,
}

/// What the driver is to do, in this order.
///
/// A journal sits between [`Event::Partial`] and [`Action::Accepted`]: the
/// driver holds an `Accepted` with `used` back until the partial is safe; a
/// `Merge` names the node whose partial replaces those of its halves.
#[derive(Clone, PartialEq, Debug)]
pub enum Action<P> {
    /// Send the job's header to the worker unless it has it, then the grant.
    Grant {
        /// To whom.
        worker: WorkerId,
        /// Names the grant; never used before.
        lease: LeaseId,
        /// The job.
        job: JobId,
        /// The block.
        node: Node,
    },
    /// Ask the worker for an [`Event::Pong`].
    Ping {
        /// Which.
        worker: WorkerId,
    },
    /// Ask the worker to give a lease back if it has not begun.
    Revoke {
        /// Whom.
        worker: WorkerId,
        /// Which.
        lease: LeaseId,
    },
    /// Tell the worker that it may forget the partial, as soon as it is safe.
    Accepted {
        /// Whom.
        worker: WorkerId,
        /// The lease the partial named.
        lease: LeaseId,
        /// The partial's node.
        node: Node,
        /// The job of whose result the partial is a part. `None` if it is of
        /// none: it was a copy of what is there, or its lease is over, and its
        /// handle has been dropped.
        used: Option<JobId>,
    },
    /// Tell the worker that the job is over.
    Forget {
        /// Whom.
        worker: WorkerId,
        /// Which job.
        job: JobId,
    },
    /// Close the worker's connection. If the reason
    /// [ends the session](Reason::ends_session), the worker may not resume it.
    Disconnect {
        /// Whom.
        worker: WorkerId,
        /// Why.
        reason: Reason,
    },
    /// The worker has been away for too long: it may not resume its session.
    SessionEnded {
        /// Which worker.
        worker: WorkerId,
    },
    /// Merge partials to one; answer with [`Event::Merged`] or [`Event::MergeFailed`].
    /// Several may be under way. One of the job's root has all there is in it, operands of
    /// those under way included: nobody waits for them any more.
    Merge {
        /// Of which job.
        job: JobId,
        /// What they come to.
        node: Node,
        /// In postfix order.
        operands: Vec<Operand<P>>,
    },
    /// Append to a `concat` job's result.
    Emit {
        /// Which job.
        job: JobId,
        /// The node whose partial this is: it begins where the last ended.
        node: Node,
        /// Its bytes.
        partial: P,
    },
    /// A `reduce` job's tasks are done and merged: finish it.
    Root {
        /// Which job.
        job: JobId,
        /// The root's partial; `None` for a job without tasks.
        partial: Option<P>,
    },
    /// All of a `concat` job has been emitted.
    Complete {
        /// Which job.
        job: JobId,
    },
    /// The job has failed for good.
    JobFailed {
        /// Which job.
        job: JobId,
        /// The guilty task; `None` when a merge failed, or no worker can run the
        /// job.
        task: Option<u64>,
        /// What happened to it last.
        failure: Failure,
    },
}

/// Why a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// Nothing was heard of the worker for too long. It may come back.
    #[error("nothing was heard from this worker for {0} seconds")]
    Silent(
        /// How long, in seconds.
        u64,
    ),
    /// A message names a lease that was never granted, or is another worker's.
    #[error("lease {}.{} was never granted to this worker", .0.incarnation.0, .0.counter)]
    ForeignLease(
        /// Which.
        LeaseId,
    ),
    /// A worker that joins claims a lease that is live already, or twice.
    #[error("lease {}.{} is held already", .0.incarnation.0, .0.counter)]
    LeaseHeld(
        /// Which.
        LeaseId,
    ),
    /// A message names a node that is no part of its lease, or a worker that
    /// joins claims one that is not in the lease's job.
    #[error("{node} is not in lease {}.{}", lease.incarnation.0, lease.counter)]
    OutsideLease {
        /// The lease.
        lease: LeaseId,
        /// The node.
        node: Node,
    },
}

impl Reason {
    /// Whether the session is over too (the worker broke the protocol).
    #[must_use]
    pub fn ends_session(self) -> bool {
        !matches!(self, Self::Silent(_))
    }
}
