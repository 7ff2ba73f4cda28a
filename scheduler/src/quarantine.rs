//! Workers that fail block after block: strikes, and a time without work.
//!
//! A task that fails may be to blame itself. Once it has come out elsewhere it
//! is not, and each worker that failed at it gets a strike. A larger node gives
//! none: its tasks may just have been too many at once.

use crate::config::Config;
use crate::event::Action;
use crate::scheduler::Scheduler;
use crate::time::Micros;
use crate::view::Quarantine;
use manyhands_protocol::{Failure, JobId, WorkerId};
use std::collections::VecDeque;

/// However often, no quarantine is longer, unless the first is already.
const LONGEST_US: u64 = 3600 * 1_000_000;

/// What a worker's failures came to.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    /// The jobs whose tasks failed here and came out elsewhere, one entry a
    /// task, since its last used partial: the latest, as many as make a
    /// quarantine.
    strikes: VecDeque<JobId>,
    /// The failure behind the latest.
    failure: Option<Failure>,
    quarantines: u32,
    until: Option<Micros>,
}

impl Conduct {
    /// When its quarantine ends, while it is in one.
    pub(crate) fn until(&self) -> Option<Micros> {
        self.until
    }

    /// A partial of it was used. In quarantine it was of a lease granted
    /// before: that changes nothing.
    pub(crate) fn forgive(&mut self) {
        if self.until.is_none() {
            self.strikes.clear();
        }
    }

    pub(crate) fn shown(&self) -> Option<Quarantine> {
        Some(Quarantine {
            until: self.until?,
            strikes: self.strikes.len() as u32,
            failure: self.failure.clone().expect("a strike has a failure"),
        })
    }

    /// Counts a strike; whether it is one too many.
    fn strike(&mut self, job: JobId, failure: Failure, limit: usize) -> bool {
        self.strikes.push_back(job);
        self.strikes
            .drain(..self.strikes.len().saturating_sub(limit));
        self.failure = Some(failure);
        self.until.is_none() && self.strikes.len() == limit
    }

    /// How long the next quarantine is, in microseconds.
    fn sentence_us(&self, config: &Config) -> u64 {
        let first = config.quarantine_us;
        let factor = 1 << self.quarantines.min(32);
        first.saturating_mul(factor).min(LONGEST_US.max(first))
    }

    fn begin(&mut self, until: Micros) {
        self.until = Some(until);
        self.quarantines = self.quarantines.saturating_add(1);
    }

    /// One more strike is enough for the next.
    fn end(&mut self, limit: usize) {
        self.until = None;
        self.strikes
            .drain(..self.strikes.len().saturating_sub(limit - 1));
    }

    /// The job's tasks were to blame. Whether that lifts a quarantine.
    fn acquit(&mut self, job: JobId) -> bool {
        let before = self.strikes.len();
        self.strikes.retain(|struck| *struck != job);
        // Its strikes were just enough before.
        self.strikes.len() < before && self.until.is_some()
    }

    fn lift(&mut self) {
        self.until = None;
        self.quarantines -= 1;
    }
}

impl<P> Scheduler<P> {
    fn strikes_limit(&self) -> usize {
        self.config.strikes.max(1) as usize
    }

    /// One strike each against those that failed at tasks of `job`.
    pub(crate) fn strike(
        &mut self,
        job: JobId,
        blamed: Vec<(WorkerId, Failure)>,
        actions: &mut Vec<Action<P>>,
    ) {
        let limit = self.strikes_limit();
        for (id, failure) in blamed {
            if let Some(worker) = self.workers.get_mut(&id)
                && worker.conduct.strike(job, failure, limit)
            {
                self.quarantine(id, actions);
            }
        }
    }

    fn quarantine(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        let worker = &self.workers[&id];
        let until = self.now + worker.conduct.sentence_us(&self.config);
        let standing = worker.queue.clone();
        self.change(id, |worker| worker.conduct.begin(until));
        self.free_leases(id);
        for lease in standing {
            self.revoke(id, lease, actions);
        }
    }

    pub(crate) fn end_quarantine(&mut self, id: WorkerId) {
        let limit = self.strikes_limit();
        self.change(id, |worker| worker.conduct.end(limit));
    }

    /// The job has failed: its failures were no worker's fault.
    pub(crate) fn acquit_members(&mut self, job: JobId) {
        for id in self.jobs[&job].members.ids() {
            if let Some(worker) = self.workers.get_mut(&id)
                && worker.conduct.acquit(job)
            {
                self.change(id, |worker| worker.conduct.lift());
            }
        }
    }
}
