//! What is known of a job: its blocks, its result so far, who works at it how
//! fast. Decides nothing.

use crate::assembly::Assembly;
use crate::blocks::Blocks;
use crate::config::Config;
use crate::ending::{Pace, SharedEnd};
use crate::ends::Ends;
use crate::event::JobSpec;
use crate::fairness::{Need, Pass};
use crate::sizing::Speed;
use crate::table::Table;
use crate::time::Micros;
use crate::view::Phase;
use manyhands_protocol::{Failure, JobId, LeaseId, MergeMode, Node, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// Which queue a job stands in, and with what pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Nothing to hand out and nothing out, or over.
    Nowhere,
    /// It has a block to hand out.
    Ready(Pass),
    /// All it has is out: its blocks may be duplicated.
    Tail(Pass),
}

/// What one worker has done for the job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member {
    pub(crate) speed: Speed,
    /// What it adds to the job's `rate` and `rated_slots`.
    counted: Option<(f64, u16)>,
    pub(crate) blocks: u64,
    pub(crate) tasks: u64,
    pub(crate) busy_us: u64,
}

/// How often a task has failed, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) failures: u32,
    /// Of these, the guest's own.
    pub(crate) guest: u32,
    /// Each worker once, with what it said last.
    pub(crate) workers: BTreeMap<WorkerId, Failure>,
    /// When it failed last.
    pub(crate) last: Micros,
}

/// A worker that cannot run the job.
#[derive(Clone, Debug)]
pub(crate) struct Unfit {
    pub(crate) failure: Failure,
    /// Slots of it that the job would have otherwise.
    slots: u16,
}

#[derive(Debug)]
pub(crate) struct Job<P> {
    pub(crate) id: JobId,
    pub(crate) spec: JobSpec,
    pub(crate) phase: Phase,
    pub(crate) blocks: Blocks,
    pub(crate) assembly: Assembly<P>,
    pub(crate) members: Table<WorkerId, Member>,
    /// Speed of all members that are here, in tasks a microsecond.
    rate: f64,
    /// Their slots.
    rated_slots: u64,
    /// Those that said that they cannot run it.
    pub(crate) unfit: BTreeMap<WorkerId, Unfit>,
    /// Their slots.
    unfit_slots: u64,
    /// By task.
    pub(crate) attempts: BTreeMap<u64, Attempts>,
    /// Leases that stand.
    pub(crate) ends: Ends,
    pub(crate) pace: Pace,
    pub(crate) shared_end: SharedEnd,
    /// Leases that do not, but that a worker may still answer.
    pub(crate) former: BTreeSet<LeaseId>,
    pub(crate) pass: Pass,
    pub(crate) place: Place,
    pub(crate) retries: u64,
    /// Bytes of the partials used, and their tasks.
    output: (u64, u64),
    /// How many they are.
    partials: u64,
    /// When a partial was last used.
    pub(crate) answered: Option<Micros>,
}

impl<P> Job<P> {
    /// The tasks before `prefix` are done already (`concat`).
    pub(crate) fn new(id: JobId, spec: JobSpec, prefix: u64, pass: Pass) -> Self {
        Self {
            id,
            spec,
            phase: Phase::Running,
            blocks: Blocks::new(spec.tree, prefix),
            assembly: Assembly::new(spec.tree, spec.merge, prefix),
            members: Table::default(),
            rate: 0.0,
            rated_slots: 0,
            unfit: BTreeMap::new(),
            unfit_slots: 0,
            attempts: BTreeMap::new(),
            ends: Ends::default(),
            pace: Pace::default(),
            shared_end: SharedEnd::default(),
            former: BTreeSet::new(),
            pass,
            place: Place::Nowhere,
            retries: 0,
            output: (0, 0),
            partials: 0,
            answered: None,
        }
    }

    pub(crate) fn need(&self) -> Need {
        Need::of(&self.spec)
    }

    /// Counts a partial of `tasks` tasks that is part of the result.
    pub(crate) fn count_output(&mut self, tasks: u64, len: u64) {
        self.output.0 = self.output.0.saturating_add(len);
        self.output.1 += tasks;
        self.partials += 1;
    }

    /// Mean bytes of a partial of a `reduce` job, however many tasks it has.
    pub(crate) fn bytes_per_partial(&self) -> u64 {
        match self.spec.merge {
            MergeMode::Reduce => self.output.0.checked_div(self.partials).unwrap_or(0),
            MergeMode::Concat => 0,
        }
    }

    /// Mean bytes of the partials a task.
    pub(crate) fn output_per_task(&self) -> u64 {
        let (bytes, tasks) = self.output;
        match self.assembly {
            Assembly::Concat { .. } => bytes.checked_div(tasks).unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether the window lets nothing but the block at the prefix out.
    pub(crate) fn window_closed(&self, config: &Config) -> bool {
        self.assembly.window_closed(
            self.spec.tree,
            config,
            self.blocks.out_pieces(),
            self.blocks.out_tasks(),
            self.output_per_task(),
        )
    }

    /// The task that is to come next for the sake of what waits: that at the
    /// prefix (`concat`), or, while the window is closed, the first that is not
    /// done (`reduce`).
    pub(crate) fn front(&self, config: &Config) -> Option<u64> {
        self.assembly.front(self.spec.tree, config)
    }

    /// Whether the next free block is the one that others wait for.
    pub(crate) fn free_at_front(&self, config: &Config) -> bool {
        let front = self.front(config);
        front.is_some() && self.blocks.first_free() == front
    }

    /// Where the job belongs now.
    pub(crate) fn rightful_place(&self, config: &Config) -> Place {
        let open = || !self.window_closed(config) || self.free_at_front(config);
        if self.phase != Phase::Running {
            Place::Nowhere
        } else if self.blocks.free_tasks() > 0 && open() {
            Place::Ready(self.pass)
        } else if self.blocks.out_tasks() > 0 {
            Place::Tail(self.pass)
        } else {
            Place::Nowhere
        }
    }

    /// A partial of `node`, of so many bytes, came from a worker and is part of the
    /// result. Gives how many of its tasks are new to it; appends which holders have
    /// how many tasks less to do.
    pub(crate) fn credit(
        &mut self,
        now: Micros,
        from: WorkerId,
        node: Node,
        len: u64,
        busy_us: u64,
        relieved: &mut Vec<(LeaseId, u64)>,
    ) -> u64 {
        let fresh = self.blocks.complete(node, relieved);
        assert!(fresh > 0, "a partial that adds nothing was used");
        self.count_output(self.spec.tree.len(node), len);
        self.answered = Some(now);
        let member = self.members.get_or_default(from);
        member.blocks += 1;
        member.tasks += fresh;
        member.busy_us = member.busy_us.saturating_add(busy_us);
        fresh
    }

    /// A partial of `node` came from `from` and is used: its tasks are not to
    /// blame. Gives who is.
    pub(crate) fn exonerate(&mut self, node: Node, from: WorkerId) -> Vec<(WorkerId, Failure)> {
        let mut blamed = Vec::new();
        if self.attempts.is_empty() {
            return blamed;
        }
        let range = self.spec.tree.range(node);
        while let Some((task, _)) = self.attempts.range(range.clone()).next() {
            let task = *task;
            let attempts = self.attempts.remove(&task).expect("just found");
            let others = attempts.workers.into_iter();
            blamed.extend(others.filter(|(worker, _)| *worker != from));
        }
        blamed
    }

    /// Counts the worker's measured speed in as that of `slots` slots; 0 takes
    /// it out (the worker is away or paused).
    pub(crate) fn count_speed(&mut self, worker: WorkerId, slots: u16) {
        if self.members.contains_key(&worker) || self.unfit.contains_key(&worker) {
            self.measured(worker, slots, |_| ());
        }
    }

    /// The same once something about its speed has been measured.
    pub(crate) fn measured(
        &mut self,
        worker: WorkerId,
        slots: u16,
        measure: impl FnOnce(&mut Speed),
    ) {
        let slots = match self.unfit.get_mut(&worker) {
            Some(unfit) => {
                let before = std::mem::replace(&mut unfit.slots, slots);
                self.unfit_slots = self.unfit_slots - u64::from(before) + u64::from(slots);
                0
            }
            None => slots,
        };
        let member = self.members.get_or_default(worker);
        measure(&mut member.speed);
        if let Some((rate, slots)) = member.counted.take() {
            self.rate -= rate;
            self.rated_slots -= u64::from(slots);
        }
        if self.rated_slots == 0 {
            // Sums of floats leave dust behind.
            self.rate = 0.0;
        }
        if slots > 0
            && let Some(rate) = member.speed.rate()
        {
            member.counted = Some((rate, slots));
            self.rate += rate;
            self.rated_slots += u64::from(slots);
        }
    }

    /// The worker, with so many slots for it, cannot run the job.
    pub(crate) fn note_unfit(&mut self, worker: WorkerId, slots: u16, failure: Failure) {
        let unfit = self.unfit.entry(worker);
        let unfit = unfit.or_insert(Unfit {
            failure: failure.clone(),
            slots: 0,
        });
        unfit.failure = failure;
        self.count_speed(worker, slots);
    }

    /// The worker, whose slots are not counted any more, is gone.
    pub(crate) fn forget_unfit(&mut self, worker: WorkerId) {
        if let Some(unfit) = self.unfit.remove(&worker) {
            assert_eq!(unfit.slots, 0, "{worker} is gone and counted");
        }
    }

    /// Slots that the job may have, of `slots` that have its memory.
    pub(crate) fn fit_slots(&self, slots: u64) -> u64 {
        slots - self.unfit_slots
    }

    /// What a slot here does on average, in tasks a microsecond.
    pub(crate) fn slot_rate(&self) -> Option<f64> {
        (self.rated_slots > 0 && self.rate > 0.0).then(|| self.rate / self.rated_slots as f64)
    }

    /// The speed expected of all of `slots` slots, in tasks a microsecond.
    pub(crate) fn total_rate(&self, slots: u64) -> Option<f64> {
        let unknown = slots.saturating_sub(self.rated_slots);
        Some(self.rate + self.slot_rate()? * unknown as f64)
    }

    /// The speed expected of one worker: its own if measured.
    pub(crate) fn worker_rate(&self, worker: WorkerId, slots: u16) -> Option<f64> {
        let measured = self.members.get(&worker);
        let measured = measured.and_then(|member| member.speed.rate());
        measured.or_else(|| Some(self.slot_rate()? * f64::from(slots.max(1))))
    }

    /// The worker works at the job from now on. The speed expected of it, in tasks a
    /// microsecond.
    pub(crate) fn enlist(&mut self, worker: WorkerId, slots: u16) -> Option<f64> {
        let measured = self.members.get_or_default(worker).speed.rate();
        measured.or_else(|| Some(self.slot_rate()? * f64::from(slots.max(1))))
    }

    /// Drops what only a running job needs.
    pub(crate) fn close(&mut self, phase: Phase) {
        self.phase = phase;
        self.blocks.clear();
        self.assembly.close();
        self.attempts.clear();
        self.unfit.clear();
        self.unfit_slots = 0;
        let leases = self.ends.len() + self.former.len();
        assert_eq!(leases, 0, "leases outlive their job");
    }
}
