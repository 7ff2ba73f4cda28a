//! Jobs come and end; leases end; where a job stands among the others.

use crate::blocks::LeaseNumber;
use crate::event::{Action, JobSpec};
use crate::fairness::stride;
use crate::jobs::{Job, Place};
use crate::leases::Lease;
use crate::scheduler::Scheduler;
use crate::view::Phase;
use manyhands_protocol::{Failure, JobId, MergeMode, WorkerId};
use std::collections::btree_map::Entry;

impl<P> Scheduler<P> {
    pub(crate) fn job_submitted(&mut self, id: JobId, spec: JobSpec, actions: &mut Vec<Action<P>>) {
        let Entry::Vacant(entry) = self.jobs.entry(id) else {
            panic!("job {id} was submitted twice");
        };
        entry.insert(Job::new(id, spec, self.served));
        if spec.tree.tasks() > 0 {
            self.requeue(id);
            return;
        }
        actions.push(match spec.merge {
            MergeMode::Reduce => Action::Root {
                job: id,
                partial: None,
            },
            MergeMode::Concat => Action::Complete { job: id },
        });
        self.end_job(id, Phase::Done, actions);
    }

    pub(crate) fn job_cancelled(&mut self, id: JobId, actions: &mut Vec<Action<P>>) {
        if self.is_running(id) {
            self.end_job(id, Phase::Cancelled, actions);
        }
    }

    pub(crate) fn job_removed(&mut self, id: JobId, actions: &mut Vec<Action<P>>) {
        self.job_cancelled(id, actions);
        self.jobs.remove(&id);
    }

    pub(crate) fn job_failed(
        &mut self,
        id: JobId,
        task: Option<u64>,
        failure: Failure,
        actions: &mut Vec<Action<P>>,
    ) {
        if self.is_running(id) {
            actions.push(Action::JobFailed {
                job: id,
                task,
                failure,
            });
            self.end_job(id, Phase::Failed, actions);
        }
    }

    pub(crate) fn is_running(&self, id: JobId) -> bool {
        let job = self.jobs.get(&id);
        job.is_some_and(|job| job.phase == Phase::Running)
    }

    /// The job is over: nothing of it is out any more.
    pub(crate) fn end_job(&mut self, id: JobId, phase: Phase, actions: &mut Vec<Action<P>>) {
        let job = self.jobs.get_mut(&id).expect("a job that ends was there");
        assert_eq!(job.phase, Phase::Running, "job {id} ended twice");
        if phase == Phase::Done {
            let tasks = job.spec.tree.tasks();
            assert_eq!(job.blocks.done(), tasks, "job {id} ended with tasks left");
        }
        for number in std::mem::take(&mut job.leases) {
            let lease = self.leases.remove(&number).expect("a job's lease is there");
            let worker = self.workers.get_mut(&lease.worker);
            worker.expect("a lease has a worker").end(number, id);
            self.touched.insert(lease.worker);
        }
        for member in job.members.keys() {
            // One that is away hears of it when it is back.
            if let Some(worker) = self.workers.get_mut(member)
                && worker.connected()
                && worker.known.remove(&id)
            {
                let worker = *member;
                actions.push(Action::Forget { worker, job: id });
            }
        }
        job.close(phase);
        self.requeue(id);
    }

    /// The block is no longer the lease's; what nobody else has is free. Gives
    /// the number of tasks that are free now.
    pub(crate) fn detach(&mut self, number: LeaseNumber) -> u64 {
        let lease = self.leases.get_mut(&number).expect("a lease");
        if !lease.stands {
            return 0;
        }
        lease.stands = false;
        let outstanding = std::mem::take(&mut lease.outstanding);
        let worker = self.workers.get_mut(&lease.worker);
        let worker = worker.expect("a lease has a worker");
        worker.queue.retain(|held| *held != number);
        worker.former.insert(number);
        let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
        job.by_end.remove(&(lease.end, number));
        let (given, freed) = job.blocks.release(lease.node, number);
        assert_eq!(given, outstanding, "a lease lost count of its tasks");
        self.news |= freed > 0;
        freed
    }

    /// The worker has nothing more to say of the lease, or may not.
    pub(crate) fn end_lease(&mut self, number: LeaseNumber) -> Lease {
        self.detach(number);
        let lease = self.leases.remove(&number).expect("a lease");
        let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
        job.leases.remove(&number);
        // The guess made at the grant gives way to what it has really taken.
        let spent = stride(lease.spent, job.spec.weight);
        job.pass = job.pass.saturating_sub(lease.charged) + spent;
        let worker = self.workers.get_mut(&lease.worker);
        worker.expect("a lease has a worker").end(number, lease.job);
        self.requeue(lease.job);
        lease
    }

    /// Others have done the lease's block: its worker may drop it.
    pub(crate) fn take_away(&mut self, number: LeaseNumber, actions: &mut Vec<Action<P>>) {
        self.detach(number);
        let worker = self.leases[&number].worker;
        self.revoke(worker, number, actions);
        self.touched.insert(worker);
    }

    pub(crate) fn revoke(
        &mut self,
        worker: WorkerId,
        number: LeaseNumber,
        actions: &mut Vec<Action<P>>,
    ) {
        let lease = self.leases.get_mut(&number).expect("a lease");
        lease.revoked = Some(self.now);
        if self.workers[&worker].connected() {
            let lease = self.lease_id(number);
            actions.push(Action::Revoke { worker, lease });
        }
    }

    /// Puts the job where it belongs after a change.
    pub(crate) fn requeue(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("a job");
        let before = job.place;
        let mut place = job.rightful_place(&self.config);
        if matches!(place, Place::Ready(_)) && !matches!(before, Place::Ready(_)) {
            // Who had nothing to run for a while has no claim to that time.
            job.pass = job.pass.max(self.served);
            place = Place::Ready(job.pass);
            self.news = true;
        }
        if place == before {
            return;
        }
        let need = job.need();
        let weight = u64::from(job.spec.weight.max(1));
        job.place = place;
        match before {
            Place::Ready(pass) => self.ready.remove(need, pass, id),
            Place::Tail(pass) => self.tail.remove(need, pass, id),
            Place::Nowhere => self.active_weight += weight,
        }
        match place {
            Place::Ready(pass) => self.ready.insert(need, pass, id),
            Place::Tail(pass) => self.tail.insert(need, pass, id),
            Place::Nowhere => self.active_weight -= weight,
        }
    }
}
