//! What the core asks its driver to do.

use crate::inputs::{ConnectionId, Request};
use crate::record::Group;
use bytes::Bytes;
use manyhands_protocol::api::JobView;
use manyhands_protocol::{JobId, Node, Operand};
use std::sync::Arc;

/// Something to do, in the order given. Taken from
/// [`Core::poll_output`](crate::Core::poll_output).
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a frame. One that cannot be queued ends the connection: answer
    /// `Input::Closed`.
    Send {
        /// Where.
        connection: ConnectionId,
        /// The frame.
        frame: Bytes,
    },
    /// Send a last frame and close; nothing of this connection counts any more.
    Close {
        /// Which.
        connection: ConnectionId,
        /// The frame.
        last: Bytes,
        /// What the worker is to blame for, for the log.
        blame: Option<String>,
    },
    /// Make a group durable, then answer `Input::Committed`. The next group
    /// comes after that answer.
    Commit(Group),
    /// Have the guest merge partials to one; answer `Input::Merged`. Several may be
    /// under way.
    Merge {
        /// The job.
        job: JobId,
        /// What they come to.
        node: Node,
        /// In postfix order.
        operands: Vec<Operand<Bytes>>,
    },
    /// Have the guest finish a `reduce` job, and answer `Input::Result` if what
    /// that comes to is small; else store it and answer `Input::Finished`.
    Finish {
        /// The job.
        job: JobId,
        /// The root's partial; empty for a job without tasks.
        partial: Bytes,
    },
    /// Append to a `concat` job's result; after a sync, answer `Input::Synced`.
    Append {
        /// The job.
        job: JobId,
        /// The bytes.
        partial: Bytes,
        /// The result holds tasks `0..task` with these bytes.
        task: u64,
    },
    /// A `concat` job's result is whole: store it; answer `Input::Finished`.
    Complete {
        /// The job.
        job: JobId,
    },
    /// A guest's line.
    Log {
        /// The job.
        job: JobId,
        /// The line.
        text: String,
    },
    /// A submission is recorded; or it came before, and this is that job, which
    /// has another id.
    Submitted {
        /// Who waits.
        request: Request,
        /// The job.
        view: Arc<JobView>,
    },
    /// The answer to a cancel; `None` where no such job runs.
    Cancelled {
        /// Who waits.
        request: Request,
        /// The job as it ended.
        view: Option<Arc<JobView>>,
    },
    /// A job came to a result that is not recorded yet. Who waits for it may have
    /// it: its submission is durable, and after a crash comes to the same bytes.
    /// Comes after the answer to the submission.
    Result {
        /// As it ended.
        view: Arc<JobView>,
        /// The result.
        bytes: Bytes,
    },
    /// A job is over, and that is recorded: what belongs to it can go.
    Over {
        /// As it ended.
        view: Arc<JobView>,
    },
}
