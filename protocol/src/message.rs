//! The messages between a coordinator and its workers, one WebSocket binary
//! frame each. Variants and fields are only appended; see
//! [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION).
//!
//! Messages that carry bulk bytes (`Blob`, `Halves`, `Partial`) are headers: the bytes
//! follow in the same frame and are never copied to be decoded (see
//! [`codec`](crate::codec)).

use crate::ids::wide;
use crate::{BlobHash, Incarnation, JobId, LeaseId, Node, Proof, SessionToken, Split, WorkerId};
use serde::{Deserialize, Serialize};

/// How the partials of two sibling blocks become their parent's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MergeMode {
    /// The guest merges two partials.
    Reduce,
    /// The host joins the byte strings in task order.
    Concat,
}

/// What went wrong in a guest. Only `Error` and `Trap` come from the guest's own
/// logic; the others depend on the machine and mean "try elsewhere".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FailureKind {
    /// The guest returned an error text.
    Error,
    /// The guest trapped: a panic, `unreachable`, an access out of bounds.
    Trap,
    /// The guest's stack overflowed.
    Stack,
    /// The guest asked for more memory than the job may have.
    Memory,
    /// A task ran longer than the job's task time limit.
    Timeout,
    /// The process or thread that ran the guest died.
    Crash,
}

impl FailureKind {
    /// Whether another machine may well succeed.
    #[must_use]
    pub fn depends_on_machine(self) -> bool {
        !matches!(self, Self::Error | Self::Trap)
    }
}

/// What went wrong in a guest, with the text its author reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// The kind decides about retries.
    pub kind: FailureKind,
    /// The guest's own text or backtrace, at most
    /// [`MAX_TEXT`](crate::limits::MAX_TEXT) bytes.
    pub message: String,
}

/// A range of an input that a block needs whole before it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The hash of the segment's bytes.
    pub hash: BlobHash,
    /// Their number.
    #[serde(with = "wide")]
    pub len: u64,
    /// The job's task that the segment begins with.
    #[serde(with = "wide")]
    pub first_task: u64,
    /// How many tasks it holds.
    #[serde(with = "wide")]
    pub tasks: u64,
}

/// A file every task may read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileRef {
    /// The name the guest asks for.
    pub name: String,
    /// The hash of its bytes.
    pub hash: BlobHash,
    /// Their number.
    #[serde(with = "wide")]
    pub len: u64,
}

/// What a worker must know of a job before its first block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobHeader {
    /// The id that grants name.
    pub job: JobId,
    /// For people.
    pub name: String,
    /// The admitted module.
    pub module: BlobHash,
    /// Its length in bytes.
    #[serde(with = "wide")]
    pub module_len: u64,
    /// The parameters, JSON in canonical form.
    pub params: Vec<u8>,
    /// `n`.
    #[serde(with = "wide")]
    pub tasks: u64,
    /// How partials are merged.
    pub merge: MergeMode,
    /// How inputs were cut; `None` for a job without inputs.
    pub split: Option<Split>,
    /// Broadcast files.
    pub files: Vec<FileRef>,
    /// The most memory the guest may have, in bytes (written into the module).
    #[serde(with = "wide")]
    pub memory: u64,
    /// The longest one task may run, in milliseconds.
    #[serde(with = "wide")]
    pub task_timeout_ms: u64,
}

/// What kind of engine runs the guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EngineKind {
    /// wasmtime, in a native worker.
    Native,
    /// A browser's engine, in a tab.
    Browser,
}

/// A lease that its worker still holds, as it was granted: enough for a
/// coordinator that was started anew to take it up again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The lease.
    pub lease: LeaseId,
    /// Its job.
    pub job: JobId,
    /// Its block.
    pub node: Node,
    /// As it came with the grant.
    pub proof: Proof,
}

/// A worker's first message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION); first on the wire for ever,
    /// so that any version can tell any other.
    pub version: [u8; 2],
    /// The session to resume, if the worker has one.
    pub resume: Option<SessionToken>,
    /// Leases the worker still holds of that session; others are free again.
    pub held: Vec<Claim>,
    /// For people: host name, or the browser's name.
    pub name: String,
    /// What runs the guests.
    pub engine: EngineKind,
    /// Threads that may compute; 0 while paused.
    pub slots: [u8; 2],
    /// Bytes of memory for guests and inputs together.
    #[serde(with = "wide")]
    pub memory: u64,
    /// Whether the engine has SIMD128.
    pub simd: bool,
    /// Whether its page is hidden, as in `Capacity`.
    pub hidden: bool,
}

/// From a worker to its coordinator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// The first message of every connection.
    Hello(Hello),
    /// Asks for blobs (modules, segments, files), in the order wanted. Each is
    /// answered by `Blob` pieces or by `Gone`.
    Need(Vec<BlobHash>),
    /// A piece of the partial of `node`, a node of the lease; the bytes follow.
    /// Pieces of one partial are in order and not interleaved with others.
    Partial {
        /// The lease it was computed under.
        lease: LeaseId,
        /// The part of the lease's block.
        node: Node,
        /// Where this piece begins, in bytes.
        #[serde(with = "wide")]
        offset: u64,
        /// The whole partial's length in bytes.
        #[serde(with = "wide")]
        total: u64,
        /// Slot time the node took, in microseconds, the same in each piece:
        /// advisory.
        #[serde(with = "wide")]
        busy_us: u64,
    },
    /// `node`, a node of the lease (a single task where the worker could find
    /// it), failed here.
    Failed {
        /// The lease it was computed under.
        lease: LeaseId,
        /// The guilty node.
        node: Node,
        /// What happened.
        failure: Failure,
    },
    /// The worker is done with the lease: what it has not handed in is free
    /// again. Answers `Revoke` too; sent unasked when the worker drains.
    Returned {
        /// The lease that ends.
        lease: LeaseId,
    },
    /// How many tasks of the lease are done, at most once a second: advisory.
    Progress {
        /// The lease.
        lease: LeaseId,
        /// Tasks done so far.
        #[serde(with = "wide")]
        done: u64,
    },
    /// The worker's capacity changed.
    Capacity {
        /// Threads that may compute now; 0 while paused.
        slots: [u8; 2],
        /// Whether its page is hidden: deadlines are minutes then.
        hidden: bool,
    },
    /// A line from a guest.
    Log {
        /// The job it belongs to.
        job: JobId,
        /// At most [`MAX_TEXT`](crate::limits::MAX_TEXT) bytes.
        text: String,
    },
    /// Says that the worker is alive when it has nothing else to say, or has
    /// heard nothing for as long; answered by `Alive`.
    Alive,
    /// The worker leaves for good; its leases are free at once.
    Goodbye,
    /// The job cannot run here at all (its module does not load, a blob of it is
    /// not to be had): nothing of it is to be granted on this session. Each
    /// lease of it is given back too.
    Unusable {
        /// The job.
        job: JobId,
        /// Why.
        failure: Failure,
    },
    /// Answers `Ping`.
    Pong,
}

/// From a coordinator to one of its workers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Answers `Hello`.
    Welcome {
        /// Shown to people.
        worker: WorkerId,
        /// Resumes this session after a lost connection.
        session: SessionToken,
        /// Which start of the coordinator this is.
        incarnation: Incarnation,
        /// Whether the session was resumed, be it by a coordinator started anew;
        /// if not, leases held before are void.
        resumed: bool,
        /// Say something at least this often, in milliseconds.
        #[serde(with = "wide")]
        alive_every_ms: u64,
    },
    /// The connection ends; the reason is for people.
    Refused {
        /// One line.
        reason: String,
    },
    /// Comes before the first grant of a job.
    Job(JobHeader),
    /// Compute `node`.
    Grant {
        /// Names the grant.
        lease: LeaseId,
        /// A job whose header has come.
        job: JobId,
        /// The block.
        node: Node,
        /// Its inputs, in task order.
        inputs: Vec<SegmentRef>,
        /// To be shown when the session is resumed.
        proof: Proof,
    },
    /// Give the lease back if it has not begun (`Returned` answers); if it has,
    /// go on.
    Revoke {
        /// The lease.
        lease: LeaseId,
    },
    /// The partial is safe: forget it. The lease ends when its whole block is
    /// accepted, failed or returned.
    Accepted {
        /// The lease.
        lease: LeaseId,
        /// The node it was handed in for.
        node: Node,
    },
    /// The job is over: drop its leases, slots' work, and header.
    Forget {
        /// The job.
        job: JobId,
    },
    /// A piece of a blob; the bytes follow. Pieces of one blob are in order.
    Blob {
        /// Which blob.
        hash: BlobHash,
        /// Where this piece begins, in bytes.
        #[serde(with = "wide")]
        offset: u64,
        /// The whole blob's length in bytes.
        #[serde(with = "wide")]
        total: u64,
    },
    /// The blob asked for is not to be had.
    Gone {
        /// Which blob.
        hash: BlobHash,
    },
    /// Answers `Alive`.
    Alive,
    /// Another connection took this session over, or the coordinator closes:
    /// do not reconnect before `after_ms`.
    Closing {
        /// Milliseconds to stay away; `u64::MAX` for ever.
        #[serde(with = "wide")]
        after_ms: u64,
        /// One line for people.
        reason: String,
    },
    /// Merge two siblings' partials, whose bytes follow in `Halves`; answered,
    /// like a grant, by the `Partial` of `node`, or by `Failed` or `Returned`. It
    /// is no claim: it ends with its connection, for both sides.
    Merge {
        /// Names the merge, as a grant's lease names that.
        lease: LeaseId,
        /// A `reduce` job of which the worker has computed blocks.
        job: JobId,
        /// The parent.
        node: Node,
        /// Bytes of the left half's partial.
        #[serde(with = "wide")]
        left: u64,
        /// Bytes of the right half's.
        #[serde(with = "wide")]
        right: u64,
    },
    /// A piece of the two partials that a `Merge` named, the right one following
    /// the left; the bytes follow. Pieces are in order.
    Halves {
        /// The merge.
        lease: LeaseId,
        /// Where this piece begins, in bytes of both together.
        #[serde(with = "wide")]
        offset: u64,
        /// The length of both together.
        #[serde(with = "wide")]
        total: u64,
    },
    /// Answer with `Pong`, at once: tells how long the way there and back is, and
    /// whether a worker that is silent is there.
    Ping,
}
