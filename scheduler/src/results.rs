//! Answers of workers: partials, progress, leases given back; and merges.

use crate::config::Config;
use crate::event::{Action, Reason};
use crate::jobs::Job;
use crate::leases::Lease;
use crate::scheduler::Scheduler;
use crate::sizing::target_us;
use crate::time::Micros;
use crate::view::Phase;
use crate::workers::Worker;
use manyhands_protocol::{Failure, JobId, LeaseId, Node, WorkerId};

/// What a message says it is about.
enum Named {
    /// A lease its sender may answer.
    Live,
    /// One that is over, or of an earlier incarnation and not claimed; whoever
    /// speaks of it may not know. Whose it was nobody remembers: an honest worker
    /// may speak late of more leases than could be kept.
    Ended,
    /// Another worker's, or never granted.
    Foreign,
}

impl<P> Scheduler<P> {
    /// `None` for a worker that is not here (any more).
    fn named(&self, id: WorkerId, lease: LeaseId) -> Option<Named> {
        if !self.workers.contains_key(&id) {
            return None;
        }
        Some(match self.leases.get(&lease) {
            Some(live) if live.worker == id => Named::Live,
            None if lease < self.next_lease => Named::Ended,
            Some(_) | None => Named::Foreign,
        })
    }

    pub(crate) fn is_foreign(&self, id: WorkerId, lease: LeaseId) -> bool {
        matches!(self.named(id, lease), Some(Named::Foreign))
    }

    /// Whether the lease a message names can be acted on. A sender that it was
    /// never granted to is expelled.
    pub(crate) fn live(
        &mut self,
        id: WorkerId,
        lease: LeaseId,
        actions: &mut Vec<Action<P>>,
    ) -> bool {
        match self.named(id, lease) {
            Some(Named::Live) => true,
            Some(Named::Ended) | None => false,
            Some(Named::Foreign) => {
                self.expel(id, Reason::ForeignLease(lease), actions);
                false
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
    ) -> Option<Node> {
        if !self.live(id, lease, actions) {
            return None;
        }
        let live = &self.leases[&lease];
        let tree = self.jobs[&live.job].spec.tree;
        if live.contains(tree, node) {
            return Some(tree.canonical(node));
        }
        self.expel(id, Reason::OutsideLease { lease, node }, actions);
        None
    }

    pub(crate) fn partial(
        &mut self,
        id: WorkerId,
        lease_id: LeaseId,
        named: Node,
        (partial, len, busy_us): (P, u64, u64),
        actions: &mut Vec<Action<P>>,
    ) where
        P: Clone,
    {
        let lease = self.leases.get_mut(&lease_id);
        let Some(lease) = lease.filter(|lease| lease.worker == id) else {
            return self.partial_of_none(id, lease_id, named, actions);
        };
        let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
        let tree = job.spec.tree;
        if !lease.contains(tree, named) {
            let (lease, node) = (lease_id, named);
            return self.expel(id, Reason::OutsideLease { lease, node }, actions);
        }
        let node = tree.canonical(named);
        let worker = self.workers.get_mut(&id).expect("a lease has a worker");
        let before = lease.left();
        lease.hand_in(tree, node);
        if lease.stands {
            worker.left_changed(lease, before);
        }
        let used = job.blocks.lacks(node) && job.assembly.takes(node);
        actions.push(Action::Accepted {
            worker: id,
            lease: lease_id,
            node: named,
            used: used.then_some(job.id),
        });
        self.touched.insert(id);
        measure(
            &self.config,
            self.now,
            worker,
            lease,
            job,
            tree.len(node),
            busy_us,
        );
        if !used {
            return self.settle(lease_id, actions);
        }
        let blamed = job.exonerate(node, id);
        worker.credit(job.credit(self.now, id, node, len, busy_us, &mut self.relieved));
        let complete = job
            .assembly
            .insert(job.id, node, partial, len, &self.config, actions);
        let job = job.id;
        self.relieve(lease_id, complete, actions);
        if complete {
            self.end_job(job, Phase::Done, actions);
        } else {
            self.settle(lease_id, actions);
        }
        self.strike(job, blamed, actions);
    }

    /// A partial whose sender cannot answer the lease that it names.
    fn partial_of_none(
        &mut self,
        worker: WorkerId,
        lease: LeaseId,
        node: Node,
        actions: &mut Vec<Action<P>>,
    ) {
        match self.named(worker, lease) {
            // Sent again, as our receipt was lost; or too late. Without an answer the
            // worker would keep it for ever.
            Some(Named::Ended) => actions.push(Action::Accepted {
                worker,
                lease,
                node,
                used: None,
            }),
            Some(Named::Foreign) => self.expel(worker, Reason::ForeignLease(lease), actions),
            Some(Named::Live) => unreachable!("its sender can answer it"),
            None => {}
        }
    }

    /// The holders of what `by` has just handed in have less to do; those that have
    /// nothing left need not go on.
    fn relieve(&mut self, by: LeaseId, complete: bool, actions: &mut Vec<Action<P>>) {
        let mut relieved = std::mem::take(&mut self.relieved);
        for (holder, tasks) in relieved.drain(..) {
            let lease = self.leases.get_mut(&holder).expect("a holder is a lease");
            lease.outstanding -= tasks;
            if lease.outstanding == 0 && holder != by && !complete {
                self.take_away(holder, actions);
            }
        }
        self.relieved = relieved;
    }

    /// After an answer: the lease ends if that was all there is to say of it, and its
    /// job stands where it belongs.
    pub(crate) fn settle(&mut self, lease_id: LeaseId, actions: &mut Vec<Action<P>>) {
        let lease = &self.leases[&lease_id];
        if lease.is_answered() {
            return self.end_lease(lease_id);
        }
        let job = lease.job;
        if lease.stands && lease.outstanding == 0 {
            self.take_away(lease_id, actions);
        }
        self.requeue(job);
    }

    pub(crate) fn returned(&mut self, id: WorkerId, lease: LeaseId, actions: &mut Vec<Action<P>>) {
        if !self.live(id, lease, actions) {
            return;
        }
        let live = &self.leases[&lease];
        let asked = live.revoked.is_some() || !live.stands;
        self.end_lease(lease);
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
        if self.live(id, lease, actions) {
            let live = self.leases.get_mut(&lease).expect("a live lease");
            let before = live.left();
            live.begun |= done > 0;
            live.done_hint = done.min(live.tasks).saturating_sub(live.handed_tasks());
            if live.stands {
                let worker = self.workers.get_mut(&id).expect("it has just answered");
                worker.left_changed(live, before);
            }
        }
    }

    pub(crate) fn merged(
        &mut self,
        id: JobId,
        node: Node,
        (partial, len): (P, u64),
        actions: &mut Vec<Action<P>>,
    ) where
        P: Clone,
    {
        if !self.is_running(id) {
            return;
        }
        let job = self.jobs.get_mut(&id).expect("a running job");
        if job
            .assembly
            .merged(id, node, partial, len, &self.config, actions)
        {
            self.end_job(id, Phase::Done, actions);
        } else {
            self.requeue(id);
        }
    }

    pub(crate) fn merge_failed(
        &mut self,
        id: JobId,
        node: Node,
        failure: Failure,
        actions: &mut Vec<Action<P>>,
    ) {
        if !self.is_running(id) {
            return;
        }
        let job = self.jobs.get_mut(&id).expect("a running job");
        if job.assembly.merge_failed(node) {
            self.job_failed(id, None, failure, actions);
        } else {
            self.requeue(id);
        }
    }
}

/// `tasks` of the lease took until now since the worker's last answer, or since the
/// grant.
fn measure<P>(
    config: &Config,
    now: Micros,
    worker: &mut Worker,
    lease: &mut Lease,
    job: &mut Job<P>,
    tasks: u64,
    busy_us: u64,
) {
    let need = job.need();
    let slots = need.slots(&worker.capacity).max(1);
    let mut elapsed = now.since(lease.granted.max(worker.answered));
    worker.answered = now;
    let computed = busy_us / tasks.min(u64::from(slots));
    if lease.adopted && elapsed < computed {
        // Computed, in part, before it was adopted: this tells no speed.
        return;
    }
    if std::mem::take(&mut lease.idle_before) && busy_us > 0 {
        // Travel, fetching and compiling are in here; the next block's are
        // hidden behind this one's computing.
        worker.round_trip_measured(elapsed.saturating_sub(computed));
        elapsed = computed.clamp(elapsed / 32, elapsed);
    } else if busy_us > 0 && elapsed > computed {
        // It may have waited for this very grant, which is no computing: a
        // far worker would seem slow, be given little, and wait again.
        elapsed = computed.max(elapsed.saturating_sub(worker.distance_us()));
    }
    lease.spent = lease.spent.saturating_add(elapsed * u64::from(slots));
    let half_life = target_us(config, worker.capacity.engine);
    let slots = worker.slots_for(need);
    job.measured(lease.worker, slots, |speed| {
        speed.measured(tasks, elapsed, half_life);
    });
}
