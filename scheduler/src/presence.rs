//! Workers come, fall silent, come back and leave.

use crate::event::{Action, Capacity, Reason};
use crate::scheduler::Scheduler;
use crate::workers::{Link, Worker};
use manyhands_protocol::{JobId, LeaseId, Node, WorkerId};
use std::collections::BTreeSet;

impl<P> Scheduler<P> {
    pub(crate) fn worker_joined(
        &mut self,
        id: WorkerId,
        capacity: Capacity,
        held: &[(LeaseId, JobId, Node)],
        actions: &mut Vec<Action<P>>,
    ) {
        if let Some(reason) = self.refuted(held) {
            self.expel(id, reason, actions);
            return;
        }
        let worker = Worker::new(self.now, capacity, &self.config);
        for (need, (_, slots)) in &mut self.supply {
            *slots += u64::from(worker.slots_for(*need));
        }
        let (one, slots) = worker.in_crew();
        self.crew = (self.crew.0 + one, self.crew.1 + slots);
        let before = self.workers.insert(id, worker);
        assert!(before.is_none(), "worker {id} joined twice");
        self.touched.insert(id);
        self.arm(id);
        self.ping_anew(id, actions);
        self.adopt(id, held, actions);
    }

    pub(crate) fn heard(&mut self, id: WorkerId) {
        // Its timer finds out when it fires.
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.heard = self.now;
            if std::mem::take(&mut worker.pulse.lost) {
                self.found.push(id);
            }
        }
    }

    pub(crate) fn worker_capacity(&mut self, id: WorkerId, slots: u16, hidden: bool) {
        self.heard(id);
        self.change(id, |worker| {
            worker.capacity.slots = slots;
            worker.capacity.hidden = hidden;
        });
    }

    pub(crate) fn worker_disconnected(&mut self, id: WorkerId) {
        let since = self.now;
        self.change(id, |worker| {
            if worker.connected() {
                worker.link = Link::Away { since, grace: true };
            }
        });
    }

    pub(crate) fn worker_resumed(
        &mut self,
        id: WorkerId,
        capacity: Capacity,
        held: &[LeaseId],
        actions: &mut Vec<Action<P>>,
    ) {
        if !self.workers.contains_key(&id) {
            return;
        }
        self.heard(id);
        for lease in held {
            if self.is_foreign(id, *lease) {
                self.expel(id, Reason::ForeignLease(*lease), actions);
                return;
            }
        }
        self.change(id, |worker| {
            worker.link = Link::Connected;
            worker.capacity = capacity;
        });
        self.ping_anew(id, actions);
        let held: BTreeSet<LeaseId> = held.iter().copied().collect();
        let worker = &self.workers[&id];
        let (standing, former) = (worker.queue.clone(), worker.former.clone());
        for lease_id in standing.into_iter().chain(former) {
            if held.contains(&lease_id) {
                self.hold_again(id, lease_id, actions);
            } else {
                self.end_lease(lease_id);
            }
        }
        let jobs = self.workers[&id].known.clone();
        for job in jobs {
            if !self.is_running(job) {
                let worker = self.workers.get_mut(&id).expect("it has just resumed");
                worker.known.remove(&job);
                actions.push(Action::Forget { worker: id, job });
            }
        }
    }

    /// A worker that is back still works at a lease: its block is its own again
    /// as far as it is not done.
    pub(crate) fn hold_again(
        &mut self,
        id: WorkerId,
        lease_id: LeaseId,
        actions: &mut Vec<Action<P>>,
    ) {
        let lease = self.leases.get_mut(&lease_id).expect("a worker's lease");
        lease.revoked = None;
        if lease.stands {
            return;
        }
        if self.workers[&id].conduct.until().is_some() {
            self.revoke(id, lease_id, actions);
            return;
        }
        let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
        lease.outstanding = job.blocks.lease_again(lease.node, lease_id);
        if lease.outstanding == 0 {
            self.revoke(id, lease_id, actions);
            return;
        }
        lease.stands = true;
        job.former.remove(&lease_id);
        job.ends.stands(lease);
        let worker = self.workers.get_mut(&id).expect("it has just resumed");
        worker.former.remove(&lease_id);
        worker.enqueue(lease_id, lease);
        let job = lease.job;
        self.outdate(id);
        self.requeue(job);
    }

    /// The worker broke the protocol.
    pub(crate) fn expel(&mut self, id: WorkerId, reason: Reason, actions: &mut Vec<Action<P>>) {
        assert!(reason.ends_session());
        self.remove_worker(id, actions);
        actions.push(Action::Disconnect { worker: id, reason });
    }

    /// The session is over: leases are free.
    pub(crate) fn remove_worker(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        if !self.workers.contains_key(&id) {
            return;
        }
        let since = self.now;
        self.change(id, |worker| {
            worker.link = Link::Away {
                since,
                grace: false,
            };
        });
        self.free_leases(id);
        let former = self.workers[&id].former.clone();
        for lease_id in former {
            self.end_lease(lease_id);
        }
        let worker = self.workers.remove(&id).expect("just seen");
        if let Some(at) = worker.wake {
            self.wakes.remove(&(at, id));
        }
        self.touched.remove(&id);
        self.hungry.remove(&id);
        self.idle.remove(&id);
        self.forget_outdated();
        for job in self.disowned.clone() {
            let job = self.jobs.get_mut(&job).expect("a running job");
            job.forget_unfit(id);
        }
        self.one_less(actions);
    }

    /// Takes the blocks of all its leases away; answers to them stay welcome.
    pub(crate) fn free_leases(&mut self, id: WorkerId) {
        for lease_id in self.workers[&id].queue.clone() {
            let freed = self.detach(lease_id);
            let job = self.leases[&lease_id].job;
            if freed > 0 {
                self.jobs.get_mut(&job).expect("a lease has a job").retries += 1;
            }
            self.requeue(job);
        }
    }

    /// Changes what decides about a worker's slots and timers.
    pub(crate) fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let before = worker.slots();
        let (one, slots) = worker.in_crew();
        self.crew = (self.crew.0 - one, self.crew.1 - slots);
        for (need, (_, slots)) in &mut self.supply {
            *slots -= u64::from(worker.slots_for(*need));
        }
        change(worker);
        let (one, slots) = worker.in_crew();
        self.crew = (self.crew.0 + one, self.crew.1 + slots);
        for (need, (_, slots)) in &mut self.supply {
            *slots += u64::from(worker.slots_for(*need));
        }
        for job in &worker.known {
            if let Some(job) = self.jobs.get_mut(job) {
                job.count_speed(id, worker.slots_for(job.need()));
            }
        }
        // Who waits for others to take what failed here need not any more.
        self.news |= worker.slots() < before;
        self.touched.insert(id);
        self.arm(id);
    }

    /// Sets the worker's timer to when something is due.
    pub(crate) fn arm(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).expect("a worker to watch");
        let due = worker.due(self.now, &self.config);
        if let Some(before) = worker.wake.replace(due) {
            self.wakes.remove(&(before, id));
        }
        self.wakes.insert((due, id));
    }

    /// Looks at the workers whose time has come.
    pub(crate) fn check_timers(&mut self, actions: &mut Vec<Action<P>>) {
        while let Some((at, id)) = self.wakes.first().copied() {
            if at > self.now {
                break;
            }
            self.wakes.pop_first();
            let worker = self.workers.get_mut(&id).expect("a watched worker");
            worker.wake = None;
            self.time_has_come(id, actions);
        }
    }

    fn time_has_come(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        let now = self.now;
        let worker = &self.workers[&id];
        let silence = worker.deadline_us(&self.config);
        if worker.conduct.until().is_some_and(|until| until <= now) {
            // What else is due comes next.
            self.end_quarantine(id);
            return;
        }
        match worker.link {
            Link::Connected if now.since(worker.heard) >= silence => {
                let reason = Reason::Silent(silence / 1_000_000);
                actions.push(Action::Disconnect { worker: id, reason });
                let (since, grace) = (now, false);
                self.change(id, |worker| worker.link = Link::Away { since, grace });
                self.free_leases(id);
                self.one_less(actions);
            }
            Link::Connected => {
                self.look_for_life(id, actions);
                self.touched.insert(id);
                self.arm(id);
            }
            Link::Away { since, .. } if now.since(since) >= self.config.session_us => {
                self.remove_worker(id, actions);
                actions.push(Action::SessionEnded { worker: id });
            }
            Link::Away { since, .. } => {
                let grace = now.since(since) < self.config.grace_us;
                self.change(id, |worker| worker.link = Link::Away { since, grace });
                if !grace {
                    self.free_leases(id);
                    self.one_less(actions);
                }
            }
        }
    }
}
