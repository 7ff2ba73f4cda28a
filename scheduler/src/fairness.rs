//! Weighted fairness between jobs: stride scheduling over predicted slot time.
//! Knows neither blocks nor workers' leases.

use crate::event::{Capacity, JobSpec};
use manyhands_protocol::JobId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Slot time a job has had, divided by its weight: who has least is next.
pub(crate) type Pass = u128;

/// Slot microseconds as a pass of a job of this weight.
pub(crate) fn stride(slot_us: u64, weight: u32) -> Pass {
    // The factor keeps small blocks of heavy jobs from costing nothing.
    Pass::from(slot_us) * 1024 / Pass::from(weight.max(1))
}

/// What a job asks of a worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Need {
    pub(crate) memory: u64,
    pub(crate) simd: bool,
}

impl Need {
    pub(crate) fn of(spec: &JobSpec) -> Self {
        Self {
            memory: spec.memory,
            simd: spec.simd,
        }
    }

    pub(crate) fn fits(self, capacity: &Capacity) -> bool {
        self.memory <= capacity.memory && (capacity.simd || !self.simd)
    }

    /// How many of such guests can run on a worker at once: one for each slot,
    /// as far as its memory goes.
    pub(crate) fn slots(self, capacity: &Capacity) -> u16 {
        if !self.fits(capacity) {
            return 0;
        }
        let guests = capacity.memory.checked_div(self.memory);
        let guests = guests.and_then(|guests| u16::try_from(guests).ok());
        guests.map_or(capacity.slots, |guests| guests.min(capacity.slots))
    }
}

/// Jobs by their pass, apart by what they need, so that a worker that many jobs
/// do not fit need not step over each.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lanes: BTreeMap<Need, BTreeSet<(Pass, JobId)>>,
}

impl Queue {
    pub(crate) fn insert(&mut self, need: Need, pass: Pass, job: JobId) {
        self.lanes.entry(need).or_default().insert((pass, job));
    }

    pub(crate) fn remove(&mut self, need: Need, pass: Pass, job: JobId) {
        let lane = self.lanes.get_mut(&need).expect("a queued job has a lane");
        assert!(lane.remove(&(pass, job)), "job {job} was not queued");
        if lane.is_empty() {
            self.lanes.remove(&need);
        }
    }

    /// As to remove a job and to insert it with another pass.
    pub(crate) fn shift(&mut self, need: Need, job: JobId, from: Pass, to: Pass) {
        let lane = self.lanes.get_mut(&need).expect("a queued job has a lane");
        assert!(lane.remove(&(from, job)), "job {job} was not queued");
        lane.insert((to, job));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The job with the least pass after `after` that fits.
    pub(crate) fn next(
        &self,
        capacity: &Capacity,
        after: Option<(Pass, JobId)>,
    ) -> Option<(Pass, JobId)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let fitting = self.lanes.iter().filter(|(need, _)| need.fits(capacity));
        let firsts = fitting.filter_map(|(_, lane)| lane.range((from, Bound::Unbounded)).next());
        firsts.min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::message::EngineKind;

    #[test]
    fn the_least_pass_that_fits_is_next() {
        let need = |memory, simd| Need { memory, simd };
        let mut queue = Queue::default();
        queue.insert(need(100, false), 5, JobId(1));
        queue.insert(need(10, true), 1, JobId(2));
        queue.insert(need(10, false), 5, JobId(3));
        let mut capacity = Capacity {
            engine: EngineKind::Native,
            slots: 1,
            memory: 100,
            simd: false,
            hidden: false,
        };
        assert_eq!(queue.next(&capacity, None), Some((5, JobId(1))));
        let after = queue.next(&capacity, Some((5, JobId(1))));
        assert_eq!(after, Some((5, JobId(3))));
        assert_eq!(queue.next(&capacity, after), None);
        capacity.simd = true;
        assert_eq!(queue.next(&capacity, None), Some((1, JobId(2))));
        queue.remove(need(10, true), 1, JobId(2));
        capacity.memory = 50;
        assert_eq!(queue.next(&capacity, None), Some((5, JobId(3))));
    }

    #[test]
    fn weight_divides() {
        assert_eq!(stride(1000, 100), 10 * stride(1000, 1000));
        assert_eq!(stride(1, 0), 1024);
    }
}
