//! The scheduler's face: what a driver calls.

use crate::{Action, Config, Contribution, Event, JobProgress, Micros, Waiting, WorkerProgress};
use manyhands_protocol::{JobId, WorkerId};
use std::marker::PhantomData;

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
/// `JobSubmitted` and `WorkerJoined` are new. Nothing a worker sends panics.
#[derive(Debug)]
pub struct Scheduler<P> {
    config: Config,
    partials: PhantomData<P>,
}

impl<P> Scheduler<P> {
    /// No jobs and no workers.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            partials: PhantomData,
        }
    }

    /// Takes in what happened at `now`; appends what is to be done.
    pub fn handle(&mut self, now: Micros, event: Event<P>, actions: &mut Vec<Action<P>>) {
        let _ = (now, event, actions);
    }

    /// When [`Event::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        None
    }

    /// A job's counts at `now`; `None` for one never submitted, or removed.
    #[must_use]
    pub fn job(&self, now: Micros, job: JobId) -> Option<JobProgress> {
        let _ = (now, job);
        None
    }

    /// Why the job gets no worker, if none that is here can take its blocks.
    #[must_use]
    pub fn waiting(&self, job: JobId) -> Option<Waiting> {
        let _ = job;
        None
    }

    /// Who has given the job how much, by worker id; empty for an unknown job.
    #[must_use]
    pub fn contributions(&self, job: JobId) -> Vec<Contribution> {
        let _ = job;
        Vec::new()
    }

    /// A worker's counts; `None` once its session is over.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> Option<WorkerProgress> {
        let _ = worker;
        None
    }

    /// All workers with a session, by id.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        std::iter::empty()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
