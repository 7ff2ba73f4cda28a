//! What must hold between two events, checked the slow way.

use crate::jobs::Place;
use crate::scheduler::Scheduler;
use crate::view::Phase;
use manyhands_protocol::LeaseId;
use std::collections::BTreeMap;

impl<P> Scheduler<P> {
    /// Walks through everything.
    pub(crate) fn assert_consistent(&self) {
        self.assert_jobs();
        self.assert_leases();
        for (need, (jobs, slots)) in &self.supply {
            let with =
                |job: &&crate::jobs::Job<P>| job.need() == *need && job.phase == Phase::Running;
            assert_eq!(self.jobs.values().filter(with).count(), *jobs);
            let all = self.workers.values().map(|w| u64::from(w.slots_for(*need)));
            assert_eq!(all.sum::<u64>(), *slots);
        }
        let crew = || self.workers.values().filter(|worker| worker.connected());
        let slots = crew().map(|worker| u64::from(worker.capacity.slots));
        assert_eq!(self.crew, (crew().count() as u64, slots.sum()));
        for (id, worker) in self.workers.iter() {
            let wake = worker.wake.expect("every worker is watched");
            assert!(self.wakes.contains(&(wake, id)));
        }
        assert_eq!(self.wakes.len(), self.workers.len());
        for id in &self.hungry {
            assert!(
                self.workers[id].available(self.now),
                "{id} cannot be hungry"
            );
        }
        if !self.hold && !self.hungry.is_empty() && !self.tail.is_empty() {
            assert!(self.next_deadline().unwrap() <= self.now + self.config.straggler_check_us);
        }
    }

    fn assert_jobs(&self) {
        let mut weight = 0;
        for job in self.jobs.values() {
            job.blocks.assert_consistent();
            if job.phase != Phase::Running {
                assert_eq!(job.place, Place::Nowhere);
                assert!(job.ends.len() == 0 && job.former.is_empty());
                continue;
            }
            assert_eq!(job.place, job.rightful_place(&self.config));
            if job.place != Place::Nowhere {
                weight += u64::from(job.spec.weight.max(1));
            }
            // What each holder holds.
            let mut held: BTreeMap<LeaseId, u64> = BTreeMap::new();
            for (node, piece) in job.blocks.pieces(job.spec.tree.root().unwrap()) {
                for holder in piece.holders.iter() {
                    assert!(self.leases[holder].node.contains(node));
                    *held.entry(*holder).or_default() += job.spec.tree.len(node);
                }
            }
            assert_eq!(self.disowned.contains(&job.id), !job.unfit.is_empty());
            let unfit = job.unfit.keys().map(|id| &self.workers[id]);
            let unfit = unfit.map(|worker| u64::from(worker.slots_for(job.need())));
            let supply = self.supply[&job.need()].1;
            assert_eq!(self.slots_of(job), supply - unfit.sum::<u64>());
            let leases = self.leases.iter().filter(|(_, lease)| lease.job == job.id);
            let (mut standing, mut sorted) = (0, 0);
            for (number, lease) in leases {
                standing += usize::from(lease.stands);
                sorted += usize::from(lease.sorted_at.is_some());
                // Its place is right, or will be when the ends are sorted.
                let placed = lease.sorted_at == Some(lease.end);
                let outdated = self.workers[&lease.worker].outdated;
                assert!(!lease.stands || placed || lease.unsorted || outdated);
                let tasks = held.remove(&number).unwrap_or(0);
                assert_eq!(lease.outstanding, tasks);
                assert_eq!(lease.stands, tasks > 0);
                assert_eq!(lease.stands, !job.former.contains(&number));
            }
            assert!(held.is_empty(), "held by none: {held:?}");
            assert_eq!(
                (standing, sorted),
                (job.ends.len(), job.ends.iter().count())
            );
        }
        assert_eq!(weight, self.active_weight);
    }

    fn assert_leases(&self) {
        let of_jobs: usize = self
            .jobs
            .values()
            .map(|job| job.ends.len() + job.former.len())
            .sum();
        assert_eq!(of_jobs, self.leases.len());
        for (id, worker) in self.workers.iter() {
            if worker.conduct.until().is_some() {
                assert!(worker.queue.is_empty(), "{id} is quarantined");
            }
            let mut left = 0;
            for number in &worker.queue {
                let lease = &self.leases[number];
                assert!(lease.stands);
                assert_eq!(lease.worker, id);
                assert!(
                    worker.outdated || lease.end != crate::Micros::MAX,
                    "{number:?} was not predicted"
                );
                assert!(!self.jobs[&lease.job].unfit.contains_key(&id));
                left += lease.left();
            }
            assert!(worker.queue.iter().is_sorted());
            assert_eq!(worker.load.iter().map(|load| load.left).sum::<u64>(), left);
            let leases: usize = worker.load.iter().map(|load| load.leases).sum();
            assert_eq!(leases, worker.queue.len());
            for number in &worker.former {
                assert!(!self.leases[number].stands);
                assert_eq!(self.leases[number].worker, id);
            }
        }
        let workers = self.workers.values();
        let of_workers: usize = workers.map(|w| w.queue.len() + w.former.len()).sum();
        assert_eq!(of_workers, self.leases.len());
    }
}
