//! Who holds a piece: nearly always one lease, which then costs no allocation.

use manyhands_protocol::LeaseId;
use std::ops::Deref;

/// The leases that hold a piece: at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Holders {
    One(LeaseId),
    /// Two or more.
    Several(Vec<LeaseId>),
}

impl Holders {
    pub(crate) fn push(&mut self, lease: LeaseId) {
        match self {
            Self::One(first) => *self = Self::Several(vec![*first, lease]),
            Self::Several(leases) => leases.push(lease),
        }
    }

    /// Removes one of several.
    pub(crate) fn remove(&mut self, lease: LeaseId) {
        let Self::Several(leases) = self else {
            panic!("a piece loses its only holder {lease:?}");
        };
        leases.retain(|held| *held != lease);
        if let [last] = leases[..] {
            *self = Self::One(last);
        }
    }
}

impl Deref for Holders {
    type Target = [LeaseId];
    fn deref(&self) -> &[LeaseId] {
        match self {
            Self::One(lease) => std::slice::from_ref(lease),
            Self::Several(leases) => leases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::Incarnation;

    #[test]
    fn one_and_several() {
        let lease = |counter| LeaseId {
            incarnation: Incarnation(1),
            counter,
        };
        let mut holders = Holders::One(lease(1));
        assert_eq!(holders[..], [lease(1)]);
        holders.push(lease(2));
        holders.push(lease(3));
        assert_eq!(holders[..], [lease(1), lease(2), lease(3)]);
        holders.remove(lease(1));
        assert_eq!(holders[..], [lease(2), lease(3)]);
        holders.remove(lease(3));
        assert_eq!(holders, Holders::One(lease(2)));
        assert_eq!(size_of::<Holders>(), 24);
    }
}
