//! What is kept of jobs on disk, and in which groups. How it is written is the
//! journal's affair.

use bytes::Bytes;
use manyhands_protocol::api::JobView;
use manyhands_protocol::message::{JobHeader, SegmentRef};
use manyhands_protocol::{BlobHash, JobId, Node};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A result of so many bytes at most is recorded with its job's end; a greater
/// one is a blob, which takes the disk several syncs.
pub const SMALL_RESULT: usize = 16 << 10;

/// All that a coordinator started anew must know of a job that runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What workers are told.
    pub header: JobHeader,
    /// The job's share of the workers against other jobs.
    pub weight: u32,
    /// Whether the module uses SIMD128.
    pub simd: bool,
    /// The inputs, cut into segments, in task order; empty for a job without.
    pub segments: Vec<SegmentRef>,
    /// Where the segments' bytes are: the driver's, opaque here.
    pub places: Bytes,
    /// Blobs the job needs beyond those that the header names: its inputs'.
    pub blobs: Vec<BlobHash>,
    /// The submitter's own key, by which a submission that comes twice is known.
    pub key: Option<String>,
}

/// Something that must not be forgotten once someone was told of it.
#[derive(Clone, Debug)]
pub enum Record {
    /// Ids of jobs are set aside: the next start gives out this one first, or the first
    /// after all that were recorded. Workers may know of jobs before these are durable;
    /// their ids are no other job's after a crash. The last such record counts.
    Ids {
        /// The first that is not set aside.
        next: JobId,
    },
    /// A job was submitted. Comes before all else of the job.
    Submitted {
        /// As it was shown first.
        view: Arc<JobView>,
        /// What restarts it.
        plan: Arc<Plan>,
    },
    /// A partial takes the place of all that are stored of tasks
    /// `first..end` of its job: they are merged into it.
    Partial {
        /// The job.
        job: JobId,
        /// Canonical.
        node: Node,
        /// The node's first task.
        first: u64,
        /// The end of the node's tasks.
        end: u64,
        /// The partial.
        bytes: Bytes,
        /// Slot time it took, in microseconds.
        cost_us: u64,
    },
    /// The first `len` bytes of a `concat` job's result are on disk: those of
    /// tasks `0..task`. Partials stored of these are not needed any more.
    Prefix {
        /// The job.
        job: JobId,
        /// The first task that is not in it.
        task: u64,
        /// Bytes.
        len: u64,
    },
    /// A job ended: with a result, by failure or by cancelling. Of what was
    /// recorded of it only this stays.
    Over {
        /// As it ended.
        view: Arc<JobView>,
        /// The result, if it is no blob.
        result: Option<Bytes>,
    },
}

/// Records that become durable together, or not at all.
#[derive(Clone, Debug)]
pub struct Group {
    /// Counts the groups from 1; they are committed in this order.
    pub number: u64,
    /// In the order in which they are to be carried out.
    pub records: Vec<Record>,
}

impl Group {
    /// Bytes of the partials in it.
    #[must_use]
    pub fn partial_bytes(&self) -> u64 {
        let each = self.records.iter().map(|record| match record {
            Record::Partial { bytes, .. } => bytes.len() as u64,
            _ => 0,
        });
        each.sum()
    }
}

/// A job that had not ended, as the journal holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// As it was shown first.
    pub view: Arc<JobView>,
    /// What restarts it.
    pub plan: Arc<Plan>,
    /// The last [`Record::Prefix`]: the task and the length; zeros if there was
    /// none.
    pub prefix: (u64, u64),
    /// What is stored and was not replaced, by first task: the node, the
    /// partial, the slot time it took in microseconds.
    pub partials: Vec<(Node, Bytes, u64)>,
}
