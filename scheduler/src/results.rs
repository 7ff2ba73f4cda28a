//! Answers of workers: partials, progress, leases given back; and merges.

use crate::blocks::LeaseNumber;
use crate::event::{Action, Reason};
use crate::leases::Lease;
use crate::scheduler::Scheduler;
use crate::sizing::target_us;
use crate::view::Phase;
use manyhands_protocol::{JobId, LeaseId, Node, WorkerId};

/// What a message says it is about.
enum Named {
    /// A lease its sender may answer.
    Live(LeaseNumber),
    /// One that is over; whoever speaks of it did not know.
    Ended(JobId),
    /// Never granted to the sender.
    Foreign,
}

impl<P> Scheduler<P> {
    pub(crate) fn lease_id(&self, counter: LeaseNumber) -> LeaseId {
        LeaseId {
            incarnation: self.config.incarnation,
            counter,
        }
    }

    /// `None` for a worker that is not here (any more).
    fn named(&self, id: WorkerId, lease: LeaseId) -> Option<Named> {
        let worker = self.workers.get(&id)?;
        if lease.incarnation != self.config.incarnation {
            return Some(Named::Foreign);
        }
        let live = self.leases.get(&lease.counter);
        Some(match live {
            Some(live) if live.worker == id => Named::Live(lease.counter),
            Some(_) => Named::Foreign,
            None => match worker.ended.get(&lease.counter) {
                Some(job) => Named::Ended(*job),
                None => Named::Foreign,
            },
        })
    }

    pub(crate) fn is_foreign(&self, id: WorkerId, lease: LeaseId) -> bool {
        matches!(self.named(id, lease), Some(Named::Foreign))
    }

    /// The lease a message names, if it can be acted on. A sender that it was
    /// never granted to is expelled.
    pub(crate) fn live(
        &mut self,
        id: WorkerId,
        lease: LeaseId,
        actions: &mut Vec<Action<P>>,
    ) -> Option<LeaseNumber> {
        match self.named(id, lease)? {
            Named::Live(number) => Some(number),
            Named::Ended(_) => None,
            Named::Foreign => {
                self.expel(id, Reason::ForeignLease(lease), actions);
                None
            }
        }
    }

    /// As [`live`](Self::live), for a message about a node; gives the node in
    /// canonical form. A sender that leaves its block is expelled.
    pub(crate) fn live_node(
        &mut self,
        id: WorkerId,
        lease: LeaseId,
        node: Node,
        actions: &mut Vec<Action<P>>,
    ) -> Option<(LeaseNumber, Node)> {
        let number = self.live(id, lease, actions)?;
        let live = &self.leases[&number];
        let tree = self.jobs[&live.job].spec.tree;
        if live.contains(tree, node) {
            return Some((number, tree.canonical(node)));
        }
        self.expel(id, Reason::OutsideLease { lease, node }, actions);
        None
    }

    pub(crate) fn partial(
        &mut self,
        worker: WorkerId,
        lease: LeaseId,
        named: Node,
        (partial, len, busy_us): (P, u64, u64),
        actions: &mut Vec<Action<P>>,
    ) {
        if let Some(Named::Ended(job)) = self.named(worker, lease) {
            // Sent again: our receipt was lost. After `Forget` none is due.
            if self.is_running(job) {
                actions.push(Action::Accepted {
                    worker,
                    lease,
                    job,
                    node: named,
                    used: false,
                });
            }
            return;
        }
        let Some((number, node)) = self.live_node(worker, lease, named, actions) else {
            return;
        };
        let live = self.leases.get_mut(&number).expect("a live lease");
        let id = live.job;
        live.hand_in(node);
        let job = self.jobs.get_mut(&id).expect("a lease has a job");
        let tasks = job.spec.tree.len(node);
        let used = job.blocks.lacks(node) && !job.assembly.covers(node);
        actions.push(Action::Accepted {
            worker,
            lease,
            job: id,
            node: named,
            used,
        });
        self.measure(worker, number, tasks, busy_us);
        self.touched.insert(worker);
        if used && self.take_in(number, node, (partial, len, busy_us), actions) {
            self.end_job(id, Phase::Done, actions);
            return;
        }
        self.settle(number, actions);
        self.requeue(id);
    }

    /// A partial becomes part of the result. Whether that is complete now.
    fn take_in(
        &mut self,
        number: LeaseNumber,
        node: Node,
        (partial, len, busy_us): (P, u64, u64),
        actions: &mut Vec<Action<P>>,
    ) -> bool {
        let Lease {
            worker: from, job, ..
        } = self.leases[&number];
        let job = self.jobs.get_mut(&job).expect("a lease has a job");
        let (fresh, relieved) = job.blocks.complete(node);
        assert!(fresh > 0, "a partial that adds nothing was used");
        let range = job.spec.tree.range(node);
        while let Some((task, _)) = job.attempts.range(range.clone()).next() {
            let task = *task;
            job.attempts.remove(&task);
        }
        job.output.0 = job.output.0.saturating_add(len);
        job.output.1 += job.spec.tree.len(node);
        job.answered = Some(self.now);
        let member = job.members.entry(from).or_default();
        member.blocks += 1;
        member.tasks += fresh;
        member.busy_us = member.busy_us.saturating_add(busy_us);
        let worker = self.workers.get_mut(&from).expect("a lease has a worker");
        worker.blocks += 1;
        worker.tasks += fresh;
        let complete = job.assembly.insert(job.id, node, partial, len, actions);
        for (holder, tasks) in relieved {
            let lease = self.leases.get_mut(&holder).expect("a holder is a lease");
            lease.outstanding -= tasks;
            if lease.outstanding == 0 && holder != number && !complete {
                self.take_away(holder, actions);
            }
        }
        complete
    }

    /// After an answer: the lease ends if that was all there is to say of it.
    pub(crate) fn settle(&mut self, number: LeaseNumber, actions: &mut Vec<Action<P>>) {
        let lease = &self.leases[&number];
        if lease.is_answered() {
            self.end_lease(number);
        } else if lease.stands && lease.outstanding == 0 {
            self.take_away(number, actions);
        }
    }

    /// `tasks` of the lease took until now since the worker's last answer, or
    /// since the grant.
    fn measure(&mut self, id: WorkerId, number: LeaseNumber, tasks: u64, busy_us: u64) {
        let worker = self.workers.get_mut(&id).expect("it has just answered");
        let lease = self.leases.get_mut(&number).expect("a live lease");
        let slots = worker.capacity.slots.max(1);
        let mut elapsed = self.now.since(lease.granted.max(worker.answered));
        worker.answered = self.now;
        if std::mem::take(&mut lease.idle_before) && busy_us > 0 {
            // Travel, fetching and compiling are in here; the next block's are
            // hidden behind this one's computing.
            let computed = busy_us / tasks.min(u64::from(slots));
            worker.round_trip_measured(elapsed.saturating_sub(computed));
            elapsed = computed.clamp(elapsed / 32, elapsed);
        }
        lease.spent = lease.spent.saturating_add(elapsed * u64::from(slots));
        let half_life = target_us(&self.config, worker.capacity.engine);
        let slots = worker.slots();
        let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
        let member = job.members.entry(id).or_default();
        member.speed.measured(tasks, elapsed, half_life);
        job.count_speed(id, slots);
    }

    pub(crate) fn returned(&mut self, id: WorkerId, lease: LeaseId, actions: &mut Vec<Action<P>>) {
        let Some(number) = self.live(id, lease, actions) else {
            return;
        };
        let lease = &self.leases[&number];
        let asked = lease.revoked.is_some() || !lease.stands;
        self.end_lease(number);
        self.touched.insert(id);
        if !asked {
            // It cannot, or will not, compute just now: no use in asking at
            // once again.
            let worker = self.workers.get_mut(&id).expect("it has just answered");
            worker.rests_until = self.now + self.config.rest_us;
            self.arm(id);
        }
    }

    pub(crate) fn progress(
        &mut self,
        id: WorkerId,
        lease: LeaseId,
        done: u64,
        actions: &mut Vec<Action<P>>,
    ) {
        if let Some(number) = self.live(id, lease, actions) {
            let lease = self.leases.get_mut(&number).expect("a live lease");
            lease.begun |= done > 0;
            lease.done_hint = done.min(lease.tasks).saturating_sub(lease.handed.tasks());
        }
    }

    pub(crate) fn merged(
        &mut self,
        id: JobId,
        node: Node,
        partial: P,
        actions: &mut Vec<Action<P>>,
    ) {
        if !self.is_running(id) {
            return;
        }
        let job = self.jobs.get_mut(&id).expect("a running job");
        if job.assembly.merged(id, node, partial, actions) {
            self.end_job(id, Phase::Done, actions);
        } else {
            self.requeue(id);
        }
    }
}
