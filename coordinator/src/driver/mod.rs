//! The driver: the one task that owns the scheduler, and the one place that
//! reads the clock. Events come by one queue; nothing here waits for a socket,
//! a disk or a guest.

mod actions;
mod jobs;
mod workers;

use crate::app::App;
use crate::board::Entry;
use crate::inputs::Cutting;
use crate::journal::{JournalError, Record};
use crate::outputs::OutputFile;
use crate::sockets::Part;
use axum::body::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use jobs::Job;
use manyhands_protocol::api::{BlobView, JobView, Status, WorkerView};
use manyhands_protocol::message::{Hello, JobHeader};
use manyhands_protocol::{Failure, JobId, LeaseId, Node, SessionToken, WorkerId};
use manyhands_scheduler::{Action, Event, JobSpec, Micros, Scheduler};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use workers::Workers;
pub(crate) use workers::{Connection, Welcomed};

/// Inputs that may wait for the driver before their senders do.
pub(crate) const QUEUE: usize = 4096;

/// Inputs taken in one round, whose acknowledgements are committed together.
const ROUND: usize = 256;

/// How often a job that changes is published, and one that does not.
const PUBLISH_US: u64 = 100_000;
const PUBLISH_IDLE_US: u64 = 1_000_000;

/// Where the answer to a question goes.
type Reply<T> = oneshot::Sender<T>;

/// A job that runs; `None` for one that does not.
type FoundJob = Option<Arc<JobView>>;

/// Whatever the driver is told or asked.
pub(crate) enum Input {
    /// A worker said hello; the answer is who it is now, or why it may not be.
    Connected {
        hello: Box<Hello>,
        connection: Connection,
        reply: Reply<Result<Welcomed, String>>,
    },
    /// A worker's message came on the connection of this number.
    Message {
        worker: WorkerId,
        number: u64,
        message: FromWorker,
    },
    /// That connection ended.
    Closed { worker: WorkerId, number: u64 },
    /// A page's beacon: its worker is gone for good.
    Goodbye { session: SessionToken },
    /// A submission that was found good.
    Submit {
        job: Box<NewJob>,
        reply: Reply<Arc<JobView>>,
    },
    /// An author takes a job back.
    Cancel { job: JobId, reply: Reply<FoundJob> },
    /// A merge in the compute child ended.
    Merged {
        job: JobId,
        node: Node,
        outcome: Result<Bytes, Failure>,
    },
    /// The result is stored, or never will be.
    Finished {
        job: JobId,
        outcome: Result<BlobView, Failure>,
    },
    /// A line of a guest that ran in the compute child.
    Log { job: JobId, text: String },
    /// The workers, as they stand.
    Workers { reply: Reply<Vec<WorkerView>> },
    /// The figures of the page.
    Status { reply: Reply<Status> },
    /// Say farewell to all workers and end.
    Close,
}

/// What a worker said after its hello.
pub(crate) enum FromWorker {
    Partial {
        part: Part,
        partial: Bytes,
    },
    Failed {
        lease: LeaseId,
        node: Node,
        failure: Failure,
    },
    Returned {
        lease: LeaseId,
    },
    Progress {
        lease: LeaseId,
        done: u64,
    },
    Capacity {
        slots: u16,
        hidden: bool,
    },
    Log {
        job: JobId,
        text: String,
    },
    Alive,
    Goodbye,
}

/// A job as its submission was prepared.
pub(crate) struct NewJob {
    pub(crate) spec: JobSpec,
    pub(crate) header: JobHeader,
    pub(crate) cutting: Option<Cutting>,
    /// As it is shown at first; the driver fills in the times.
    pub(crate) view: JobView,
    /// Where a `concat` job's result goes.
    pub(crate) output: Option<OutputFile>,
}

/// What may be told once the journal has the round's records.
#[derive(Default)]
struct Held {
    /// Acknowledgements of partials, and farewells to jobs, which come after them.
    frames: Vec<(WorkerId, Bytes)>,
    published: Vec<(Arc<Entry>, Arc<JobView>)>,
    submitted: Vec<(Reply<Arc<JobView>>, Arc<JobView>)>,
    cancelled: Vec<(Reply<FoundJob>, Arc<JobView>)>,
}

type Commit = BoxFuture<'static, (Result<(), JournalError>, Held)>;

pub(crate) struct Driver {
    app: Arc<App>,
    start: Instant,
    scheduler: Scheduler<Bytes>,
    actions: Vec<Action<Bytes>>,
    workers: Workers,
    jobs: BTreeMap<JobId, Job>,
    /// Workers dropped while actions were carried out.
    lost: Vec<WorkerId>,
    /// Jobs that ended, which the scheduler may forget.
    ended: Vec<JobId>,
    records: Vec<Record>,
    held: Held,
    commits: FuturesOrdered<Commit>,
    /// When changed jobs, and when all of them, are published next.
    publish: Micros,
    publish_all: Micros,
}

/// Whether the driver goes on.
enum Flow {
    On,
    End,
}

impl Driver {
    pub(crate) fn new(app: Arc<App>, config: manyhands_scheduler::Config) -> Self {
        Self {
            app,
            start: Instant::now(),
            workers: Workers::new(&config),
            scheduler: Scheduler::new(config),
            actions: Vec::new(),
            jobs: BTreeMap::new(),
            lost: Vec::new(),
            ended: Vec::new(),
            records: Vec::new(),
            held: Held::default(),
            commits: FuturesOrdered::new(),
            publish: Micros(0),
            publish_all: Micros(0),
        }
    }

    fn now(&self) -> Micros {
        Micros(u64::try_from(self.start.elapsed().as_micros()).expect("under 500,000 years"))
    }

    /// Runs until told to close.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let mut round = Vec::with_capacity(ROUND);
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            let due = self.due();
            if let Some(due) = due {
                sleep
                    .as_mut()
                    .reset((self.start + Duration::from_micros(due.0)).into());
            }
            tokio::select! {
                _ = inbox.recv_many(&mut round, ROUND) => {}
                Some((outcome, held)) = self.commits.next() => {
                    if let Err(error) = outcome {
                        tracing::error!(%error, "closing: nothing can be promised any more");
                        return self.farewell();
                    }
                    self.release(held);
                    let now = self.now();
                    self.tell_of_lost(now);
                }
                () = &mut sleep, if due.is_some() => {}
            }
            let now = self.now();
            for input in round.drain(..) {
                if matches!(self.take(now, input), Flow::End) {
                    return self.farewell();
                }
            }
            if self
                .scheduler
                .next_deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                self.handle(now, Event::Tick);
            }
            for job in std::mem::take(&mut self.ended) {
                self.handle(now, Event::JobRemoved { job });
            }
            self.publish(now);
            self.commit();
            self.tell_of_lost(now);
        }
    }

    fn due(&self) -> Option<Micros> {
        let dirty = self
            .jobs
            .values()
            .any(Job::is_dirty)
            .then_some(self.publish);
        let idle = (!self.jobs.is_empty()).then_some(self.publish_all);
        [self.scheduler.next_deadline(), dirty, idle]
            .into_iter()
            .flatten()
            .min()
    }

    fn take(&mut self, now: Micros, input: Input) -> Flow {
        match input {
            Input::Connected {
                hello,
                connection,
                reply,
            } => self.connected(now, *hello, connection, reply),
            Input::Message {
                worker,
                number,
                message,
            } => {
                // A connection that another has replaced has nothing to say.
                if self.workers.is_current(worker, number) {
                    self.message(now, worker, message);
                }
            }
            Input::Closed { worker, number } => {
                if self.workers.is_current(worker, number) {
                    self.workers.disconnect(worker);
                    self.handle(now, Event::WorkerDisconnected { worker });
                }
            }
            Input::Goodbye { session } => {
                if let Some(worker) = self.workers.by_session(session) {
                    self.left(now, worker);
                }
            }
            Input::Submit { job, reply } => self.submit(now, *job, reply),
            Input::Cancel { job, reply } => self.cancel(now, job, reply),
            Input::Merged { job, node, outcome } => {
                self.app.metrics.merges.inc();
                let event = match outcome {
                    Ok(partial) => Event::Merged { job, node, partial },
                    Err(failure) => Event::MergeFailed { job, node, failure },
                };
                self.handle(now, event);
            }
            Input::Finished { job, outcome } => self.finished(now, job, outcome),
            Input::Log { job, text } => self.log(job, &text),
            // Nobody waits for these any more if they have left.
            Input::Workers { reply } => drop(reply.send(self.worker_views())),
            Input::Status { reply } => drop(reply.send(self.status())),
            Input::Close => return Flow::End,
        }
        Flow::On
    }

    fn message(&mut self, now: Micros, worker: WorkerId, message: FromWorker) {
        let event = match message {
            FromWorker::Partial { part, partial } => Event::Partial {
                worker,
                lease: part.lease,
                node: part.node,
                len: partial.len() as u64,
                partial,
                busy_us: part.busy_us,
            },
            FromWorker::Failed {
                lease,
                node,
                failure,
            } => {
                self.app.metrics.failures.inc();
                Event::Failed {
                    worker,
                    lease,
                    node,
                    failure,
                }
            }
            FromWorker::Returned { lease } => Event::Returned { worker, lease },
            FromWorker::Progress { lease, done } => Event::Progress {
                worker,
                lease,
                done,
            },
            FromWorker::Capacity { slots, hidden } => Event::WorkerCapacity {
                worker,
                slots,
                hidden,
            },
            FromWorker::Log { job, text } => {
                // Strangers may speak of what they were given, nothing else.
                if self.workers.knows(worker, job) {
                    self.log(job, &text);
                }
                Event::Heard { worker }
            }
            FromWorker::Alive => Event::Heard { worker },
            FromWorker::Goodbye => return self.left(now, worker),
        };
        self.handle(now, event);
    }

    fn left(&mut self, now: Micros, worker: WorkerId) {
        self.workers.remove(worker, None);
        self.handle(now, Event::WorkerLeft { worker });
    }

    fn connected(
        &mut self,
        now: Micros,
        hello: Hello,
        connection: Connection,
        reply: Reply<Result<Welcomed, String>>,
    ) {
        let resumed = hello
            .resume
            .and_then(|session| self.workers.by_session(session));
        if resumed.is_none() && self.workers.len() >= self.app.limits.max_workers {
            let full = "this coordinator has as many workers as it takes";
            return drop(reply.send(Err(full.into())));
        }
        let held = hello.held.clone();
        let capacity = workers::capacity(&hello);
        let welcomed = match resumed {
            Some(worker) => self.workers.resume(worker, hello, connection),
            None => self.workers.join(unix_ms(), hello, connection),
        };
        let worker = welcomed.worker;
        if reply.send(Ok(welcomed)).is_err() {
            // The socket ended meanwhile; its `Closed` will not come.
            self.workers.disconnect(worker);
        }
        let event = match resumed {
            Some(worker) => Event::WorkerResumed {
                worker,
                capacity,
                held,
            },
            None => Event::WorkerJoined { worker, capacity },
        };
        self.handle(now, event);
        if !self.workers.is_connected(worker) {
            self.handle(now, Event::WorkerDisconnected { worker });
        }
    }

    /// Hands the round's records to the journal, and holds back what they cover.
    fn commit(&mut self) {
        let held = std::mem::take(&mut self.held);
        if self.records.is_empty() {
            return self.release(held);
        }
        let group = std::mem::take(&mut self.records);
        let durable = self.app.journal.append(group);
        self.commits
            .push_back(Box::pin(async move { (durable.await, held) }));
    }

    /// The records are safe: now others may know.
    fn release(&mut self, held: Held) {
        for (worker, frame) in held.frames {
            self.send(worker, frame);
        }
        for (entry, view) in held.published {
            let over = view.state.is_over().then_some(view.id);
            entry.publish(view);
            if let Some(job) = over {
                self.app.board.over(job);
            }
        }
        // Whoever does not wait any more does not mind.
        for (reply, view) in held.submitted {
            let _ = reply.send(view);
        }
        for (reply, view) in held.cancelled {
            let _ = reply.send(Some(view));
        }
    }

    fn farewell(mut self) {
        self.workers.farewell();
    }

    fn status(&self) -> Status {
        let slots = self
            .workers
            .connected()
            .filter_map(|worker| self.scheduler.worker(worker));
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            workers: self.workers.connected().count() as u64,
            slots: slots.map(|worker| u64::from(worker.slots)).sum(),
            running: self.jobs.len() as u64,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
