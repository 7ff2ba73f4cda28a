//! What must hold between two events, checked the slow way.

use crate::jobs::Place;
use crate::scheduler::Scheduler;
use crate::view::Phase;
use std::collections::BTreeMap;

impl<P> Scheduler<P> {
    /// Walks through everything.
    pub(crate) fn assert_consistent(&self) {
        self.assert_jobs();
        self.assert_leases();
        let slots: u64 = self.workers.values().map(|w| u64::from(w.slots())).sum();
        assert_eq!(slots, self.slots);
        let wakes = self.workers.iter().map(|(id, w)| (w.wake.unwrap(), *id));
        assert!(wakes.eq(self.workers.keys().map(|id| {
            let wake = self.wakes.iter().find(|(_, worker)| worker == id);
            *wake.expect("every worker is watched")
        })));
        assert_eq!(self.wakes.len(), self.workers.len());
        for id in &self.hungry {
            assert!(
                self.workers[id].available(self.now),
                "{id} cannot be hungry"
            );
        }
        if !self.hungry.is_empty() && !self.tail.is_empty() {
            assert!(self.next_deadline().unwrap() <= self.now + self.config.straggler_check_us);
        }
    }

    fn assert_jobs(&self) {
        let mut weight = 0;
        for job in self.jobs.values() {
            job.blocks.assert_consistent();
            if job.phase != Phase::Running {
                assert_eq!(job.place, Place::Nowhere);
                assert!(job.leases.is_empty());
                continue;
            }
            assert_eq!(job.place, job.rightful_place(&self.config));
            if job.place != Place::Nowhere {
                weight += u64::from(job.spec.weight.max(1));
            }
            // What each holder holds.
            let mut held: BTreeMap<u64, u64> = BTreeMap::new();
            for piece in job.blocks.pieces(job.spec.tree.root().unwrap()) {
                for holder in &piece.holders {
                    assert!(self.leases[holder].node.contains(piece.node));
                    *held.entry(*holder).or_default() += job.spec.tree.len(piece.node);
                }
            }
            for number in &job.leases {
                let lease = &self.leases[number];
                assert_eq!(lease.job, job.id);
                let tasks = held.remove(number).unwrap_or(0);
                assert_eq!(lease.outstanding, tasks);
                assert_eq!(lease.stands, tasks > 0);
                assert_eq!(lease.stands, job.by_end.contains(&(lease.end, *number)));
            }
            assert!(held.is_empty(), "held by none: {held:?}");
            assert!(job.by_end.len() <= job.leases.len());
        }
        assert_eq!(weight, self.active_weight);
    }

    fn assert_leases(&self) {
        let of_jobs: usize = self.jobs.values().map(|job| job.leases.len()).sum();
        assert_eq!(of_jobs, self.leases.len());
        for (id, worker) in &self.workers {
            for number in &worker.queue {
                assert!(self.leases[number].stands);
                assert_eq!(self.leases[number].worker, *id);
            }
            for number in &worker.former {
                assert!(!self.leases[number].stands);
                assert_eq!(self.leases[number].worker, *id);
            }
        }
        let workers = self.workers.values();
        let of_workers: usize = workers.map(|w| w.queue.len() + w.former.len()).sum();
        assert_eq!(of_workers, self.leases.len());
    }
}
