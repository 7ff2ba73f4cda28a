//! When the leases of a job will end, in order: for those who look for
//! stragglers. Nobody does while something is free, and then the order of ends
//! that change at every answer is not kept up: it is made when it is asked for.

use crate::leases::{Lease, Leases};
use crate::time::Micros;
use manyhands_protocol::LeaseId;
use std::collections::BTreeSet;

/// The leases of one job that stand.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// By the end that they had when last looked at: their `sorted_at`.
    sorted: BTreeSet<(Micros, LeaseId)>,
    /// Those whose end is new since then, once each, and some that are over.
    unsorted: Vec<LeaseId>,
    standing: usize,
}

impl Ends {
    /// How many leases stand.
    pub(crate) fn len(&self) -> usize {
        self.standing
    }

    /// The lease stands from now on; its end is to be predicted.
    pub(crate) fn stands(&mut self, lease: &mut Lease) {
        self.standing += 1;
        lease.end = Micros::MAX;
    }

    /// The lease's end is another now.
    pub(crate) fn changed(&mut self, id: LeaseId, lease: &mut Lease) {
        if !std::mem::replace(&mut lease.unsorted, true) {
            self.unsorted.push(id);
        }
    }

    /// The lease stands no more.
    pub(crate) fn falls(&mut self, id: LeaseId, lease: &mut Lease) {
        self.standing -= 1;
        if let Some(at) = lease.sorted_at.take() {
            assert!(self.sorted.remove(&(at, id)), "unknown end");
        }
    }

    /// Forgets what is over, when that is more than stands: to be called now and
    /// then while ends change.
    pub(crate) fn tidy(&mut self, leases: &mut Leases) {
        if self.unsorted.len() < 2 * self.standing + 64 {
            return;
        }
        self.unsorted.retain(|id| {
            let Some(lease) = leases.get_mut(id) else {
                return false;
            };
            lease.unsorted = lease.stands;
            lease.stands
        });
    }

    /// Puts all in order, once all have been predicted.
    pub(crate) fn sort(&mut self, leases: &mut Leases) {
        // Made in one go, a set takes a fraction of the time.
        let mut fresh = Vec::new();
        for id in self.unsorted.drain(..) {
            let Some(lease) = leases.get_mut(&id) else {
                continue;
            };
            lease.unsorted = false;
            if !lease.stands || lease.sorted_at == Some(lease.end) {
                continue;
            }
            if let Some(before) = lease.sorted_at.replace(lease.end) {
                assert!(self.sorted.remove(&(before, id)), "unknown end");
            }
            fresh.push((lease.end, id));
        }
        if self.sorted.is_empty() {
            self.sorted = fresh.into_iter().collect();
        } else {
            self.sorted.extend(fresh);
        }
        assert_eq!(self.sorted.len(), self.standing, "an end was lost");
    }

    /// The leases, the first to end first, as they were last sorted.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Micros, LeaseId)> + '_ {
        self.sorted.iter().copied()
    }
}
