//! The driver: the one task that owns the core, and the one place that reads the
//! clock. Inputs come by one queue; nothing here waits for a socket, a disk or a
//! guest, and nothing is decided here.

mod doing;
mod jobs;
mod merges;

use crate::app::App;
use crate::board::Early;
use crate::guests::{Finished, Merged};
use crate::inputs::Cutting;
use crate::outputs::OutputFile;
use axum::body::Bytes;
use jobs::Running;
use manyhands_coordinator_core::{
    ConnectionId, Core, Counts, FromWorker, Input as Event, NewJob, Request, Stored,
};
use manyhands_protocol::api::{BlobView, JobView, WorkerPage, WorkerView};
use manyhands_protocol::message::Hello;
use manyhands_protocol::{BlobHash, Failure, JobId, LeaseId, SessionToken, WorkerId};
use manyhands_scheduler::Micros;
use merges::Merges;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Inputs that may wait for the driver before their senders do.
pub(crate) const QUEUE: usize = 4096;

/// Inputs taken in one round, whose records are committed together.
const ROUND: usize = 256;

/// Questions that may wait for the driver, and are answered in one round.
pub(crate) const QUESTIONS: usize = 64;

/// How often a job that changes is published, and one that does not.
const PUBLISH_US: u64 = 100_000;
const PUBLISH_IDLE_US: u64 = 1_000_000;

/// How long the last commit may take when the coordinator closes.
const LAST_COMMIT_US: u64 = 2_000_000;

/// Where the answer to a question goes.
type Reply<T> = oneshot::Sender<T>;

/// A socket's ends on the driver's side. Dropping it ends the connection.
pub(crate) struct Connection {
    pub(crate) frames: mpsc::Sender<Bytes>,
    /// Takes the last frame.
    pub(crate) closing: oneshot::Sender<Bytes>,
}

/// Whatever the driver is told or asked.
pub(crate) enum Input {
    /// A worker said hello; it is welcomed, or closed, over the connection.
    Connected {
        id: ConnectionId,
        hello: Box<Hello>,
        connection: Connection,
    },
    /// A worker's message.
    Message {
        from: ConnectionId,
        message: FromWorker,
    },
    /// Whether the worker may still answer a lease.
    Holds {
        from: ConnectionId,
        lease: LeaseId,
        reply: Reply<bool>,
    },
    /// A connection ended.
    Closed { id: ConnectionId },
    /// A page's beacon: its worker is gone for good.
    Goodbye { session: SessionToken },
    /// A submission that was found good.
    Submit {
        job: Box<Prepared>,
        /// Whether its author waits for the result.
        waits: bool,
        reply: Reply<Accepted>,
    },
    /// An author takes a job back.
    Cancel {
        job: JobId,
        reply: Reply<Option<Arc<JobView>>>,
    },
    /// A call of the compute child for merges ended.
    Merged {
        job: JobId,
        merged: Merged,
        /// Where that is the job's last one: its result, of which nobody was asked.
        finished: Option<Finished>,
    },
    /// A blob that a worker has asked for is not to be had any more, and why.
    Lost { hash: BlobHash, why: String },
    /// The result is stored, or never will be.
    Finished {
        job: JobId,
        outcome: Result<BlobView, Failure>,
    },
    /// What a `reduce` job came to.
    Result { job: JobId, bytes: Bytes },
    /// So much of a growing result is on disk.
    Synced { job: JobId, task: u64, len: u64 },
    /// A group of records is durable.
    Committed { group: u64 },
    /// Something cannot be kept at present, or can be again.
    Trouble {
        source: Trouble,
        why: Option<String>,
    },
    /// The journal is broken for good.
    Broken,
    /// A line of a guest that ran in the compute child.
    Log { job: JobId, text: String },
    /// Say farewell to all workers, commit what is left, and end.
    Close,
}

/// How things stand. Answered before whatever else waits for the driver: whoever
/// looks does not wait behind ten thousand workers.
pub(crate) enum Question {
    /// Some of the workers.
    Workers {
        after: Option<WorkerId>,
        limit: usize,
        reply: Reply<WorkerPage>,
    },
    /// One of them, if it has a session.
    Worker {
        worker: WorkerId,
        reply: Reply<Option<WorkerView>>,
    },
    /// Why nothing can be kept at present, if so: whether the driver answers.
    Trouble { reply: Reply<Option<String>> },
}

/// What cannot be kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Trouble {
    /// Records.
    Journal,
    /// The result of a job.
    Result(JobId),
}

/// A job as its submission was prepared.
pub(crate) struct Prepared {
    pub(crate) job: NewJob,
    pub(crate) cutting: Option<Cutting>,
    /// Where a `concat` job's result goes.
    pub(crate) output: Option<OutputFile>,
}

/// The answer to a submission: it is recorded.
pub(crate) struct Accepted {
    /// Its job; or the one that it came to be before.
    pub(crate) view: Arc<JobView>,
    /// Where the result of a new job comes, for an author who waits: also one that was
    /// there before the record was.
    pub(crate) early: Option<Early>,
}

/// Who waits for an answer of the core's.
enum Waiting {
    Submitted {
        job: JobId,
        early: Option<Early>,
        reply: Reply<Accepted>,
    },
    Cancelled(Reply<Option<Arc<JobView>>>),
}

pub(crate) struct Driver {
    app: Arc<App>,
    start: Instant,
    core: Core,
    connections: HashMap<ConnectionId, Connection>,
    jobs: BTreeMap<JobId, Running>,
    merges: Merges,
    waiting: BTreeMap<Request, Waiting>,
    next_request: u64,
    troubles: BTreeMap<Trouble, String>,
    /// What `metrics` has been told.
    counted: Counts,
    /// When changed jobs, and when all of them, are published next.
    publish: Micros,
    publish_all: Micros,
    /// Set when the coordinator closes: it ends then at the latest.
    end_by: Option<Micros>,
}

impl Driver {
    pub(crate) fn new(app: Arc<App>, core: Core) -> Self {
        let merges = Merges::new(app.compute.slots());
        Self {
            app,
            start: Instant::now(),
            core,
            connections: HashMap::new(),
            jobs: BTreeMap::new(),
            merges,
            waiting: BTreeMap::new(),
            next_request: 1,
            troubles: BTreeMap::new(),
            counted: Counts::default(),
            publish: Micros(0),
            publish_all: Micros(0),
            end_by: None,
        }
    }

    /// Takes up a job that the journal has, before anything else.
    ///
    /// # Errors
    /// When what is stored does not fit together.
    pub(crate) fn restore(
        &mut self,
        stored: Stored,
        cutting: Option<Cutting>,
        output: Option<OutputFile>,
    ) -> Result<(), manyhands_coordinator_core::Damaged> {
        let (job, now) = (stored.view.id, self.now());
        let plan = Arc::clone(&stored.plan);
        self.core.restore(now, unix_ms(), stored)?;
        // As it stands, not as it was submitted: it may be asked for at once.
        let mut view = self.core.view(now, job).expect("a job that was restored");
        let growing = output.as_ref().map(OutputFile::growing);
        view.prefix = growing.map_or(0, |growing| growing.len());
        self.show(Arc::new(view), plan, cutting, output);
        Ok(())
    }

    /// A job that can have no result: it fails.
    pub(crate) fn give_up(&mut self, job: JobId, failure: Failure) {
        self.fail(self.now(), job, failure);
    }

    fn fail(&mut self, now: Micros, job: JobId, failure: Failure) {
        let outcome = Err(failure);
        self.core.handle(now, Event::Finished { job, outcome });
    }

    fn now(&self) -> Micros {
        Micros(u64::try_from(self.start.elapsed().as_micros()).expect("under 500,000 years"))
    }

    /// Runs until told to close.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Input>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let mut round = Vec::with_capacity(ROUND);
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        // What restored jobs ask for.
        self.carry_out(self.now());
        loop {
            let due = self.due();
            if let Some(due) = due {
                let at = self.start + Duration::from_micros(due.0);
                sleep.as_mut().reset(at.into());
            }
            tokio::select! {
                _ = inbox.recv_many(&mut round, ROUND) => {}
                Some(question) = questions.recv() => self.answer(question),
                () = &mut sleep, if due.is_some() => {}
            }
            let now = self.now();
            for input in round.drain(..) {
                if matches!(input, Input::Broken) {
                    return;
                }
                self.take(now, input);
            }
            if self.core.next_deadline().is_some_and(|due| due <= now) {
                self.core.handle(now, Event::Tick);
            }
            // Before any answer leaves: who was told something finds it counted.
            self.count();
            self.carry_out(now);
            self.publish(now);
            for _ in 0..QUESTIONS {
                let Ok(question) = questions.try_recv() else {
                    break;
                };
                self.answer(question);
            }
            if self
                .end_by
                .is_some_and(|by| self.core.is_settled() || now >= by)
            {
                return;
            }
        }
    }

    fn due(&self) -> Option<Micros> {
        let changed = self.core.has_changed().then_some(self.publish);
        let idle = (!self.jobs.is_empty()).then_some(self.publish_all);
        [self.core.next_deadline(), changed, idle, self.end_by]
            .into_iter()
            .flatten()
            .min()
    }

    fn take(&mut self, now: Micros, input: Input) {
        let event = match input {
            Input::Connected {
                id,
                hello,
                connection,
            } => {
                self.connections.insert(id, connection);
                Event::Hello {
                    connection: id,
                    hello,
                    fresh: fresh_token(),
                    unix_ms: unix_ms(),
                }
            }
            Input::Message {
                from: connection,
                message,
            } => Event::Message {
                connection,
                message,
            },
            Input::Closed { id: connection } => {
                self.connections.remove(&connection);
                Event::Closed { connection }
            }
            Input::Goodbye { session } => Event::Goodbye { session },
            Input::Submit { job, waits, reply } => self.submit(*job, waits, reply),
            Input::Cancel { job, reply } => Event::Cancel {
                request: self.wait(Waiting::Cancelled(reply)),
                job,
            },
            Input::Merged {
                job,
                merged,
                finished,
            } => {
                self.merges.call_ended();
                if let Some(finished) = finished {
                    self.keep_finished(job, finished);
                }
                for (node, outcome) in merged {
                    let event = Event::Merged { job, node, outcome };
                    self.core.handle(now, event);
                }
                return;
            }
            Input::Finished { job, outcome } => Event::Finished { job, outcome },
            Input::Result { job, bytes } => return self.has_result(now, job, bytes),
            Input::Synced { job, task, len } => Event::Synced { job, task, len },
            Input::Committed { group } => Event::Committed { group },
            Input::Trouble { source, why } => self.trouble(source, why),
            Input::Lost { hash, why } => return self.lost(now, hash, &why),
            Input::Log { job, text } => return self.log(job, &text),
            // Nobody waits for this any more who has left.
            Input::Holds { from, lease, reply } => {
                let _ = reply.send(self.core.holds(from, lease));
                return;
            }
            Input::Broken => unreachable!("dealt with in the loop"),
            Input::Close => {
                self.end_by = Some(now + LAST_COMMIT_US);
                Event::Drain
            }
        };
        self.core.handle(now, event);
    }

    fn answer(&mut self, question: Question) {
        let now = self.now();
        // Nobody waits for these any more if they have left.
        match question {
            Question::Workers {
                after,
                limit,
                reply,
            } => drop(reply.send(self.core.worker_page(now, after, limit))),
            Question::Worker { worker, reply } => {
                drop(reply.send(self.core.worker_view(now, worker)));
            }
            Question::Trouble { reply } => {
                drop(reply.send(self.core.trouble().map(str::to_owned)));
            }
        }
    }

    fn wait(&mut self, waiting: Waiting) -> Request {
        let request = Request(self.next_request);
        self.next_request += 1;
        self.waiting.insert(request, waiting);
        request
    }

    /// Notes what cannot be kept; the core is told of the first such thing.
    fn trouble(&mut self, source: Trouble, why: Option<String>) -> Event {
        match why {
            // Said once, however often it is tried again.
            Some(why) if self.troubles.get(&source) == Some(&why) => {}
            Some(why) => {
                tracing::error!(why, "nothing is handed out until this is mended");
                self.troubles.insert(source, why);
            }
            None => {
                if self.troubles.remove(&source).is_some() && self.troubles.is_empty() {
                    tracing::info!("all can be kept again: work goes on");
                }
            }
        }
        Event::Trouble(self.troubles.values().next().cloned())
    }
}

fn fresh_token() -> SessionToken {
    let mut token = SessionToken([0; 16]);
    getrandom::fill(&mut token.0).expect("the system gives random bytes");
    token
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
