//! What people are shown: snapshots, taken by the scheduler's getters.

use crate::time::Micros;
use manyhands_protocol::{Failure, JobId, WorkerId};

/// Where a job stands, as far as scheduling goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Tasks, or merges, are left.
    Running,
    /// `Root` or `Complete` was given out.
    Done,
    /// `JobFailed` was given out.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// One job's counts. After the job's end they stay as they were then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobProgress {
    /// Where it stands.
    pub phase: Phase,
    /// `n`.
    pub tasks: u64,
    /// Tasks whose partials are in.
    pub done: u64,
    /// Tasks leased out.
    pub running: u64,
    /// Blocks that had to be leased again: lost workers and failures, not
    /// duplicates.
    pub retries: u64,
    /// `concat`: the first task that is not in the prefix yet. `reduce`: 0 till
    /// the root, `n` then.
    pub prefix: u64,
    /// Predicted microseconds to go, at the present workers' measured speed;
    /// `None` while that is unknown, or all that is leased out is overdue.
    pub remaining_us: Option<u64>,
    /// Why no worker can take the job's blocks, if none can.
    pub waiting: Option<Waiting>,
}

/// Why a job gets no worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Waiting {
    /// Nobody is there.
    #[error("waiting for a worker")]
    Worker,
    /// All that are there are paused.
    #[error("waiting for a worker: all are paused")]
    Paused,
    /// None has the memory.
    #[error("waiting for a worker with {} MiB of memory for each guest", .0.div_ceil(1 << 20))]
    Memory(
        /// Bytes.
        u64,
    ),
    /// None that has the memory has SIMD128.
    #[error("waiting for a worker with SIMD128")]
    Simd,
    /// So many that fit have said that they cannot run it, and nobody else is
    /// there.
    #[error("waiting for a worker that can run it: {0} cannot")]
    Unusable(
        /// How many.
        usize,
    ),
    /// All that fit failed too often.
    #[error("waiting for a worker: all that fit are quarantined")]
    Quarantined,
}

/// What one worker has given one job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contribution {
    /// Who; may have left meanwhile.
    pub worker: WorkerId,
    /// Partials used.
    pub blocks: u64,
    /// Tasks in them.
    pub tasks: u64,
    /// Slot time they took in microseconds, as the worker says.
    pub busy_us: u64,
}

/// Why, and for how long, a worker gets no work: tasks that failed on it came
/// out elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantine {
    /// When it ends.
    pub until: Micros,
    /// How many such tasks count against it, at most
    /// [`Config::strikes`](crate::Config::strikes).
    pub strikes: u32,
    /// The failure of the latest of them.
    pub failure: Failure,
}

/// One worker's counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerProgress {
    /// Whether it is connected; if not, it may come back.
    pub connected: bool,
    /// Threads that may compute now.
    pub slots: u16,
    /// Leases it holds.
    pub leases: usize,
    /// The job of the oldest of them.
    pub job: Option<JobId>,
    /// Partials used of it, over all jobs.
    pub blocks: u64,
    /// Tasks in them.
    pub tasks: u64,
    /// While it is quarantined.
    pub quarantine: Option<Quarantine>,
}
