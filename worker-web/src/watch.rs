//! What the slots are at, and by when they must say something.

use crate::table::Table;
use manyhands_protocol::JobId;
use manyhands_worker_core::Micros;
use std::ops::Range;

/// How much longer than a task a slot may take to start, to open the guest, to
/// give its partial, or to merge two.
const GRACE: Micros = Micros::from_millis(20_000);

/// A timer this much later than it was armed for means that this worker was
/// held up or asleep, and the slots with it, perhaps.
const HELD_UP: Micros = Micros::from_millis(1_000);

/// One slot's order, as far as it is known to have come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watched {
    pub(crate) ticket: u64,
    pub(crate) job: JobId,
    /// Empty for a merge.
    pub(crate) tasks: Range<u64>,
    /// Tasks done.
    pub(crate) done: u64,
    /// Tasks of the slice that runs; 0 between slices.
    pub(crate) slice: u64,
    /// Whether its outcome does not matter any more.
    pub(crate) cancelled: bool,
    /// How long one task may take.
    limit: Micros,
    deadline: Micros,
}

impl Watched {
    /// The task that runs, where it is known.
    pub(crate) fn at(&self) -> Option<u64> {
        (self.slice == 1).then_some(self.tasks.start + self.done)
    }
}

/// The orders of all slots at work.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    slots: Table<u16, Watched>,
    /// Tasks done by all slots since the start.
    tasks: u64,
}

impl Watch {
    /// A slot was given an order.
    pub(crate) fn begin(
        &mut self,
        now: Micros,
        slot: u16,
        ticket: u64,
        job: JobId,
        tasks: Range<u64>,
        limit: Micros,
    ) {
        let watched = Watched {
            ticket,
            job,
            tasks,
            done: 0,
            slice: 0,
            cancelled: false,
            limit,
            deadline: now.after(limit).after(GRACE),
        };
        let before = self.slots.insert(slot, watched);
        assert_eq!(before, None, "slot {slot} was idle");
    }

    /// A slot is about to run `tasks`, or (0) to rest so long or to end.
    pub(crate) fn slice(&mut self, now: Micros, slot: u16, tasks: u64, rest: Micros) {
        let Some(watched) = self.slots.get_mut(&slot) else {
            return;
        };
        self.tasks += watched.slice;
        watched.done += watched.slice;
        watched.slice = tasks;
        if watched.cancelled {
            return;
        }
        watched.deadline = now.after(watched.limit);
        if tasks == 0 {
            watched.deadline = watched.deadline.after(rest).after(GRACE);
        }
    }

    /// The slot's order is to be dropped by `deadline`.
    pub(crate) fn cancel(&mut self, slot: u16, deadline: Micros) {
        if let Some(watched) = self.slots.get_mut(&slot) {
            watched.cancelled = true;
            watched.deadline = watched.deadline.min(deadline);
        }
    }

    /// What a slot is at.
    pub(crate) fn get(&self, slot: u16) -> Option<&Watched> {
        self.slots.get(&slot)
    }

    /// The slot's order has ended.
    pub(crate) fn end(&mut self, slot: u16) -> Option<Watched> {
        self.slots.remove(&slot)
    }

    /// When to look for those overdue.
    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        self.slots.iter().map(|(_, watched)| watched.deadline).min()
    }

    /// Slots that should have said something. `due` is when this look was to be
    /// taken: one that comes much later blames nobody, but looks again.
    pub(crate) fn overdue(&mut self, now: Micros, due: Micros) -> Vec<u16> {
        let late = now.since(due);
        if late > HELD_UP {
            for watched in self.slots.values_mut() {
                // Those that were nearly overdue have to be heard first.
                watched.deadline = watched.deadline.after(late).max(now.after(HELD_UP));
            }
        }
        let overdue = self.slots.iter().filter(|(_, at)| at.deadline <= now);
        overdue.map(|(slot, _)| *slot).collect()
    }

    /// Tasks run since the start, accepted or not.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks
    }
}
