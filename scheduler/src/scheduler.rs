//! The scheduler's face: what a driver calls, and which part answers to which
//! event.

use crate::config::Config;
use crate::event::{Action, Event};
use crate::fairness::{Need, Pass, Queue};
use crate::jobs::Job;
use crate::leases::Leases;
use crate::table::Table;
use crate::time::Micros;
use crate::workers::Worker;
use manyhands_protocol::{JobId, LeaseId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// Decides who computes what, and what becomes of the partials.
///
/// How to drive it:
/// 1. For each thing that happens call [`handle`](Self::handle) with the present
///    time, and carry out the actions it appends, in their order.
/// 2. After that ask [`next_deadline`](Self::next_deadline) and send
///    [`Event::Tick`] then, unless an event comes first.
/// 3. Getters ([`job`](Self::job), [`worker`](Self::worker),
///    [`contributions`](Self::contributions), …) may be called at any time and
///    change nothing.
///
/// Time must not go backwards. The same events at the same times give the same
/// actions. An event costs O(log) of what is in flight; memory grows with jobs,
/// workers, blocks in flight and the frontier, not with tasks.
///
/// # Panics
/// `handle` asserts the scheduler's own invariants, and that ids in
/// `JobSubmitted`, `JobRestored` and `WorkerJoined` are new, and that what
/// `JobRestored` gives is as its documentation asks. Nothing a worker sends panics.
///
/// # Example
/// ```
/// use manyhands_protocol::message::EngineKind;
/// use manyhands_protocol::{JobId, MergeMode, Tree, WorkerId};
/// use manyhands_scheduler::{Action, Capacity, Config, Event, JobSpec, Micros, Scheduler};
///
/// let mut scheduler = Scheduler::<&str>::new(Config::default());
/// let mut actions = Vec::new();
/// let (job, worker) = (JobId(1), WorkerId(1));
/// let spec = JobSpec {
///     tree: Tree::new(1).unwrap(),
///     merge: MergeMode::Concat,
///     weight: 100,
///     memory: 0,
///     simd: false,
///     bytes_per_task: 0,
///     max_block: u64::MAX,
/// };
/// scheduler.handle(Micros(0), Event::JobSubmitted { job, spec }, &mut actions);
/// let capacity = Capacity {
///     engine: EngineKind::Native,
///     slots: 1,
///     memory: 1 << 30,
///     simd: true,
///     hidden: false,
/// };
/// let joined = Event::WorkerJoined { worker, capacity, held: Vec::new() };
/// scheduler.handle(Micros(5), joined, &mut actions);
/// let Some(Action::Grant { lease, node, .. }) = actions.pop() else { panic!("a grant") };
/// let answer = Event::Partial { worker, lease, node, partial: "!", len: 1, busy_us: 9 };
/// scheduler.handle(Micros(20), answer, &mut actions);
/// assert!(actions.contains(&Action::Emit { job, node, partial: "!" }));
/// assert!(actions.contains(&Action::Complete { job }));
/// ```
#[derive(Debug)]
pub struct Scheduler<P> {
    pub(crate) config: Config,
    /// The time of the event being handled.
    pub(crate) now: Micros,
    pub(crate) jobs: Table<JobId, Job<P>>,
    pub(crate) workers: Table<WorkerId, Worker>,
    /// Those that are connected, and their slots.
    pub(crate) crew: (u64, u64),
    /// Those that a worker may still answer.
    pub(crate) leases: Leases,
    pub(crate) next_lease: LeaseId,
    /// Jobs with a block to hand out.
    pub(crate) ready: Queue,
    /// Jobs with blocks out and none to hand out.
    pub(crate) tail: Queue,
    /// Weights of the jobs in either queue.
    pub(crate) active_weight: u64,
    /// The pass of the job served last: where newcomers begin.
    pub(crate) served: Pass,
    /// For each need of a running job: how many jobs have it, and how many
    /// slots of the workers that are connected can serve it.
    pub(crate) supply: BTreeMap<Need, (usize, u64)>,
    /// Running jobs that some worker cannot run.
    pub(crate) disowned: BTreeSet<JobId>,
    /// Workers that wanted more and found nothing free.
    pub(crate) hungry: BTreeSet<WorkerId>,
    /// Those of them that had nothing to do when they were last looked at.
    pub(crate) idle: BTreeSet<WorkerId>,
    /// Workers to look at before this event ends.
    pub(crate) touched: BTreeSet<WorkerId>,
    /// Workers whose leases' ends are to be predicted anew, and some that are gone.
    pub(crate) outdated: Vec<WorkerId>,
    /// Room for what a partial relieves.
    pub(crate) relieved: Vec<(LeaseId, u64)>,
    /// Workers that were taken for lost and have just been heard.
    pub(crate) found: Vec<WorkerId>,
    /// Whether there may be something for the hungry.
    pub(crate) news: bool,
    /// When the hungry next look for stragglers.
    pub(crate) rescue_at: Option<Micros>,
    /// Who of them is the first to look then.
    pub(crate) rescue_from: WorkerId,
    /// When the hungry next look at what is free and was not for them.
    pub(crate) retry_at: Option<Micros>,
    /// Whether nothing may be granted.
    pub(crate) hold: bool,
    /// When something about a worker is due.
    pub(crate) wakes: BTreeSet<(Micros, WorkerId)>,
}

impl<P> Scheduler<P> {
    /// No jobs and no workers.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let next_lease = LeaseId {
            incarnation: config.incarnation,
            counter: 0,
        };
        Self {
            config,
            now: Micros(0),
            jobs: Table::default(),
            workers: Table::default(),
            crew: (0, 0),
            leases: Leases::default(),
            next_lease,
            ready: Queue::default(),
            tail: Queue::default(),
            active_weight: 0,
            served: 0,
            supply: BTreeMap::new(),
            disowned: BTreeSet::new(),
            hungry: BTreeSet::new(),
            idle: BTreeSet::new(),
            touched: BTreeSet::new(),
            outdated: Vec::new(),
            relieved: Vec::new(),
            found: Vec::new(),
            news: false,
            rescue_at: None,
            rescue_from: WorkerId(0),
            retry_at: None,
            hold: false,
            wakes: BTreeSet::new(),
        }
    }

    /// Takes in what happened at `now`; appends what is to be done.
    pub fn handle(&mut self, now: Micros, event: Event<P>, actions: &mut Vec<Action<P>>)
    where
        P: Clone,
    {
        assert!(now >= self.now, "time went from {:?} to {now:?}", self.now);
        self.now = now;
        self.dispatch(event, actions);
        self.take_back(actions);
        self.check_timers(actions);
        self.hand_out(actions);
        assert!(self.touched.is_empty(), "workers were left without a look");
    }

    fn dispatch(&mut self, event: Event<P>, actions: &mut Vec<Action<P>>)
    where
        P: Clone,
    {
        match event {
            Event::JobSubmitted { job, spec } => self.job_submitted(job, spec, actions),
            Event::JobCancelled { job } => self.job_cancelled(job, actions),
            Event::JobRemoved { job } => self.job_removed(job, actions),
            Event::JobRestored {
                job,
                spec,
                prefix,
                partials,
            } => self.job_restored(job, spec, prefix, partials, actions),
            Event::WorkerJoined {
                worker,
                capacity,
                held,
            } => self.worker_joined(worker, capacity, &held, actions),
            Event::WorkerResumed {
                worker,
                capacity,
                held,
            } => self.worker_resumed(worker, capacity, &held, actions),
            Event::WorkerCapacity {
                worker,
                slots,
                hidden,
            } => self.worker_capacity(worker, slots, hidden),
            Event::WorkerDisconnected { worker } => self.worker_disconnected(worker),
            Event::WorkerLeft { worker } => self.remove_worker(worker, actions),
            Event::Heard { worker } => self.heard(worker),
            Event::Pong { worker } => {
                self.heard(worker);
                self.pong(worker);
            }
            Event::Partial {
                worker,
                lease,
                node,
                partial,
                len,
                busy_us,
            } => {
                self.heard(worker);
                self.partial(worker, lease, node, (partial, len, busy_us), actions);
            }
            Event::Failed {
                worker,
                lease,
                node,
                failure,
            } => {
                self.heard(worker);
                self.failed(worker, lease, node, failure, actions);
            }
            Event::Unusable {
                worker,
                job,
                failure,
            } => {
                self.heard(worker);
                self.unusable(worker, job, failure, actions);
            }
            Event::Returned { worker, lease } => {
                self.heard(worker);
                self.returned(worker, lease, actions);
            }
            Event::Progress {
                worker,
                lease,
                done,
            } => {
                self.heard(worker);
                self.progress(worker, lease, done, actions);
            }
            Event::Merged {
                job,
                node,
                partial,
                len,
            } => self.merged(job, node, (partial, len), actions),
            Event::MergeFailed { job, node, failure } => {
                self.merge_failed(job, node, failure, actions);
            }
            Event::Hold { on } => self.hold(on),
            Event::Tick => {}
        }
    }

    /// When [`Event::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        let hungry = self.rescue_at.into_iter().chain(self.retry_at);
        wake.into_iter().chain(hungry).min()
    }

    /// An id that no grant has or will have, for something else that a worker is
    /// asked for and answers like a lease. To the scheduler it is one that is over.
    pub fn reserve_lease(&mut self) -> LeaseId {
        let reserved = self.next_lease;
        self.next_lease.counter += 1;
        reserved
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
