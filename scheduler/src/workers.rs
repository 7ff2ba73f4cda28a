//! What is known of a worker: its capacity, its connection, the leases it
//! holds and held. Decides nothing.

use crate::blocks::LeaseNumber;
use crate::config::Config;
use crate::event::Capacity;
use crate::time::Micros;
use manyhands_protocol::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// Ended leases a worker may still speak of (answers that crossed our message,
/// or were sent again after a lost connection).
const REMEMBERED: usize = 256;

/// Whether a worker can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    Connected,
    /// Gone without a goodbye; may come back.
    Away {
        since: Micros,
        /// Whether its leases still stand.
        grace: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) capacity: Capacity,
    pub(crate) link: Link,
    pub(crate) heard: Micros,
    /// Its entry among the scheduler's timers.
    pub(crate) wake: Option<Micros>,
    /// Leases that stand, in the order granted.
    pub(crate) queue: Vec<LeaseNumber>,
    /// Leases whose block was taken away, but which the worker may still
    /// answer.
    pub(crate) former: BTreeSet<LeaseNumber>,
    /// Leases that ended, the latest.
    pub(crate) ended: BTreeMap<LeaseNumber, JobId>,
    /// Jobs whose header it has.
    pub(crate) known: BTreeSet<JobId>,
    /// When it last handed something in.
    pub(crate) answered: Micros,
    /// Measured, in microseconds.
    pub(crate) round_trip: u64,
    /// Gets no block before.
    pub(crate) rests_until: Micros,
    /// A lease was asked back for it: no further one before.
    pub(crate) asked_until: Micros,
    pub(crate) blocks: u64,
    pub(crate) tasks: u64,
}

impl Worker {
    pub(crate) fn new(now: Micros, capacity: Capacity, config: &Config) -> Self {
        Self {
            capacity,
            link: Link::Connected,
            heard: now,
            wake: None,
            queue: Vec::new(),
            former: BTreeSet::new(),
            ended: BTreeMap::new(),
            known: BTreeSet::new(),
            answered: now,
            round_trip: config.round_trip_us,
            rests_until: now,
            asked_until: now,
            blocks: 0,
            tasks: 0,
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.link == Link::Connected
    }

    /// Threads that compute for us now.
    pub(crate) fn slots(&self) -> u16 {
        if self.connected() {
            self.capacity.slots
        } else {
            0
        }
    }

    pub(crate) fn available(&self, now: Micros) -> bool {
        self.slots() > 0 && self.rests_until <= now
    }

    /// Silence after which it is taken for dead, in microseconds.
    pub(crate) fn deadline_us(&self, config: &Config) -> u64 {
        if self.capacity.hidden {
            config.hidden_deadline_us
        } else {
            config.deadline_us
        }
    }

    /// When something about it is due.
    pub(crate) fn due(&self, now: Micros, config: &Config) -> Micros {
        let due = match self.link {
            Link::Connected => self.heard + self.deadline_us(config),
            Link::Away { since, grace: true } => since + config.grace_us,
            Link::Away { since, .. } => since + config.session_us,
        };
        if self.connected() && self.rests_until > now {
            due.min(self.rests_until)
        } else {
            due
        }
    }

    /// The lease is no more; what the worker may still say of it is harmless.
    pub(crate) fn end(&mut self, lease: LeaseNumber, job: JobId) {
        self.queue.retain(|held| *held != lease);
        self.former.remove(&lease);
        self.ended.insert(lease, job);
        while self.ended.len() > REMEMBERED {
            self.ended.pop_first();
        }
    }

    /// Takes in a measured round trip: falls at once, rises slowly.
    pub(crate) fn round_trip_measured(&mut self, micros: u64) {
        let micros = micros.clamp(100, 1_000_000);
        self.round_trip = if micros < self.round_trip {
            micros
        } else {
            self.round_trip + (micros - self.round_trip) / 8
        };
    }
}
