//! What a coordinator that was started anew finds: jobs as they were stored,
//! workers with leases that an earlier incarnation granted.

use crate::event::{Action, JobSpec, Reason};
use crate::leases::Lease;
use crate::scheduler::Scheduler;
use crate::view::Phase;
use manyhands_protocol::{JobId, LeaseId, MergeMode, Node, WorkerId};
use std::collections::BTreeSet;

impl<P> Scheduler<P> {
    /// The job goes on as if its partials had just been handed in.
    pub(crate) fn job_restored(
        &mut self,
        id: JobId,
        spec: JobSpec,
        prefix: u64,
        partials: Vec<(Node, P, u64)>,
        actions: &mut Vec<Action<P>>,
    ) where
        P: Clone,
    {
        let tree = spec.tree;
        let most = match spec.merge {
            MergeMode::Reduce => 0,
            MergeMode::Concat => tree.tasks(),
        };
        assert!(prefix <= most, "job {id} cannot begin at task {prefix}");
        self.admit(id, spec, prefix);
        if prefix == tree.tasks() {
            assert!(partials.is_empty(), "job {id} has more partials than tasks");
            self.end_empty_job(id, actions);
            return;
        }
        let job = self.jobs.get_mut(&id).expect("just admitted");
        let mut complete = false;
        for (node, partial, len) in partials {
            assert!(
                tree.has(node) && tree.canonical(node) == node,
                "job {id} has no {node:?}"
            );
            let fresh = job.blocks.complete(node, &mut Vec::new());
            assert_eq!(fresh, tree.len(node), "{node:?} of job {id} is there twice");
            job.count_output(fresh, len);
            complete = job
                .assembly
                .insert(id, node, partial, len, &self.config, actions);
        }
        if complete {
            self.end_job(id, Phase::Done, actions);
        } else {
            self.requeue(id);
        }
    }

    /// What is wrong with the claims of a worker that joins, if anything is.
    pub(crate) fn refuted(&self, held: &[(LeaseId, JobId, Node)]) -> Option<Reason> {
        let mut seen = BTreeSet::new();
        for (lease, job, node) in held {
            let (lease, node) = (*lease, *node);
            if lease >= self.next_lease {
                return Some(Reason::ForeignLease(lease));
            }
            if self.leases.contains_key(&lease) || !seen.insert(lease) {
                return Some(Reason::LeaseHeld(lease));
            }
            let tree = self.jobs.get(job).map(|job| job.spec.tree);
            if tree.is_some_and(|tree| !tree.has(node)) {
                return Some(Reason::OutsideLease { lease, node });
            }
        }
        None
    }

    /// Takes the leases over that a worker, who has just joined, still holds.
    pub(crate) fn adopt(
        &mut self,
        id: WorkerId,
        held: &[(LeaseId, JobId, Node)],
        actions: &mut Vec<Action<P>>,
    ) {
        let mut over = BTreeSet::new();
        for (lease, job, node) in held {
            if self.is_running(*job) {
                self.adopt_lease(id, *lease, *job, *node, actions);
                continue;
            }
            over.insert(*job);
        }
        // A paused worker is not looked at for grants, and its leases would
        // never be overdue.
        self.outdate(id);
        let worker = id;
        actions.extend(over.into_iter().map(|job| Action::Forget { worker, job }));
    }

    fn adopt_lease(
        &mut self,
        id: WorkerId,
        lease_id: LeaseId,
        job_id: JobId,
        node: Node,
        actions: &mut Vec<Action<P>>,
    ) {
        let worker = self.workers.get_mut(&id).expect("it has just joined");
        let job = self.jobs.get_mut(&job_id).expect("a running job");
        let tree = job.spec.tree;
        let mut lease = Lease::new(id, job_id, tree, tree.canonical(node), self.now);
        (lease.adopted, lease.stands, lease.outstanding) = (true, false, 0);
        job.former.insert(lease_id);
        job.members.get_or_default(id);
        worker.former.insert(lease_id);
        worker.known.insert(job_id);
        self.leases.insert(lease_id, Box::new(lease));
        self.hold_again(id, lease_id, actions);
    }
}
