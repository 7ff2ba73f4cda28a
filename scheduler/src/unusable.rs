//! Jobs that a worker cannot run at all: it gets none of their blocks, nothing
//! is blamed for it, and they end when nobody is left who could.

use crate::event::Action;
use crate::scheduler::Scheduler;
use manyhands_protocol::{Failure, JobId, LeaseId, WorkerId};

impl<P> Scheduler<P> {
    pub(crate) fn unusable(
        &mut self,
        id: WorkerId,
        job_id: JobId,
        failure: Failure,
        actions: &mut Vec<Action<P>>,
    ) {
        let worker = self.workers.get(&id);
        let Some(worker) = worker.filter(|worker| worker.known.contains(&job_id)) else {
            return;
        };
        if !self.is_running(job_id) {
            return;
        }
        let job = self.jobs.get_mut(&job_id).expect("a running job");
        let slots = worker.slots_for(job.need());
        job.note_unfit(id, slots, failure.clone());
        let leases = worker.queue.iter().chain(&worker.former).copied();
        let leases = leases.filter(|lease| self.leases[lease].job == job_id);
        for lease in leases.collect::<Vec<LeaseId>>() {
            let freed = self.detach(lease);
            let job = self.jobs.get_mut(&job_id).expect("a running job");
            job.retries += u64::from(freed > 0);
            self.end_lease(lease);
        }
        self.disowned.insert(job_id);
        // Who waits for it to take what failed elsewhere need not any more.
        self.news = true;
        self.touched.insert(id);
        if self.is_disowned(job_id) {
            self.job_failed(job_id, None, failure, actions);
        }
    }

    /// A worker is gone, perhaps the last that could have run a job. One that has
    /// run somewhere waits for another.
    pub(crate) fn one_less(&mut self, actions: &mut Vec<Action<P>>) {
        for job_id in self.disowned.clone() {
            let job = &self.jobs[&job_id];
            let Some(unfit) = job.unfit.values().next_back() else {
                self.disowned.remove(&job_id);
                continue;
            };
            let failure = unfit.failure.clone();
            if job.answered.is_none() && self.is_disowned(job_id) {
                self.job_failed(job_id, None, failure, actions);
            }
        }
    }

    /// Whether enough workers cannot run the job, and nobody is here, or may be
    /// back at once, who has not said so.
    fn is_disowned(&self, job: JobId) -> bool {
        let job = &self.jobs[&job];
        let attempts = self.config.attempts.max(1) as usize;
        let need = job.need();
        job.unfit.len() >= attempts
            && !self.workers.iter().any(|(id, worker)| {
                worker.present() && need.fits(&worker.capacity) && !job.unfit.contains_key(&id)
            })
    }
}
