//! The types of the HTTP API (`/api/v1`), shared by coordinator, client, CLI and,
//! as JSON, the page.

use crate::message::{EngineKind, Failure, MergeMode};
use crate::{BlobHash, JobId, Split, WorkerId};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// Answer to an upload: content-addressed, so sending it twice is harmless.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct BlobView {
    /// BLAKE3 of the bytes.
    pub hash: BlobHash,
    /// Their number.
    pub len: u64,
}

/// An admitted module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct ModuleView {
    /// BLAKE3 of the module as it was sent: what a submission names.
    pub hash: BlobHash,
    /// Its length in bytes.
    pub len: u64,
    /// How its partials are merged.
    pub merge: MergeMode,
    /// Whether its tasks are records of an input.
    pub takes_inputs: bool,
}

/// A file of a job's inputs, uploaded as a blob before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct InputFile {
    /// Decides the order (bytewise).
    pub path: String,
    /// The uploaded blob.
    pub blob: BlobHash,
}

/// A file every task may read, uploaded as a blob before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct BroadcastFile {
    /// The name the guest asks for.
    pub name: String,
    /// The uploaded blob.
    pub blob: BlobHash,
}

/// A submission.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Submission {
    /// For people.
    pub name: String,
    /// An uploaded module.
    pub module: BlobHash,
    /// The guest's parameters, any JSON.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: Json,
    /// Inputs; a module that takes none is refused with some, and the other way
    /// round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputFile>,
    /// How inputs are cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Broadcast files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<BroadcastFile>,
    /// The job's share of the workers against other jobs, 1 to 1000; 100 if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Bytes of memory a guest may have; 256 MiB if absent, 4 GiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How long one task may run, in milliseconds; a minute if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_timeout_ms: Option<u64>,
    /// Chosen at random by the submitter, at most 64 bytes: a submission that
    /// comes again with the same key, since its answer was lost, is the same job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Parameters as they came; the coordinator brings them into canonical form
/// (keys sorted, no white space).
pub type Json = serde_json::Value;

/// Where a job stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum JobState {
    /// Tasks are left.
    Running,
    /// All tasks are done; the result is being finished.
    Finishing,
    /// The result is there.
    Done {
        /// Its length in bytes.
        len: u64,
        /// BLAKE3 of its bytes.
        hash: BlobHash,
    },
    /// It will have no result.
    Failed {
        /// The guilty task, where one is.
        task: Option<u64>,
        /// What happened.
        failure: Failure,
    },
    /// Its author took it back.
    Cancelled,
}

impl JobState {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Running | Self::Finishing)
    }
}

/// What a worker has done for one job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Contribution {
    /// Who.
    pub worker: WorkerId,
    /// Its name.
    pub name: String,
    /// What ran the guests.
    pub engine: EngineKind,
    /// Blocks accepted.
    pub blocks: u64,
    /// Tasks accepted.
    pub tasks: u64,
    /// Slot time those took, in milliseconds, as the worker says.
    pub busy_ms: u64,
}

/// What the guest said of its result when it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct OutputShape {
    /// The result's media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Pixels, for `image/x-rgba`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels, for `image/x-rgba`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// A file name's ending, without the dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// Bytes each task gives, if always the same (concat).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_task: Option<u64>,
}

/// One job, as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// For people.
    pub name: String,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
    /// How partials are merged.
    pub merge: MergeMode,
    /// `n`.
    pub tasks: u64,
    /// Tasks whose partials are in.
    pub done: u64,
    /// Tasks at work right now.
    pub running: u64,
    /// Bytes of the result that are there already (concat: the prefix).
    pub prefix: u64,
    /// What the result is.
    pub output: OutputShape,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// How long it has run, or ran, in milliseconds.
    pub elapsed_ms: u64,
    /// Milliseconds to go at the present speed, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Blocks that had to be done again (lost workers, failures).
    pub retries: u64,
    /// Why the job gets no worker, if none can take its blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// The parameters.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: Json,
    /// Who has done how much, the most first.
    pub contributions: Vec<Contribution>,
}

impl JobView {
    /// A job of which nothing is done yet, at no time, without parameters.
    ///
    /// ```
    /// use manyhands_protocol::api::JobView;
    /// use manyhands_protocol::{JobId, MergeMode};
    /// let view = JobView {
    ///     submitted_ms: 1_800_000_000_000,
    ///     ..JobView::submitted(JobId(1), "pi", MergeMode::Reduce, 1000)
    /// };
    /// assert_eq!((view.tasks, view.done), (1000, 0));
    /// ```
    #[must_use]
    pub fn submitted(id: JobId, name: &str, merge: MergeMode, tasks: u64) -> Self {
        Self {
            id,
            name: name.to_owned(),
            state: JobState::Running,
            merge,
            tasks,
            done: 0,
            running: 0,
            prefix: 0,
            output: OutputShape::default(),
            submitted_ms: 0,
            elapsed_ms: 0,
            remaining_ms: None,
            retries: 0,
            waiting: None,
            params: Json::Null,
            contributions: Vec::new(),
        }
    }
}

/// A submission's answer that waited for the job's end, a while.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Waited {
    /// The job: over, or as it stands.
    pub job: JobView,
    /// What its guests have logged so far, as far as it is kept.
    pub log: Vec<String>,
    /// The result's bytes in hexadecimal digits, if it is there and small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

impl Waited {
    /// Such an answer.
    #[must_use]
    pub fn new(job: JobView, log: Vec<String>, result: Option<&[u8]>) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |byte: &u8| [byte >> 4, byte & 15].map(|at| DIGITS[usize::from(at)] as char);
        let result = result.map(|bytes| bytes.iter().flat_map(digits).collect());
        Self { job, log, result }
    }

    /// The result, if it is here; `None` too where these are no such digits.
    ///
    /// ```
    /// use manyhands_protocol::api::{JobView, Waited};
    /// use manyhands_protocol::{JobId, MergeMode};
    /// let job = JobView::submitted(JobId(1), "pi", MergeMode::Reduce, 1);
    /// let waited = Waited::new(job, Vec::new(), Some(b"\x00\xa7"));
    /// assert_eq!(waited.result.as_deref(), Some("00a7"));
    /// assert_eq!(waited.bytes(), Some(b"\x00\xa7".to_vec()));
    /// ```
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let digits = self.result.as_ref()?.as_bytes();
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        let digit = |at: u8| char::from(at).to_digit(16);
        let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
        pairs.iter().map(byte).collect()
    }
}

/// One page of jobs, the newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct JobPage {
    /// At most as many as asked for.
    pub jobs: Vec<JobView>,
    /// `before` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<JobId>,
}

/// One page of workers, in the order in which they joined.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct WorkerPage {
    /// At most as many as asked for.
    pub workers: Vec<WorkerView>,
    /// `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WorkerId>,
}

/// One worker, as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct WorkerView {
    /// Its id.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// What runs the guests.
    pub engine: EngineKind,
    /// Threads that may compute now.
    pub slots: u16,
    /// Whether it is connected (it may come back for a while if not).
    pub connected: bool,
    /// Leases it holds.
    pub leases: u64,
    /// Blocks accepted from it.
    pub blocks: u64,
    /// Tasks accepted from it.
    pub tasks: u64,
    /// The job it works on, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// When it joined, in milliseconds since 1970.
    pub joined_ms: u64,
    /// Why it gets no work for a while, if it failed too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

/// What the page and `manyhands workers` show at a glance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Status {
    /// The coordinator's version.
    pub version: String,
    /// Workers connected now.
    pub workers: u64,
    /// Threads they may compute on.
    pub slots: u64,
    /// Jobs that are not over.
    pub running: u64,
    /// Why nothing is handed out at present: what comes back could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One event of `GET /api/v1/jobs/{id}/events`; the event's name is the tag.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum JobEvent {
    /// The job as it stands; at most some ten times a second, and at the end.
    Job(Box<JobView>),
    /// A line from a guest.
    Log {
        /// The line.
        text: String,
    },
}

/// The body of every answer that is not a success.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct ErrorBody {
    /// A word for programs: `bad_module`, `bad_params`, `bad_input`,
    /// `not_found`, `forbidden`, `too_large`, `not_done`, `no_space`,
    /// `unavailable`.
    pub code: String,
    /// What happened, where, and what to do.
    pub message: String,
}
