//! What the session tells its driver to do: for the socket, and for the slots.

use bytes::Bytes;
use manyhands_protocol::codec::DecodeError;
use manyhands_protocol::message::{JobHeader, SegmentRef};
use manyhands_protocol::{BlobHash, JobId, LeaseId, Node};
use std::ops::Range;

/// Something to do, in the order given. Taken from
/// [`Session::poll_output`](crate::Session::poll_output).
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Open a socket to the coordinator; answer `Input::Connected` or
    /// `Input::Disconnected`.
    Connect,
    /// Close the socket (or stop opening it) and forget what may still come from
    /// it: there is no answer to this. Frames given out before may be
    /// lost.
    Disconnect {
        /// Why, for the log and the close frame.
        reason: Reason,
    },
    /// Send this binary frame.
    Send(Vec<u8>),
    /// Look for this blob where the driver can read it without the coordinator;
    /// answer `Input::Fetched`. Only of a driver that is
    /// [near](crate::Input::Connected).
    Fetch {
        /// Its name.
        hash: BlobHash,
        /// Its length in bytes.
        len: u64,
    },

    /// Make the job ready: compile its module. Answer `Input::JobLoaded` or
    /// `Input::JobUnusable`.
    LoadJob(Box<JobBundle>),
    /// Forget the job. Slots that still run it have been cancelled before.
    UnloadJob {
        /// Which job.
        job: JobId,
    },
    /// Keep this input segment: work that names it will follow. Each segment is
    /// given once until it is dropped. A native driver sends it to its compute
    /// child, a browser's keeps it at hand to post it along with the work.
    PutBlob {
        /// Its name.
        hash: BlobHash,
        /// Its bytes, verified.
        bytes: Bytes,
    },
    /// No work given from now on names this segment. Work given before may still
    /// run.
    DropBlob {
        /// Its name.
        hash: BlobHash,
    },
    /// Have a slot do this, after what it was given before.
    Start {
        /// Which slot.
        slot: u16,
        /// To be given back with its outcome; greater with each command.
        ticket: u64,
        /// A job that was loaded.
        job: JobId,
        /// What to do.
        work: Work,
    },
    /// Stop the slot's work soon: at the end of its slice, say. Its outcome does
    /// not matter any more, but has to come. What was queued behind it may be
    /// stopped with it, and is run again.
    Cancel {
        /// Which slot.
        slot: u16,
        /// The command to stop.
        ticket: u64,
    },

    /// The session is over: nothing follows, and no more input is needed. The
    /// driver flushes what it was given to send, then closes the socket.
    Finished(End),
}

/// A job and the blobs it needs before its first block.
#[derive(Clone, PartialEq, Debug)]
pub struct JobBundle {
    /// Its header.
    pub header: JobHeader,
    /// The module, verified.
    pub module: Bytes,
    /// The broadcast files in the header's order, verified.
    pub files: Vec<Bytes>,
}

/// What a slot is to do, with a fresh instance of the job's guest.
#[derive(Clone, PartialEq, Debug)]
pub enum Work {
    /// Run a block: `run` in slices over `tasks`, then `take`. The outcome is
    /// its partial.
    Run {
        /// The block.
        node: Node,
        /// Its tasks: the node's range, cut off at the job's `n`.
        tasks: Range<u64>,
        /// One task a slice, so that a slice that is overdue names its task.
        single_step: bool,
        /// The segments that hold the tasks' inputs, in task order; all were
        /// put before.
        segments: Vec<SegmentRef>,
    },
    /// Merge the partials of two siblings.
    Merge {
        /// Their parent, for the log.
        node: Node,
        /// The left half's partial.
        left: Bytes,
        /// The right half's partial.
        right: Bytes,
    },
}

/// How a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It was drained, as asked.
    Drained,
    /// The coordinator wants no reconnect: another connection took the session
    /// over, say.
    Closed {
        /// Its words, one line.
        reason: String,
    },
}

/// Why a connection is ended by this side. Most mean that the coordinator broke
/// the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// The coordinator refuses this worker; the session tries again rarely.
    #[error("refused by the coordinator: {0}")]
    Refused(String),
    /// The coordinator asked to come back later, in these words.
    #[error("{0}")]
    Closing(String),
    /// Nothing has come for so many seconds since a sign of life was asked for.
    #[error("the coordinator has not answered for {0} s")]
    Silent(u64),
    /// A frame that is not a message.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// Something before `Welcome`, or a second one.
    #[error("a message where it is not due")]
    OutOfTurn,
    /// A grant of a job without a header.
    #[error("job {0} was not described")]
    UnknownJob(JobId),
    /// A header that cannot be, with the field that is wrong.
    #[error("job {0}: bad {1}")]
    BadHeader(JobId, &'static str),
    /// A grant that cannot be.
    #[error("lease {lease:?}: {fault}")]
    BadGrant {
        /// Which.
        lease: LeaseId,
        /// What is wrong.
        fault: GrantFault,
    },
    /// A blob that was not asked for, or pieces of one that do not fit together.
    #[error("blob {0}: pieces that were not asked for, or do not fit together")]
    BadPiece(BlobHash),
    /// Pieces of a merge's halves that do not fit together.
    #[error("the halves of merge {}.{} do not fit together", .0.incarnation.0, .0.counter)]
    BadHalves(LeaseId),
    /// A blob whose bytes have another hash, twice.
    #[error("blob {0} came with other bytes")]
    WrongHash(BlobHash),
    /// More jobs or leases than any coordinator has reason to give.
    #[error("too many {0}")]
    TooMany(&'static str),
}

/// What is wrong with a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GrantFault {
    /// Its node is not in the job's tree.
    #[error("its block is not in the job")]
    Node,
    /// The lease was granted before.
    #[error("it was granted twice")]
    Twice,
    /// Its segments do not hold its block's tasks in order and without gaps, or
    /// are too large.
    #[error("its segments do not cover its block")]
    Segments,
    /// A merge of a job that has none, of a single task, or of too many bytes.
    #[error("there is nothing to merge there")]
    Merge,
}
