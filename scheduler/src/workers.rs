//! What is known of a worker: its capacity, its connection, the leases it
//! holds and held. Decides nothing.

use crate::config::Config;
use crate::event::Capacity;
use crate::fairness::Need;
use crate::leases::Lease;
use crate::pulse::Pulse;
use crate::quarantine::Conduct;
use crate::time::Micros;
use manyhands_protocol::{JobId, LeaseId};
use std::collections::{BTreeSet, VecDeque};

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

/// What a worker's queue holds of one job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    pub(crate) job: JobId,
    pub(crate) leases: usize,
    /// Tasks of the leases, done or not.
    pub(crate) tasks: u64,
    /// Tasks that it still has to compute.
    pub(crate) left: u64,
}

/// What takes longer is not prefetched for.
const LONGEST_TRIP_US: u64 = 2_000_000;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) capacity: Capacity,
    pub(crate) link: Link,
    pub(crate) heard: Micros,
    /// Its entry among the scheduler's timers.
    pub(crate) wake: Option<Micros>,
    /// Leases that stand, in the order granted: that of their ids.
    pub(crate) queue: VecDeque<LeaseId>,
    /// The queue's sums, so that nobody needs to walk through it.
    pub(crate) load: Vec<Load>,
    /// Changes since the ends of the whole queue were predicted.
    pub(crate) stale: usize,
    /// Whether the scheduler has noted that its leases are to be predicted.
    pub(crate) outdated: bool,
    /// Leases whose block was taken away, but which the worker may still
    /// answer.
    pub(crate) former: BTreeSet<LeaseId>,
    /// Jobs whose header it has.
    pub(crate) known: BTreeSet<JobId>,
    /// When it last handed something in.
    pub(crate) answered: Micros,
    /// Measured, in microseconds.
    pub(crate) round_trip: u64,
    pub(crate) pulse: Pulse,
    /// Gets no block before.
    pub(crate) rests_until: Micros,
    /// A lease was asked back for it: no further one before.
    pub(crate) asked_until: Micros,
    pub(crate) conduct: Conduct,
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
            queue: VecDeque::new(),
            load: Vec::new(),
            stale: 0,
            outdated: false,
            former: BTreeSet::new(),
            known: BTreeSet::new(),
            answered: now,
            round_trip: config.round_trip_us,
            pulse: Pulse::default(),
            rests_until: now,
            asked_until: now,
            conduct: Conduct::default(),
            blocks: 0,
            tasks: 0,
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.link == Link::Connected
    }

    /// Something of it became part of a result: so many tasks.
    pub(crate) fn credit(&mut self, tasks: u64) {
        self.conduct.forgive();
        self.blocks += 1;
        self.tasks += tasks;
    }

    /// What it adds to the workers that are connected, and to their slots.
    pub(crate) fn in_crew(&self) -> (u64, u64) {
        if self.connected() {
            (1, u64::from(self.capacity.slots))
        } else {
            (0, 0)
        }
    }

    /// Threads that compute for us now.
    pub(crate) fn slots(&self) -> u16 {
        if self.connected() && self.conduct.until().is_none() {
            self.capacity.slots
        } else {
            0
        }
    }

    /// How many guests of such a need it may compute for us now.
    pub(crate) fn slots_for(&self, need: Need) -> u16 {
        if self.slots() == 0 {
            0
        } else {
            need.slots(&self.capacity)
        }
    }

    /// Whether it is here, or may be back at once.
    pub(crate) fn present(&self) -> bool {
        !matches!(self.link, Link::Away { grace: false, .. })
    }

    pub(crate) fn available(&self, now: Micros) -> bool {
        self.slots() > 0 && self.rests_until <= now && !self.pulse.lost
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
            Link::Connected => {
                let silent = self.heard + self.deadline_us(config);
                self.look_at().map_or(silent, |look| look.min(silent))
            }
            Link::Away { since, grace: true } => since + config.grace_us,
            Link::Away { since, .. } => since + config.session_us,
        };
        let due = self.conduct.until().map_or(due, |until| due.min(until));
        if self.connected() && self.rests_until > now {
            due.min(self.rests_until)
        } else {
            due
        }
    }

    /// A lease stands from now on.
    pub(crate) fn enqueue(&mut self, id: LeaseId, lease: &Lease) {
        if self.queue.back().is_none_or(|last| *last < id) {
            self.queue.push_back(id);
        } else {
            let at = self.queue.binary_search(&id);
            self.queue.insert(at.expect_err("a lease stands once"), id);
            // What comes after it ends later than predicted.
            self.stale = self.stale.saturating_add(self.queue.len());
        }
        let known = self.load.iter().position(|load| load.job == lease.job);
        let at = known.unwrap_or_else(|| {
            self.load.push(Load {
                job: lease.job,
                leases: 0,
                tasks: 0,
                left: 0,
            });
            self.load.len() - 1
        });
        let load = &mut self.load[at];
        load.leases += 1;
        load.tasks += lease.tasks;
        load.left += lease.left();
    }

    /// A lease stands no more.
    pub(crate) fn dequeue(&mut self, id: LeaseId, lease: &Lease) {
        if self.queue.front() == Some(&id) {
            self.queue.pop_front();
        } else {
            let at = self.queue.binary_search(&id).expect("it stood");
            self.queue.remove(at);
        }
        let at = self.load_at(lease.job);
        let load = &mut self.load[at];
        load.leases -= 1;
        load.tasks -= lease.tasks;
        load.left -= lease.left();
        if load.leases == 0 {
            assert_eq!(load.left, 0, "a load lost count of its tasks");
            self.load.swap_remove(at);
        }
    }

    /// A lease that stands had `before` tasks left and has fewer, or more, now.
    pub(crate) fn left_changed(&mut self, lease: &Lease, before: u64) {
        let at = self.load_at(lease.job);
        let load = &mut self.load[at];
        load.left = load.left - before + lease.left();
    }

    fn load_at(&self, job: JobId) -> usize {
        let at = self.load.iter().position(|load| load.job == job);
        at.expect("a lease that stands is counted")
    }

    /// Takes in what a ping took: falls at once, rises slowly.
    pub(crate) fn trip_measured(&mut self, micros: u64, first: bool) {
        let micros = micros.clamp(100, LONGEST_TRIP_US);
        self.round_trip = if first || micros < self.round_trip {
            micros
        } else {
            self.round_trip + (micros - self.round_trip) / 4
        };
    }

    /// Takes in what a block took beyond its computing, until a ping tells more:
    /// falls at once, rises slowly.
    pub(crate) fn round_trip_measured(&mut self, micros: u64) {
        if self.pulse.is_measured() {
            return;
        }
        let micros = micros.clamp(100, 1_000_000);
        self.round_trip = if micros < self.round_trip {
            micros
        } else {
            self.round_trip + (micros - self.round_trip) / 8
        };
    }
}
