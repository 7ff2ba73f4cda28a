//! The parent's handle on a compute child. It sends commands without waiting,
//! yields events, and puts a new child in the place of one that has died, with
//! all jobs and segments loaded again.

mod actor;
mod process;
mod stdin;

use crate::child::wire::JobLimits;
pub use crate::child::wire::outcomes;
use crate::given::Given;
use actor::{Actor, Owner, Request};
use bytes::Bytes;
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId, Operand, Split};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How a child is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// The executable that calls [`crate::child::main`]: as a rule this process's own.
    pub program: PathBuf,
    /// The arguments that make it do so.
    pub args: Vec<OsString>,
    /// How many pieces run at the same time, each on a thread of its own.
    pub slots: usize,
    /// Where compiled code is kept; may be shared with other processes.
    pub cache: Option<PathBuf>,
}

/// What a child needs to know of a job.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The module, as admission put it out under `memory_limit`.
    pub wasm: Bytes,
    /// Its hash.
    pub module: BlobHash,
    /// The parameters, as the guest gets them.
    pub params: Bytes,
    /// The most memory the guest may have, in bytes.
    pub memory_limit: u64,
    /// The longest one task, `open`, `merge` or `finish` may take.
    pub task_timeout: Duration,
    /// How the job's input is cut into tasks, if it has one.
    pub split: Option<Split>,
    /// Broadcast files by name.
    pub files: BTreeMap<String, Bytes>,
}

/// What a slot is to do, in a fresh instance that was opened.
#[derive(Clone, Debug)]
pub enum Work {
    /// Nothing but `open`: its JSON.
    Open,
    /// A block: its partial.
    Run {
        /// The tasks of an aligned node, cut off at the job's number of tasks.
        tasks: Range<u64>,
        /// One task a slice, so that the guilty one is known.
        single_step: bool,
        /// The segments that hold the tasks' inputs, each with the index of its
        /// first task; to be put before.
        segments: Vec<(u64, BlobHash)>,
    },
    /// A partial of two siblings (`reduce` only).
    Merge(Merge),
    /// Several that have nothing to do with each other, one after another: what
    /// [`outcomes`] takes apart. It fails when one of them does.
    Merges(Vec<Merge>),
    /// All partials of a job, merged to the root's, and that finished: what [`outcomes`]
    /// takes apart into both (`reduce` only).
    Whole(Merge),
    /// What the user sees (`reduce` only).
    Finish {
        /// The root's partial; empty for a job without tasks.
        partial: Bytes,
    },
}

/// Partials that are merged to one: each merge in an instance of its own, as if it had
/// been asked for alone.
#[derive(Clone, PartialEq, Debug)]
pub struct Merge {
    /// In postfix order, two at least.
    pub operands: Vec<Operand<Bytes>>,
}

impl Merge {
    /// Of two siblings.
    #[must_use]
    pub fn two(left: Bytes, right: Bytes) -> Self {
        let operands = Operand::two(left, right);
        Self { operands }
    }
}

/// What happened. For each [`Compute::submit`] exactly one of `Done`, `Failed`,
/// `Overdue`, `Stopped`, `Unread`, `Lost` and `Crashed` comes, with the piece's id.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The job's module is compiled. Work may be submitted before.
    Loaded {
        /// The job.
        job: JobId,
    },
    /// The module does not run on this machine; work on the job fails.
    LoadFailed {
        /// The job.
        job: JobId,
        /// Why, for people.
        reason: String,
    },
    /// The piece is done.
    Done {
        /// Its slot.
        slot: usize,
        /// Its id.
        piece: u64,
        /// What it came to.
        bytes: Bytes,
        /// How long the slot was at it.
        busy: Duration,
    },
    /// The guest failed.
    Failed {
        /// The piece's slot.
        slot: usize,
        /// Its id.
        piece: u64,
        /// How.
        failure: Failure,
        /// The one guilty task, where it is known.
        at: Option<u64>,
    },
    /// A slice of several tasks took longer than one may: run the piece again
    /// with `single_step`, before anyone is blamed.
    Overdue {
        /// The piece's slot.
        slot: usize,
        /// Its id.
        piece: u64,
        /// The slice.
        tasks: Range<u64>,
    },
    /// It was cancelled.
    Stopped {
        /// The piece's slot.
        slot: usize,
        /// Its id.
        piece: u64,
    },
    /// A part of a file that it reads has gone, or has other bytes than were hashed: put
    /// that segment in another way, and submit the piece again.
    Unread {
        /// The piece's slot.
        slot: usize,
        /// Its id.
        piece: u64,
        /// The segment.
        hash: BlobHash,
    },
    /// The child died of another piece before this one was done: submit it again.
    Lost {
        /// The piece's slot.
        slot: usize,
        /// Its id.
        piece: u64,
    },
    /// The child died while this piece ran, and it may have been the cause.
    Crashed {
        /// The piece's slot.
        slot: usize,
        /// Its id.
        piece: u64,
        /// How the child ended, for people.
        reason: String,
    },
    /// A line from a guest.
    Log {
        /// The job.
        job: JobId,
        /// The slot that ran it.
        slot: usize,
        /// The line.
        line: String,
    },
    /// How far a piece is; about ten times a second.
    Progress {
        /// The piece's slot.
        slot: usize,
        /// Its id.
        piece: u64,
        /// Tasks done, with the fraction of the one that runs.
        tasks: f64,
    },
    /// A new child stands in the place of one that ended; for people.
    Restarted {
        /// How that one ended.
        reason: String,
    },
    /// No child can be started any more; nothing else comes.
    Unavailable {
        /// Why, for people.
        reason: String,
    },
}

/// A handle on the compute child. Cheap to clone; the child ends when the last
/// handle is dropped.
///
/// Commands take effect in the order they are given, and none of them waits.
/// Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Compute {
    requests: mpsc::UnboundedSender<Request>,
    slots: usize,
}

/// What happens in a [`Compute`], in order. Dropping it does not stop anything.
#[derive(Debug)]
pub struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    /// The next event; `None` when the last handle is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The next event, if it is here already.
    pub fn ready(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

impl Compute {
    /// Starts a child.
    ///
    /// # Errors
    /// When the executable cannot be started.
    pub fn spawn(config: Config) -> io::Result<(Self, Events)> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (outbox, events) = mpsc::unbounded_channel();
        let slots = config.slots.max(1);
        let actor = Actor::start(Config { slots, ..config }, inbox, outbox)?;
        tokio::spawn(actor.run());
        Ok((Self { requests, slots }, Events(events)))
    }

    /// How many slots the child has.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Loads a job, into each child to come as well, until it is unloaded.
    pub fn load(&self, job: JobId, spec: JobSpec) {
        self.request(Request::Load { job, spec });
    }

    /// Forgets a job. Work on it that was submitted still runs.
    pub fn unload(&self, job: JobId) {
        self.request(Request::Unload { job });
    }

    /// Keeps a segment of input in the child until it is dropped.
    pub fn put_segment(&self, hash: BlobHash, bytes: Bytes) {
        self.request(Request::PutSegment { hash, bytes });
    }

    /// As [`put_segment`](Self::put_segment), without a copy: of sealed memory, or of a
    /// part of a file, which slots read when they come to it. Should that have other
    /// bytes then, [`Event::Unread`] tells.
    pub fn share_segment(&self, hash: BlobHash, given: impl Into<Given>) {
        let given = given.into();
        self.request(Request::ShareSegment { hash, given });
    }

    /// Forgets a segment.
    pub fn drop_segment(&self, hash: BlobHash) {
        self.request(Request::DropSegment { hash });
    }

    /// Queues a piece of work on a slot, under an id of the caller's choice.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn submit(&self, slot: usize, piece: u64, job: JobId, work: Work) {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        self.request(Request::Work {
            slot: Some(slot),
            owner: Owner::Caller { piece },
            job,
            work,
        });
    }

    /// Stops all that was submitted to a slot; each piece ends with
    /// [`Event::Stopped`] or as it would have ended. A running slice ends first.
    pub fn cancel(&self, slot: usize) {
        self.request(Request::Cancel { slot });
    }

    /// Does one thing on the slot that has least to do and waits for its bytes.
    /// Work that was lost with a child of which it was not the cause is done again.
    ///
    /// # Errors
    /// As the guest fails; when the child died of it, the kind is `Crash`.
    pub async fn call(&self, job: JobId, work: Work) -> Result<Bytes, Failure> {
        let (answer, outcome) = oneshot::channel();
        self.request(Request::Work {
            slot: None,
            owner: Owner::Call { answer },
            job,
            work,
        });
        outcome.await.unwrap_or_else(|_| {
            let message = "the compute child cannot be started".to_owned();
            Err(Failure {
                kind: FailureKind::Crash,
                message,
            })
        })
    }

    fn request(&self, request: Request) {
        // Without an actor, `Event::Unavailable` has said so.
        let _ = self.requests.send(request);
    }
}

impl JobSpec {
    fn limits(&self) -> JobLimits {
        JobLimits {
            memory: self.memory_limit,
            task_micros: u64::try_from(self.task_timeout.as_micros()).unwrap_or(u64::MAX),
        }
    }
}
