//! The core's face: its calling contract, its settings, and where each input
//! goes. What workers say is dealt with in `messages`, what becomes of jobs in
//! `life`, what the scheduler asks for in `actions`.

use crate::claims::ClaimKey;
use crate::ids::Ids;
use crate::inputs::{ConnectionId, Input};
use crate::jobs::Job;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::merging::Merging;
use crate::outputs::Output;
use crate::workers::{Worker, Workers};
use bytes::Bytes;
use manyhands_protocol::api::{JobView, WorkerPage, WorkerView};
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{JobId, LeaseId, Node, WorkerId};
use manyhands_scheduler::{Action, Event, JobSpec, Micros, Quarantine, Scheduler};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Settings of a [`Core`].
#[derive(Clone, Debug)]
pub struct Config {
    /// How blocks are chosen; the incarnation must be greater than any before.
    pub scheduler: manyhands_scheduler::Config,
    /// What leases are proven with.
    pub key: ClaimKey,
    /// Greater than the id of any job that an earlier start recorded or set aside.
    pub next_job: JobId,
    /// The most workers with a session.
    pub max_workers: usize,
    /// Two groups of partials begin at least so far apart, in microseconds: a
    /// sync costs about as much for many records as for one. 0 where nothing is
    /// synced. What someone waits for, a submission or an end, goes at once.
    pub pace_us: u64,
    /// What keeping a partial costs at least, in microseconds of slot time: those
    /// that took less are not recorded. [`KEEP_US`](crate::KEEP_US), except where
    /// the cost of records is measured.
    pub keep_us: u64,
    /// Two partials of at least so many bytes together are merged by a worker,
    /// not beside the coordinator, and one of half as many waits some seconds for
    /// its sibling, or to be in the result's file, before it is recorded.
    pub lease_merges_from: u64,
}

/// A partial in the scheduler's hands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Partial {
    pub(crate) bytes: Bytes,
    /// Slot time it took, in microseconds.
    pub(crate) cost_us: u64,
}

/// What happened so far, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Blocks handed out.
    pub grants: u64,
    /// Partials that became part of a result.
    pub partials: u64,
    /// Partials of what was there already.
    pub duplicates: u64,
    /// Failures in guests that workers told of.
    pub failures: u64,
    /// Merges.
    pub merges: u64,
    /// Merges that workers were asked for.
    pub leased_merges: u64,
    /// Workers that were sent away.
    pub refused: u64,
    /// Jobs submitted.
    pub submitted: u64,
    /// Partials that were worth a record.
    pub recorded: u64,
    /// Bytes of partials that went to the journal: not those of which something
    /// larger was merged before.
    pub journaled_bytes: u64,
}

/// The coordinator, without its sockets, disk and clock.
///
/// # Calling contract
/// The driver owns it and is single-threaded about it:
/// 1. At the start, [`restore`](Self::restore) each job the journal has.
/// 2. For each thing that happens, call [`handle`](Self::handle) with the
///    present time; time must not go backwards. Several may be handled in a row.
/// 3. Then call [`flush`](Self::flush) once, take [`poll_output`](Self::poll_output)
///    until it answers `None`, and do what it says in that order.
/// 4. Arm one timer at [`next_deadline`](Self::next_deadline); when it fires,
///    handle [`Input::Tick`].
///
/// What needs a promise is held back until the group of records that covers it
/// is reported durable: receipts of partials, answers to submissions and
/// cancels, the end of a job. Workers may be at a job before its submission is. At
/// most one group is being committed; the next one collects meanwhile.
///
/// # Panics
/// On its own broken invariants, and when the driver reports a group that was
/// not given out, or uses an id twice. Nothing a worker or a guest does panics.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) scheduler: Scheduler<Partial>,
    pub(crate) actions: Vec<Action<Partial>>,
    pub(crate) workers: Workers,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) keys: Keys,
    pub(crate) ids: Ids,
    /// Jobs that begin once the group with their submission is durable.
    pub(crate) beginning: VecDeque<(u64, JobId, JobSpec)>,
    pub(crate) ledger: Ledger,
    /// Merges that workers do.
    pub(crate) merging: Merging,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) changed: BTreeSet<JobId>,
    /// Jobs that ended, which the scheduler may forget.
    pub(crate) ended: Vec<JobId>,
    /// The partial that is being handed to the scheduler.
    pub(crate) arriving: Option<Partial>,
    trouble: Option<String>,
    pub(crate) draining: bool,
    pub(crate) counts: Counts,
}

impl Core {
    /// No jobs and no workers.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        // What a worker might be asked to merge is merged by itself.
        let chain = &mut config.scheduler.chain_bytes;
        *chain = (*chain).min(config.lease_merges_from.saturating_sub(1));
        Self {
            scheduler: Scheduler::new(config.scheduler.clone()),
            ledger: Ledger::new(config.pace_us, config.lease_merges_from / 2),
            ids: Ids::new(config.next_job),
            config,
            merging: Merging::default(),
            actions: Vec::new(),
            workers: Workers::default(),
            jobs: BTreeMap::new(),
            keys: Keys::default(),
            beginning: VecDeque::new(),
            outputs: VecDeque::new(),
            changed: BTreeSet::new(),
            ended: Vec::new(),
            arriving: None,
            trouble: None,
            draining: false,
            counts: Counts::default(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Micros, input: Input) {
        match input {
            Input::Hello {
                connection,
                hello,
                fresh,
                unix_ms,
            } => self.hello(now, connection, &hello, fresh, unix_ms),
            Input::Message {
                connection,
                message,
            } => {
                // A connection that another has replaced has nothing to say.
                if let Some(worker) = self.workers.by_connection(connection) {
                    self.message(now, worker, message);
                }
            }
            Input::Closed { connection } => {
                if let Some(worker) = self.workers.by_connection(connection) {
                    self.workers.disconnect(worker);
                    self.tell(now, Event::WorkerDisconnected { worker });
                }
            }
            Input::Goodbye { session } => {
                if let Some(worker) = self.workers.by_session(session) {
                    self.left(now, worker);
                }
            }
            Input::Submit { request, job } => self.submit(now, request, *job),
            Input::Cancel { request, job } => self.cancel(now, request, job),
            Input::Merged { job, node, outcome } => self.merged(now, job, node, outcome),
            Input::Finished { job, outcome } => self.finished(now, job, outcome),
            Input::Result { job, bytes, told } => self.result(now, job, bytes, told),
            Input::Synced { job, task, len } => {
                if self.jobs.contains_key(&job) {
                    self.ledger.prefix(job, task, len);
                }
            }
            Input::Committed { group } => self.committed(now, group),
            Input::Trouble(why) => {
                self.trouble = why;
                self.hold(now);
            }
            Input::Drain => self.drain(now),
            Input::Tick => {}
        }
        if self.scheduler.next_deadline().is_some_and(|due| due <= now) {
            self.tell(now, Event::Tick);
        }
        self.take_merges_back(now);
        for job in std::mem::take(&mut self.ended) {
            self.tell(now, Event::JobRemoved { job });
        }
    }

    /// Gives out the records that came together, if it is time to.
    pub fn flush(&mut self, now: Micros) {
        let jobs = &self.jobs;
        let merging = |job: JobId, node: Node| {
            let entry = jobs.get(&job);
            entry.is_some_and(|entry| entry.is_merging(node))
        };
        if let Some(group) = self.ledger.give(now, merging) {
            self.counts.journaled_bytes += group.partial_bytes();
            self.outputs.push_back(Output::Commit(group));
        }
    }

    /// The next thing to do, or `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        let deadlines = [
            self.scheduler.next_deadline(),
            self.ledger.due(),
            self.merging.due(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether everything that was recorded is durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ledger.is_settled()
    }

    /// Jobs that changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<JobId> {
        std::mem::take(&mut self.changed)
    }

    /// Whether there are such jobs.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// A job that is not over, as it stands at `now`; its `prefix` is 0.
    #[must_use]
    pub fn view(&self, now: Micros, job: JobId) -> Option<JobView> {
        let found = self.jobs.get(&job)?;
        Some(found.look(job, &self.scheduler, now))
    }

    /// Jobs that are not over.
    pub fn running(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.keys().copied()
    }

    /// Workers with a session, as they stand at `now`, in the order in which they
    /// joined: at most `limit` of those that did `after` this one. A few
    /// microseconds each: who asks for thousands keeps all others waiting.
    #[must_use]
    pub fn worker_page(&self, now: Micros, after: Option<WorkerId>, limit: usize) -> WorkerPage {
        let mut left = self.workers.after(after);
        let views = left.by_ref().take(limit);
        let workers: Vec<_> = views
            .filter_map(|(id, entry)| self.describe_worker(now, id, entry))
            .collect();
        let last = workers.last().map(|last| last.id);
        WorkerPage {
            next: last.filter(|_| left.next().is_some()),
            workers,
        }
    }

    /// One worker with a session, as it stands at `now`.
    #[must_use]
    pub fn worker_view(&self, now: Micros, worker: WorkerId) -> Option<WorkerView> {
        self.describe_worker(now, worker, self.workers.get(worker)?)
    }

    fn describe_worker(&self, now: Micros, id: WorkerId, entry: &Worker) -> Option<WorkerView> {
        let progress = self.scheduler.worker(id)?;
        let quarantine = progress.quarantine.map(|why| describe(&why, now));
        Some(WorkerView {
            id,
            name: entry.name.clone(),
            engine: entry.engine,
            slots: progress.slots,
            connected: entry.connection().is_some(),
            leases: progress.leases as u64,
            blocks: progress.blocks,
            tasks: progress.tasks,
            job: progress.job,
            joined_ms: entry.joined_ms,
            quarantine,
        })
    }

    /// How many workers are connected, and the slots they have together.
    #[must_use]
    pub fn crew(&self) -> (u64, u64) {
        self.scheduler.crew()
    }

    /// Why nothing is handed out at present.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether the worker on a connection may still answer a lease.
    #[must_use]
    pub fn holds(&self, connection: ConnectionId, lease: LeaseId) -> bool {
        let worker = self.workers.by_connection(connection);
        worker.is_some_and(|worker| self.scheduler.holds(worker, lease))
            || self.merging.holds(connection, lease)
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Core {
    fn hold(&mut self, now: Micros) {
        let on = self.draining || self.trouble.is_some();
        self.tell(now, Event::Hold { on });
    }

    fn drain(&mut self, now: Micros) {
        self.draining = true;
        let unused = self.ids.give_back();
        self.record_ids(unused);
        self.ledger.hurry();
        self.hold(now);
        for connection in self.workers.disconnect_all() {
            let last = ToWorker::Closing {
                after_ms: BACK_AFTER_MS,
                reason: "the coordinator closes".into(),
            };
            self.close(connection, &last, None);
        }
    }
}

/// A quarantine, for people.
fn describe(quarantine: &Quarantine, now: Micros) -> String {
    let Quarantine {
        until,
        strikes,
        failure,
    } = quarantine;
    let seconds = until.since(now).div_ceil(1_000_000);
    let last = failure.message.lines().next().unwrap_or_default();
    format!(
        "{strikes} tasks that failed here were then computed elsewhere (the last: {last}); it gets \
         no work for {seconds} s"
    )
}

/// When workers of a coordinator that closes first look for its successor.
const BACK_AFTER_MS: u64 = 1000;
