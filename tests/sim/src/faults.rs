//! What goes wrong, and when: drawn from the seed, counted by kind, and over at
//! some time, after which everything has to end well.

use crate::coordinator::Source;
use crate::network::Side;
use crate::worker::Machine;
use crate::world::{Event, Peer, PeerId, World};
use manyhands_worker_core::{Input, Micros};
use std::collections::BTreeMap;

/// A kind of fault that is drawn by chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Cut,
    HalfOpen,
    Stall,
    Partition,
    PartitionOfAll,
    Mangle,
    WorkerCrash,
    MachineLoss,
    WorkerLeaves,
    WorkerJoins,
    Flap,
    Freeze,
    ClockLeap,
    SlowDown,
    Hide,
    Pause,
    CoordinatorCrash,
    PowerCut,
    CrashAtCommit,
    Sigterm,
    DiskFull,
    SlowDisk,
}

impl Kind {
    pub(crate) const ALL: [Self; 22] = [
        Self::Cut,
        Self::HalfOpen,
        Self::Stall,
        Self::Partition,
        Self::PartitionOfAll,
        Self::Mangle,
        Self::WorkerCrash,
        Self::MachineLoss,
        Self::WorkerLeaves,
        Self::WorkerJoins,
        Self::Flap,
        Self::Freeze,
        Self::ClockLeap,
        Self::SlowDown,
        Self::Hide,
        Self::Pause,
        Self::CoordinatorCrash,
        Self::PowerCut,
        Self::CrashAtCommit,
        Self::Sigterm,
        Self::DiskFull,
        Self::SlowDisk,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cut => "connection cut",
            Self::HalfOpen => "half-open connection",
            Self::Stall => "connection stalled",
            Self::Partition => "worker partitioned",
            Self::PartitionOfAll => "all partitioned",
            Self::Mangle => "middlebox",
            Self::WorkerCrash => "worker killed",
            Self::MachineLoss => "machine lost",
            Self::WorkerLeaves => "worker left",
            Self::WorkerJoins => "worker joined",
            Self::Flap => "worker flapped",
            Self::Freeze => "worker frozen",
            Self::ClockLeap => "clock leapt",
            Self::SlowDown => "machine slowed down",
            Self::Hide => "page hidden or shown",
            Self::Pause => "worker paused",
            Self::CoordinatorCrash => "coordinator killed",
            Self::PowerCut => "power cut",
            Self::CrashAtCommit => "coordinator killed at a commit",
            Self::Sigterm => "coordinator told to end",
            Self::DiskFull => "disk full",
            Self::SlowDisk => "slow disk",
        }
    }
}

/// Where in a commit a coordinator dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Boundary {
    /// The group was given out, and nothing of it is written.
    Before,
    /// It is durable, and the core does not know.
    Untold,
}

/// Faults counted by kind.
#[derive(Clone, Default, Debug)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn add(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// The kinds, and how often each came.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }
}

const SECOND: u64 = 1_000_000;

impl World {
    pub(crate) fn fault(&mut self) {
        if self.now >= self.setup.faults_until || self.setup.faults.is_empty() {
            return;
        }
        let wait = self.rng.wait(self.setup.fault_every_us);
        self.schedule(self.now + wait, Event::Fault);
        let which = self.rng.below(self.setup.faults.len() as u64) as usize;
        let kind = self.setup.faults[which];
        self.strike(kind);
    }

    fn strike(&mut self, kind: Kind) {
        let workers = self.workers();
        let one = match workers.len() as u64 {
            0 => None,
            many => Some(workers[self.rng.below(many) as usize]),
        };
        self.tally.add(kind.name());
        self.trace
            .note(self.now, kind.name(), &[one.map_or(0, |peer| peer.0)]);
        match kind {
            Kind::CoordinatorCrash => return self.stop_coordinator(false),
            Kind::PowerCut => return self.stop_coordinator(true),
            Kind::CrashAtCommit => {
                self.crash_in = Some(self.rng.below(8));
                return;
            }
            Kind::Sigterm => return self.drain_coordinator(),
            Kind::DiskFull => {
                self.disk_full_until = self.now + self.rng.spread(SECOND / 2, 120 * SECOND);
                return;
            }
            Kind::SlowDisk => {
                self.disk_slow_until = self.now + self.rng.spread(SECOND, 60 * SECOND);
                return;
            }
            Kind::WorkerJoins => {
                let machine = self.setup.machine(&mut self.rng);
                self.add_worker(machine);
                return;
            }
            Kind::PartitionOfAll => {
                let until = self.now + self.rng.spread(SECOND, 600 * SECOND);
                for peer in workers {
                    self.partition(peer, until);
                }
                return;
            }
            _ => {}
        }
        if let Some(peer) = one {
            self.strike_worker(kind, peer);
        }
    }

    fn strike_worker(&mut self, kind: Kind, peer: PeerId) {
        let now = self.now;
        let link = self.worker(peer).and_then(|worker| worker.link);
        match kind {
            Kind::Cut | Kind::HalfOpen => {
                if let Some(link) = link {
                    let [client, server] = self.who_learns(kind);
                    self.cut_link(link, client, server);
                }
            }
            Kind::Stall => {
                let until = now + self.rng.spread(SECOND / 10, 90 * SECOND);
                if let Some(link) = link {
                    self.stall_link(link, until);
                }
            }
            Kind::Partition => {
                let until = now + self.rng.spread(SECOND, 3600 * SECOND);
                self.partition(peer, until);
            }
            Kind::Mangle => {
                let until = now + self.rng.spread(SECOND, 60 * SECOND);
                self.mangle(peer, until);
                self.schedule(until, Event::Unmangle { peer });
            }
            Kind::WorkerCrash | Kind::MachineLoss => {
                let replaced = self.rng.permille(900);
                let pause = self.rng.spread(SECOND / 10, 60 * SECOND);
                if replaced {
                    self.schedule(now + pause, Event::WorkerJoins);
                }
                let learns = match kind {
                    Kind::WorkerCrash => Some(1_000),
                    _ => None,
                };
                self.kill_worker(peer, learns);
            }
            Kind::WorkerLeaves => {
                let patience = self.rng.spread(1, 30 * SECOND);
                let worker = self.worker(peer).expect("it was chosen");
                worker.draining = true;
                let by = Micros(worker.clock(now).0 + patience);
                self.schedule(now + 20 * SECOND, Event::WorkerJoins);
                self.tell_worker(peer, Input::Drain { by });
            }
            Kind::Flap => {
                let mut at = now;
                for _ in 0..self.rng.between(3, 12) {
                    at += self.rng.spread(SECOND / 100, 5 * SECOND);
                    self.schedule(at, Event::Flap { peer });
                }
            }
            Kind::Freeze => {
                let until = now + self.rng.spread(SECOND, 900 * SECOND);
                self.worker(peer).expect("it was chosen").frozen_until = until;
            }
            Kind::ClockLeap => {
                let leap = self.rng.spread(SECOND, 86_400 * SECOND);
                self.worker(peer).expect("it was chosen").ahead_us += leap;
                self.arm_worker(peer);
            }
            Kind::SlowDown => {
                let factor = self.rng.spread(2, 16) as f64;
                let speed = &mut self.worker(peer).expect("it was chosen").machine.speed;
                // A task takes less than its time limit on the slowest.
                *speed = (*speed / factor).max(0.05);
            }
            Kind::Hide | Kind::Pause => self.change_capacity(kind, peer),
            _ => unreachable!("dealt with before"),
        }
    }

    fn who_learns(&mut self, kind: Kind) -> [Option<u64>; 2] {
        let soon = self.rng.between(1_000, 200_000);
        let late = self
            .rng
            .permille(500)
            .then(|| self.rng.spread(SECOND, 900 * SECOND));
        match (kind, self.rng.below(3)) {
            (Kind::Cut, _) => [Some(soon), Some(soon)],
            (_, 0) => [late, Some(soon)],
            (_, 1) => [Some(soon), late],
            _ => [late, late],
        }
    }

    fn change_capacity(&mut self, kind: Kind, peer: PeerId) {
        let worker = self.worker(peer).expect("it was chosen");
        match kind {
            Kind::Hide => worker.hidden = !worker.hidden,
            _ => worker.paused = !worker.paused,
        }
        let slots = if worker.paused {
            0
        } else {
            worker.machine.slots
        };
        let hidden = worker.hidden;
        if worker.frozen_until <= self.now {
            self.tell_worker(peer, Input::Capacity { slots, hidden });
        }
    }

    /// A connection goes and comes.
    pub(crate) fn flap(&mut self, peer: PeerId) {
        if let Some(link) = self.worker(peer).and_then(|worker| worker.link) {
            self.cut_link(link, Some(1_000), Some(1_000));
        }
    }

    fn partition(&mut self, peer: PeerId, until: u64) {
        if let Some(worker) = self.worker(peer) {
            let blocked = &mut worker.machine.route.blocked_until;
            *blocked = (*blocked).max(until);
        }
        for link in self.links_of(peer) {
            self.stall_link(link, until);
        }
    }

    fn mangle(&mut self, peer: PeerId, until: u64) {
        if let Some(worker) = self.worker(peer) {
            worker.machine.route.mangled_until = until;
            worker.mangled = true;
        }
        for id in self.links_of(peer) {
            let link = self.network.links.get_mut(&id).expect("a link of the peer");
            link.route.mangled_until = until;
            link.mangled = true;
        }
    }

    /// The middlebox goes, and with it the connections it had its hands in.
    pub(crate) fn unmangle(&mut self, peer: PeerId) {
        for id in self.links_of(peer) {
            if self.network.links.get(&id).is_some_and(|link| link.mangled) {
                self.cut_link(id, Some(1_000), Some(1_000));
            }
        }
    }

    pub(crate) fn kill_worker(&mut self, peer: PeerId, learns: Option<u64>) {
        self.peers.remove(&peer);
        for link in self.links_of(peer) {
            self.kill_side(link, Side::Client, learns);
        }
    }

    pub(crate) fn workers(&self) -> Vec<PeerId> {
        let workers = self.peers.iter();
        let workers = workers.filter(|(_, peer)| matches!(peer, Peer::Worker(_)));
        workers.map(|(id, _)| *id).collect()
    }

    /// Whether a coordinator dies here.
    pub(crate) fn crashes_at(&mut self, boundary: Boundary) -> bool {
        self.boundaries += 1;
        let planned = self.setup.crash_at == Some(self.boundaries);
        let drawn = match self.crash_in {
            Some(0) => {
                self.crash_in = None;
                true
            }
            Some(left) => {
                self.crash_in = Some(left - 1);
                false
            }
            None => false,
        };
        if planned || drawn {
            self.tally.add(match boundary {
                Boundary::Before => "crash before a group is written",
                Boundary::Untold => "crash after a group is written",
            });
            let power = self.rng.permille(300);
            self.stop_coordinator(power);
        }
        planned || drawn
    }

    pub(crate) fn disk_fails(&self) -> bool {
        self.now < self.disk_full_until
    }

    /// How long a write and its sync take.
    pub(crate) fn disk_time(&mut self) -> u64 {
        let slow = self.now < self.disk_slow_until;
        let (low, high) = if slow {
            (100_000, 4_000_000)
        } else {
            (100, 20_000)
        };
        self.rng.spread(low, high)
    }

    /// No more faults: the network heals, sleepers wake, two good machines join.
    pub(crate) fn calm_down(&mut self) {
        self.trace.note(self.now, "calm", &[]);
        self.crash_in = None;
        self.disk_full_until = self.disk_full_until.min(self.now);
        self.disk_slow_until = self.disk_slow_until.min(self.now);
        for id in self.network.links.keys().copied().collect::<Vec<_>>() {
            let link = self.network.links.get_mut(&id).expect("just listed");
            if link.route.blocked_until > self.now || link.mangled {
                link.route.blocked_until = self.now;
                link.route.mangled_until = 0;
                self.cut_link(id, Some(1_000), Some(1_000));
            }
        }
        for peer in self.workers() {
            let now = self.now;
            let worker = self.worker(peer).expect("just listed");
            worker.machine.route.blocked_until = 0;
            worker.machine.route.mangled_until = 0;
            worker.frozen_until = worker.frozen_until.min(now);
        }
        for _ in 0..2 {
            let machine = Machine::good(&mut self.rng);
            self.add_worker(machine);
        }
        if self.coordinator.troubles.contains_key(&Source::Journal) {
            self.tally.add("calm while the disk was full");
        }
    }
}
