//! When the leases of workers will end. Only who looks for stragglers asks, and
//! nobody does while something is free: what has changed is noted, and predicted
//! when it is asked for.

use crate::scheduler::Scheduler;
use crate::sizing::duration_us;
use crate::time::Micros;
use manyhands_protocol::{LeaseId, WorkerId};

/// A queue no longer than this is predicted anew at each change.
const PREDICTED: usize = 16;

impl<P> Scheduler<P> {
    /// What the worker holds, or how fast it is, is not what it was.
    pub(crate) fn outdate(&mut self, id: WorkerId) {
        let worker = self
            .workers
            .get_mut(&id)
            .expect("a worker that has changed");
        worker.stale = worker.stale.saturating_add(1);
        if !std::mem::replace(&mut worker.outdated, true) {
            self.outdated.push(id);
        }
    }

    /// From now on, until something changes, all leases that stand have an end.
    pub(crate) fn predict_all(&mut self) {
        while let Some(id) = self.outdated.pop() {
            self.predict(id);
        }
    }

    /// The worker is gone.
    pub(crate) fn forget_outdated(&mut self) {
        if self.outdated.len() > 2 * self.workers.len() + 64 {
            let workers = &self.workers;
            self.outdated.retain(|id| workers.contains_key(id));
        }
    }

    /// Predicts when the worker's leases will end. To do so for all of a long
    /// queue at each answer would cost more than all else: then only the newest
    /// are predicted, and the others anew when a fourth of them has changed.
    fn predict(&mut self, id: WorkerId) {
        // It may have left since.
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.outdated = false;
        let all = worker.queue.len() <= PREDICTED || worker.stale >= worker.queue.len() / 4;
        let (from, mut at) = if all {
            worker.stale = 0;
            (0, worker.answered)
        } else {
            let is_new = |lease_id: &&LeaseId| self.leases[lease_id].end == Micros::MAX;
            let new = worker.queue.iter().rev().take_while(is_new).count();
            let from = worker.queue.len() - new;
            let before = from.checked_sub(1).map(|at| worker.queue[at]);
            let before = before.map(|lease_id| self.leases[&lease_id].end);
            let before = before.map(|end| Micros(end.0.saturating_sub(worker.round_trip)));
            (from, before.unwrap_or(worker.answered))
        };
        for lease_id in worker.queue.range(from..) {
            let lease = self.leases.get_mut(lease_id).expect("a worker's lease");
            let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
            let slots = worker.slots_for(job.need());
            at = at.max(lease.granted);
            let end = match job.worker_rate(id, slots) {
                Some(rate) => {
                    let left = lease.tasks - lease.handed_tasks();
                    let end = at + duration_us(left, slots, rate) + worker.round_trip;
                    at = at + (left as f64 / rate) as u64;
                    end
                }
                None => lease.granted + self.config.patience_us,
            };
            if end != lease.end {
                lease.end = end;
                job.ends.changed(*lease_id, lease);
                job.ends.tidy(&mut self.leases);
            }
        }
    }
}
