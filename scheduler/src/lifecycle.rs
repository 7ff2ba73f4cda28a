//! Jobs come and end; leases end; where a job stands among the others.

use crate::event::{Action, JobSpec};
use crate::fairness::stride;
use crate::jobs::{Job, Place};
use crate::leases::Lease;
use crate::scheduler::Scheduler;
use crate::view::Phase;
use crate::workers::Worker;
use manyhands_protocol::{Failure, JobId, LeaseId, MergeMode, WorkerId};

impl<P> Scheduler<P> {
    pub(crate) fn job_submitted(&mut self, id: JobId, spec: JobSpec, actions: &mut Vec<Action<P>>) {
        self.admit(id, spec, 0);
        if spec.tree.tasks() > 0 {
            self.requeue(id);
        } else {
            self.end_empty_job(id, actions);
        }
    }

    /// A new job, of which the tasks before `prefix` are done.
    pub(crate) fn admit(&mut self, id: JobId, mut spec: JobSpec, prefix: u64) -> &mut Job<P> {
        spec.max_block = spec.max_block.min(self.config.block_tasks);
        let job = Job::new(id, spec, prefix, self.served);
        let need = job.need();
        let before = self.jobs.insert(id, job);
        assert!(before.is_none(), "job {id} was submitted twice");
        let workers = self.workers.values();
        let slots = || workers.map(|worker| u64::from(worker.slots_for(need)));
        let supply = self.supply.entry(need);
        supply.or_insert_with(|| (0, slots().sum())).0 += 1;
        self.jobs.get_mut(&id).expect("just admitted")
    }

    /// Slots that the job may have.
    pub(crate) fn slots_of(&self, job: &Job<P>) -> u64 {
        let supply = self.supply.get(&job.need());
        job.fit_slots(supply.expect("a running job's need is known").1)
    }

    /// Ends a job that had no task left when it came.
    pub(crate) fn end_empty_job(&mut self, id: JobId, actions: &mut Vec<Action<P>>) {
        actions.push(match self.jobs[&id].spec.merge {
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
            self.acquit_members(id);
            self.end_job(id, Phase::Failed, actions);
        }
    }

    pub(crate) fn is_running(&self, id: JobId) -> bool {
        let job = self.jobs.get(&id);
        job.is_some_and(|job| job.phase == Phase::Running)
    }

    /// The job is over: nothing of it is out any more.
    pub(crate) fn end_job(&mut self, id: JobId, phase: Phase, actions: &mut Vec<Action<P>>) {
        if self.jobs[&id].ends.len() > 0 {
            self.predict_all();
        }
        let job = self.jobs.get_mut(&id).expect("a job that ends was there");
        assert_eq!(job.phase, Phase::Running, "job {id} ended twice");
        if phase == Phase::Done {
            let tasks = job.spec.tree.tasks();
            assert_eq!(job.blocks.done(), tasks, "job {id} ended with tasks left");
        }
        job.ends.sort(&mut self.leases);
        let standing = std::mem::take(&mut job.ends);
        let former = std::mem::take(&mut job.former);
        let standing = standing.iter().map(|(_, lease_id)| lease_id);
        for lease_id in standing.chain(former) {
            let lease = self
                .leases
                .remove(&lease_id)
                .expect("a job's lease is there");
            let worker = self.workers.get_mut(&lease.worker);
            let worker = worker.expect("a lease has a worker");
            if lease.stands {
                worker.dequeue(lease_id, &lease);
            } else {
                worker.former.remove(&lease_id);
            }
            self.touched.insert(lease.worker);
        }
        for worker in job.members.ids() {
            // One that is away hears of it when it is back.
            if let Some(member) = self.workers.get_mut(&worker)
                && member.connected()
                && member.known.remove(&id)
            {
                actions.push(Action::Forget { worker, job: id });
            }
        }
        job.close(phase);
        let need = job.need();
        let supply = self.supply.get_mut(&need).expect("its need is known");
        supply.0 -= 1;
        if supply.0 == 0 {
            self.supply.remove(&need);
        }
        self.disowned.remove(&id);
        self.requeue(id);
    }

    /// The block is no longer the lease's; what nobody else has is free. Gives
    /// the number of tasks that are free now.
    pub(crate) fn detach(&mut self, lease_id: LeaseId) -> u64 {
        let lease = self.leases.get_mut(&lease_id).expect("a lease");
        if !lease.stands {
            return 0;
        }
        let worker = self.workers.get_mut(&lease.worker);
        let worker = worker.expect("a lease has a worker");
        let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
        let freed = fall(lease_id, lease, worker, job);
        worker.former.insert(lease_id);
        job.former.insert(lease_id);
        self.news |= freed > 0;
        freed
    }

    /// The worker has nothing more to say of the lease, or may not.
    pub(crate) fn end_lease(&mut self, lease_id: LeaseId) {
        let mut lease = self.leases.remove(&lease_id).expect("a lease");
        let worker = self.workers.get_mut(&lease.worker);
        let worker = worker.expect("a lease has a worker");
        let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
        if lease.stands {
            self.news |= fall(lease_id, &mut lease, worker, job) > 0;
        } else {
            worker.former.remove(&lease_id);
            job.former.remove(&lease_id);
        }
        // The guess made at the grant gives way to what it has really taken.
        let spent = stride(lease.spent, job.spec.weight);
        let charged = stride(lease.charged, job.spec.weight);
        job.pass = job.pass.saturating_sub(charged) + spent;
        self.requeue(lease.job);
    }

    /// Others have done the lease's block: its worker may drop it.
    pub(crate) fn take_away(&mut self, lease_id: LeaseId, actions: &mut Vec<Action<P>>) {
        self.detach(lease_id);
        let worker = self.leases[&lease_id].worker;
        self.revoke(worker, lease_id, actions);
        self.touched.insert(worker);
    }

    pub(crate) fn revoke(
        &mut self,
        worker: WorkerId,
        lease_id: LeaseId,
        actions: &mut Vec<Action<P>>,
    ) {
        let lease = self.leases.get_mut(&lease_id).expect("a lease");
        lease.revoked = Some(self.now);
        if self.workers[&worker].connected() {
            let lease = lease_id;
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
        if let (Place::Ready(from), Place::Ready(to)) = (before, place) {
            return self.ready.shift(need, id, from, to);
        }
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

/// A lease that stood stands no more. Gives the number of tasks that are free now.
fn fall<P>(id: LeaseId, lease: &mut Lease, worker: &mut Worker, job: &mut Job<P>) -> u64 {
    lease.stands = false;
    worker.dequeue(id, lease);
    job.ends.falls(id, lease);
    let outstanding = std::mem::take(&mut lease.outstanding);
    if outstanding == 0 {
        return 0;
    }
    let (given, freed) = job.blocks.release(lease.node, id);
    assert_eq!(given, outstanding, "a lease lost count of its tasks");
    freed
}
