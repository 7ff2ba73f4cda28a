//! A measurement in place of a test of promises: machines of unlike speed behind a
//! slow network, of which some vanish, at one long job. How much of them is used,
//! and how long the job's end takes.
//!
//! # What is measured
//! **Used share.** From the moment that the job is acknowledged until its last
//! partial is there, each slot of each machine that is there (switched on and
//! not vanished, connected or not) counts as available. Used is the slot time of
//! the partials that became part of the result, as the slots took it. The rest
//! is waiting for blocks, joining and loading, what was computed twice, and what
//! a machine took with it when it vanished.
//!
//! **The end against the ideal.** The end lasts from the moment that a machine
//! has nothing to do, and the coordinator no block that was not handed out, until
//! the root is merged. In that moment so many tasks are computed on no machine
//! that is there (of running pieces, the part of their time that is to come). The
//! ideal divides them among all machines by their true speeds, without a rest,
//! though no machine can be quicker than one task is; adds one round trip,
//! for whoever has nothing must be told of something, and must tell; and adds the
//! merges from the partial that came last up to the root. No order of blocks saves
//! them: the tree is the job's, and each needs the one below it. They count as what
//! they take a compute child that is at it already ([`MERGE_MORE_US`]); the way to it
//! and back, and whatever else is left to merge then, do not count.
//!
//! What `finish` and the disk take is theirs: neither depends on how blocks are
//! handed out.

use crate::author::Author;
use crate::network::Route;
use crate::rng::Rng;
use crate::worker::Machine;
use crate::world::{Event, PeerId, World};
use manyhands_protocol::message::{EngineKind, MergeMode};
use manyhands_protocol::{Node, Tree};
use std::collections::BTreeMap;
use std::ops::Range;

const SECOND: u64 = 1_000_000;

/// When the job is submitted: all machines have joined long before.
const BEGIN_US: u64 = 10 * SECOND;

/// What a piece costs its slot beside its tasks, and a merge in a worker: the way to the
/// compute child and back. This and what follows is as `cargo xtask bench costs` has it.
pub(crate) const PIECE_US: u64 = 18;

/// The least and the most that a merge takes the coordinator, there and back to a
/// compute child that sleeps, and to one that has another call under way.
pub(crate) const MERGE_US: (u64, u64) = (60, 90);
pub(crate) const MERGE_AWAKE_US: (u64, u64) = (28, 83);

/// The same for each further merge in the same call.
pub(crate) const MERGE_MORE_US: (u64, u64) = (4, 8);

/// A job that takes so much longer than it should never ends.
const LIMIT: u64 = 20;

/// Machines, their network, and the job that they are given.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// How many there are at any time: for one that vanishes, another comes.
    pub machines: u64,
    /// Slots of each.
    pub slots: u16,
    /// The fastest is so many times as fast as the slowest; between them, each
    /// magnitude is as likely.
    pub apart: f64,
    /// There and back, in microseconds.
    pub round_trip_us: u64,
    /// Of a thousand machines, so many vanish each minute, without a word.
    pub vanishing: u64,
    /// How long the job would take all machines, in seconds.
    pub job_s: u64,
    /// How long a task takes one slot of a machine of middling speed, in
    /// microseconds.
    pub task_us: u64,
}

impl Fleet {
    /// What the goal is set for.
    #[must_use]
    pub fn behind(round_trip_ms: u64) -> Self {
        Self {
            machines: 48,
            slots: 4,
            apart: 16.0,
            round_trip_us: round_trip_ms * 1000,
            vanishing: 50,
            job_s: 180,
            task_us: 50,
        }
    }

    pub(crate) fn machine(&self, rng: &mut Rng) -> Machine {
        Machine {
            engine: EngineKind::Native,
            slots: self.slots,
            memory: 8 << 30,
            simd: true,
            speed: self.apart.powf(rng.unit() - 0.5),
            route: Route {
                latency_us: self.round_trip_us / 2,
                jitter_us: self.round_trip_us / 50,
                bytes_per_ms: 12_500,
                blocked_until: 0,
                mangled_until: 0,
            },
            fails: 0,
            crashes: 0,
            losses: 0,
            bad_tasks: false,
            unusable: 0,
        }
    }

    /// Mean time between two that vanish.
    fn vanish_every_us(&self) -> u64 {
        60 * SECOND * 1000 / (self.vanishing * self.machines).max(1)
    }

    /// Tasks of the job, and what each takes at speed 1 in nanoseconds.
    pub(crate) fn job(&self) -> (u64, u64) {
        // The mean of a speed of which each magnitude is as likely.
        let root = self.apart.sqrt();
        let mean = (root - 1.0 / root) / self.apart.ln();
        let slots = self.machines as f64 * f64::from(self.slots);
        let slot_us = slots * mean * (self.job_s * SECOND) as f64;
        ((slot_us / self.task_us as f64) as u64, self.task_us * 1000)
    }
}

/// What a fleet came to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// From the acknowledgement until the root is merged, in microseconds.
    pub took_us: u64,
    /// Slot time that became part of the result, of the slot time that was there.
    pub used: f64,
    /// Slot time at work on anything, of that which was there.
    pub busy: f64,
    /// The job's end, in microseconds.
    pub end_us: u64,
    /// What it would have taken at best, with a round trip and [`Self::climb_us`].
    pub ideal_us: u64,
    /// The merges from the last partial up to the root, one after the other.
    pub climb_us: u64,
    /// Machines that vanished.
    pub vanished: u64,
    /// Partials that were of no use any more.
    pub duplicates: u64,
}

impl Measured {
    /// How many times the ideal the job's end took.
    #[must_use]
    pub fn end_by_ideal(&self) -> f64 {
        self.end_us as f64 / self.ideal_us as f64
    }
}

/// How many tasks are in one of these at least.
pub fn distinct(ranges: &mut [Range<u64>]) -> u64 {
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut tasks, mut reached) = (0, 0);
    for range in ranges {
        tasks += range.end.saturating_sub(range.start.max(reached));
        reached = reached.max(range.end);
    }
    tasks
}

/// How long `left` tasks take at best, without the round trip, where a task takes a
/// slot of speed 1 a unit of time: of slots that together have this speed, of which
/// one has the speed `fastest`.
#[must_use]
pub fn at_best(left: f64, speed: f64, fastest: f64) -> f64 {
    (left.max(0.0) / speed).max(1.0 / fastest)
}

/// What the merges from a node up to the root take a compute child that is at it
/// already, in microseconds.
#[must_use]
pub fn climb_us(tree: Tree, node: Node) -> u64 {
    let above = |node: &Node| node.parent().filter(|parent| tree.has(*parent));
    let merged = |node: &Node| above(node).map(|parent| tree.canonical(parent));
    let merges = std::iter::successors(merged(&tree.canonical(node)), merged).count() as u64;
    merges * (MERGE_MORE_US.0 + MERGE_MORE_US.1) / 2
}

#[derive(Clone, Copy, Debug)]
struct Presence {
    since: u64,
    until: Option<u64>,
    slots: u16,
    speed: f64,
}

/// What is noted while the world goes on.
#[derive(Debug, Default)]
pub(crate) struct Yardstick {
    machines: BTreeMap<PeerId, Presence>,
    began: Option<u64>,
    result: Option<u64>,
    idle: Option<(u64, f64)>,
    /// The partial that came last.
    last: Option<(Tree, Node)>,
    used_us: u64,
    busy_us: u64,
    /// Computed on a machine and not part of the result yet: by first task, the
    /// end, on which.
    computed: BTreeMap<(u64, PeerId), u64>,
    /// Part of the result, joined.
    done: BTreeMap<u64, u64>,
}

impl Yardstick {
    pub(crate) fn joined(&mut self, id: PeerId, machine: &Machine, now: u64) {
        let presence = Presence {
            since: now,
            until: None,
            slots: machine.slots,
            speed: machine.speed,
        };
        self.machines.insert(id, presence);
    }

    fn gone(&mut self, id: PeerId, now: u64) {
        self.computed.retain(|(_, on), _| *on != id);
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.until = Some(now);
        }
    }

    pub(crate) fn began(&mut self, now: u64) {
        self.began.get_or_insert(now);
    }

    pub(crate) fn has_result(&mut self, now: u64) {
        self.result.get_or_insert(now);
    }

    pub(crate) fn computed(&mut self, on: PeerId, tasks: &Range<u64>, busy_us: u64) {
        self.busy_us += busy_us;
        self.computed.insert((tasks.start, on), tasks.end);
    }

    /// The partial of a node has become part of the result.
    pub(crate) fn used(&mut self, tree: Tree, node: Node, busy_us: u64) {
        self.used_us += busy_us;
        self.last = Some((tree, node));
        let tasks = tree.range(node);
        let (mut start, mut end) = (tasks.start, tasks.end);
        if let Some((before, until)) = self.done.range(..=start).next_back()
            && *until >= start
        {
            (start, end) = (*before, end.max(*until));
        }
        let within: Vec<u64> = self.done.range(start..=end).map(|(at, _)| *at).collect();
        for at in within {
            end = end.max(self.done.remove(&at).expect("just seen"));
        }
        self.done.insert(start, end);
        let from = (tasks.start, PeerId(0));
        let inside = self.computed.range(from..(tasks.end, PeerId(0)));
        let inside: Vec<_> = inside.map(|(at, _)| *at).collect();
        for at in inside {
            self.computed.remove(&at);
        }
    }

    /// Tasks that are computed on some machine that is there, or are part of the
    /// result.
    fn tasks_computed(&self) -> u64 {
        let done = self.done.iter().map(|(start, end)| *start..*end);
        let computed = self.computed.iter().map(|((start, _), end)| *start..*end);
        let mut all: Vec<_> = done.chain(computed).collect();
        distinct(&mut all)
    }

    /// The speed of all slots that are there.
    fn speed(&self) -> f64 {
        let present = self.machines.values().filter(|at| at.until.is_none());
        present.map(|at| at.speed * f64::from(at.slots)).sum()
    }

    fn fastest(&self) -> f64 {
        let present = self.machines.values().filter(|at| at.until.is_none());
        present.map(|at| at.speed).fold(0.0, f64::max)
    }

    /// Slot time that was there.
    fn available_us(&self, from: u64, to: u64) -> u64 {
        let each = self.machines.values().map(|machine| {
            let until = machine.until.unwrap_or(to).min(to);
            until.saturating_sub(machine.since.max(from)) * u64::from(machine.slots)
        });
        each.sum()
    }
}

impl World {
    pub(crate) fn begin_fleet(&mut self, fleet: Fleet) {
        self.schedule(BEGIN_US, Event::Author { author: 0 });
        self.schedule(fleet.vanish_every_us(), Event::Vanish);
    }

    /// A machine vanishes, and another like it comes.
    pub(crate) fn vanish(&mut self) {
        let fleet = self.setup.fleet.expect("machines of a fleet vanish");
        let wait = self.rng.wait(fleet.vanish_every_us());
        self.schedule(self.now + wait, Event::Vanish);
        let workers = self.workers();
        let one = workers[self.rng.below(workers.len() as u64) as usize];
        self.tally.add("machine vanished");
        let machine = self.worker(one).expect("just listed").machine.clone();
        self.kill_worker(one, None);
        self.yardstick.gone(one, self.now);
        self.add_worker(machine);
    }

    /// A slot has ended: is this the first machine without work?
    pub(crate) fn look_idle(&mut self, id: PeerId) {
        if self.setup.fleet.is_none() || self.yardstick.idle.is_some() {
            return;
        }
        let Some(worker) = self.worker(id) else {
            return;
        };
        if !worker.slots.is_empty() || self.free_tasks() != Some(0) {
            return;
        }
        let fleet = self.setup.fleet.expect("just seen");
        let (tasks, task_ns) = fleet.job();
        let mut left = (tasks - self.yardstick.tasks_computed()) as f64;
        left -= self.tasks_at_work();
        let task_us = task_ns as f64 / 1000.0;
        let best = at_best(left, self.yardstick.speed(), self.yardstick.fastest()) * task_us;
        self.trace
            .note(self.now, "first idle", &[id.0, left as u64, best as u64]);
        let ideal = best + fleet.round_trip_us as f64;
        self.yardstick.idle = Some((self.now, ideal));
    }

    /// Tasks of the job that nobody was given.
    fn free_tasks(&self) -> Option<u64> {
        let core = self.coordinator.core.as_ref()?;
        let job = core.running().next()?;
        let view = core.view(self.coordinator.now(self.now), job)?;
        Some(view.tasks - view.done - view.running)
    }

    fn measured(&self) -> Option<Measured> {
        let yard = &self.yardstick;
        let (began, result) = (yard.began?, yard.result?);
        let available = yard.available_us(began, result) as f64;
        // Where nobody was ever idle, all ended in the same moment.
        let (idle, ideal) = yard.idle.unwrap_or((result, 1.0));
        let climb_us = yard.last.map_or(0, |(tree, node)| climb_us(tree, node));
        let gone = yard.machines.values().filter(|at| at.until.is_some());
        let core = self.coordinator.core.as_ref()?;
        Some(Measured {
            took_us: result - began,
            used: yard.used_us as f64 / available,
            busy: yard.busy_us as f64 / available,
            end_us: result - idle,
            ideal_us: ideal as u64 + climb_us,
            climb_us,
            vanished: gone.count() as u64,
            duplicates: core.counts().duplicates,
        })
    }

    /// Runs until the job's root is merged.
    pub(crate) fn run_fleet(&mut self, fleet: Fleet) -> Option<Measured> {
        let limit = BEGIN_US + LIMIT * fleet.job_s * SECOND;
        self.begin();
        while self.violation.is_none() && self.yardstick.result.is_none() && self.now < limit {
            self.step();
        }
        if self.violation.is_none() && self.yardstick.result.is_none() {
            self.fail("the fleet's job does not end".into());
        }
        self.measured()
    }
}

/// The job of a fleet, which is drawn like any other and then made this one.
pub(crate) fn shape(author: &mut Author, fleet: &Fleet) {
    let guest = &mut author.guest;
    (guest.tasks, guest.task_ns) = fleet.job();
    guest.merge = MergeMode::Reduce;
    guest.grain = 14;
    guest.poison = None;
}
