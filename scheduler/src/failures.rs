//! Failing nodes: halved until one task is guilty, which is tried elsewhere a
//! few times before its job fails.

use crate::event::Action;
use crate::scheduler::Scheduler;
use crate::time::Micros;
use manyhands_protocol::{Failure, JobId, LeaseId, Node, WorkerId};

impl<P> Scheduler<P> {
    pub(crate) fn failed(
        &mut self,
        id: WorkerId,
        lease: LeaseId,
        node: Node,
        failure: Failure,
        actions: &mut Vec<Action<P>>,
    ) {
        let Some(node) = self.live_node(id, lease, node, actions) else {
            return;
        };
        let live = self.leases.get_mut(&lease).expect("a live lease");
        if live.has_handed(node) {
            // Said again, on a resumed session.
            return;
        }
        self.touched.insert(id);
        let job_id = live.job;
        let job = self.jobs.get_mut(&job_id).expect("a lease has a job");
        let before = live.left();
        live.hand_in(job.spec.tree, node);
        if live.stands {
            let worker = self.workers.get_mut(&id).expect("it has just answered");
            worker.left_changed(live, before);
        }
        // Where others have done it meanwhile, nothing is wrong.
        if job.blocks.lacks(node) {
            let (given, freed) = job.blocks.release_failed(node, lease);
            live.outstanding -= given;
            job.retries += u64::from(freed > 0);
            self.news |= freed > 0;
            if failure.kind.depends_on_machine()
                && let Some(member) = job.members.get_mut(&id)
            {
                member.speed.shrink();
            }
            if job.spec.tree.len(node) == 1 && self.blame(id, job_id, node.first(), &failure) {
                self.job_failed(job_id, Some(node.first()), failure, actions);
                return;
            }
        }
        self.settle(lease, actions);
    }

    /// Counts a failure of one task; whether it was the last that is allowed.
    fn blame(&mut self, id: WorkerId, job: JobId, task: u64, failure: &Failure) -> bool {
        let job = self.jobs.get_mut(&job).expect("a lease has a job");
        let attempts = job.attempts.entry(task).or_default();
        attempts.failures += 1;
        attempts.guest += u32::from(!failure.kind.depends_on_machine());
        attempts.workers.insert(id, failure.clone());
        attempts.last = self.now;
        attempts.failures >= self.config.attempts || attempts.guest >= self.config.guest_attempts
    }

    /// Whether the worker may try a task: not where it has failed at it and
    /// there is another who has not, unless that one has not taken it, or not
    /// answered, for long.
    pub(crate) fn may_try(&self, id: WorkerId, job: JobId, node: Node) -> bool {
        let failed = self.left_to_others(id, job, node);
        failed.is_none_or(|last| self.now.since(last) >= self.config.patience_us)
    }

    /// When a task failed last that is left to others, as it failed on the worker
    /// too.
    pub(crate) fn left_to_others(&self, id: WorkerId, job: JobId, node: Node) -> Option<Micros> {
        let job = &self.jobs[&job];
        if job.spec.tree.len(node) > 1 {
            return None;
        }
        let attempts = job.attempts.get(&node.first())?;
        if !attempts.workers.contains_key(&id) {
            return None;
        }
        let other = self.workers.iter().any(|(other, worker)| {
            worker.slots_for(job.need()) > 0
                && !job.unfit.contains_key(&other)
                && !attempts.workers.contains_key(&other)
        });
        other.then_some(attempts.last)
    }
}
