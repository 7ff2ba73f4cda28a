//! Failing nodes: halved until one task is guilty, which is tried elsewhere a
//! few times before its job fails.

use crate::event::Action;
use crate::fairness::Need;
use crate::scheduler::Scheduler;
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
        let Some((number, node)) = self.live_node(id, lease, node, actions) else {
            return;
        };
        self.touched.insert(id);
        let live = self.leases.get_mut(&number).expect("a live lease");
        live.hand_in(node);
        let job = self.jobs.get_mut(&live.job).expect("a lease has a job");
        // Where others have done it meanwhile, nothing is wrong.
        if job.blocks.lacks(node) {
            let (given, freed) = job.blocks.release_failed(node, number);
            live.outstanding -= given;
            job.retries += u64::from(freed > 0);
            self.news |= freed > 0;
            if failure.kind.depends_on_machine()
                && let Some(member) = job.members.get_mut(&id)
            {
                member.speed.shrink();
            }
            if job.spec.tree.len(node) == 1 && self.blame(id, number, node.first(), &failure) {
                let job = self.leases[&number].job;
                self.job_failed(job, Some(node.first()), failure, actions);
                return;
            }
        }
        let job = self.leases[&number].job;
        self.settle(number, actions);
        self.requeue(job);
    }

    /// Counts a failure of one task; whether it was the last that is allowed.
    fn blame(&mut self, id: WorkerId, number: u64, task: u64, failure: &Failure) -> bool {
        let job = self.leases[&number].job;
        let job = self.jobs.get_mut(&job).expect("a lease has a job");
        let attempts = job.attempts.entry(task).or_default();
        attempts.failures += 1;
        attempts.guest += u32::from(!failure.kind.depends_on_machine());
        if !attempts.workers.contains(&id) {
            attempts.workers.push(id);
        }
        attempts.failures >= self.config.attempts || attempts.guest >= self.config.guest_attempts
    }

    /// Whether the worker may try a task: not where it has failed at it and
    /// there is another who has not.
    pub(crate) fn may_try(&self, id: WorkerId, job: JobId, node: Node) -> bool {
        let job = &self.jobs[&job];
        if job.spec.tree.len(node) > 1 {
            return true;
        }
        let Some(attempts) = job.attempts.get(&node.first()) else {
            return true;
        };
        if !attempts.workers.contains(&id) {
            return true;
        }
        let need = Need::of(&job.spec);
        let other = self.workers.iter().any(|(other, worker)| {
            worker.slots() > 0 && need.fits(&worker.capacity) && !attempts.workers.contains(other)
        });
        !other
    }
}
