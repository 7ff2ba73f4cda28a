//! The slots: what each does now. What they are to do next is not decided here.

use crate::pieces::Piece;
use crate::results::Partial;
use manyhands_protocol::{JobId, LeaseId, Node};

/// Something a slot does for a lease, with all that is needed to do it again.
#[derive(Clone, Debug)]
pub(crate) enum Doing {
    Piece(Piece),
    Merge(MergeWork),
}

/// Two siblings to be merged.
#[derive(Clone, Debug)]
pub(crate) struct MergeWork {
    /// Their parent.
    pub(crate) node: Node,
    pub(crate) left: Partial,
    pub(crate) right: Partial,
    /// How often it died while it ran alone.
    pub(crate) crashes: u8,
}

#[derive(Debug)]
enum Slot {
    Idle,
    Busy {
        ticket: u64,
        run: Run,
    },
    /// What it does does not matter any more, but it is not free.
    Cancelled {
        ticket: u64,
        memory: u64,
    },
}

/// A slot's current command.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) lease: LeaseId,
    pub(crate) job: JobId,
    pub(crate) doing: Doing,
    /// Bytes its guest may have.
    pub(crate) memory: u64,
    /// Nothing else runs meanwhile, so that a death has one suspect.
    pub(crate) alone: bool,
    /// Tasks done so far, as the slot says.
    pub(crate) done: u64,
}

#[derive(Debug)]
pub(crate) struct Slots {
    /// Also those past the capacity that still run.
    slots: Vec<Slot>,
    capacity: u16,
    last_ticket: u64,
    /// Commands up to this one may have been held up by a sleep.
    slept: u64,
}

impl Slots {
    pub(crate) fn new(capacity: u16) -> Self {
        let mut slots = Self {
            slots: Vec::new(),
            capacity: 0,
            last_ticket: 0,
            slept: 0,
        };
        slots.set_capacity(capacity);
        slots
    }

    pub(crate) fn set_capacity(&mut self, capacity: u16) {
        self.capacity = capacity;
        if self.slots.len() < usize::from(capacity) {
            self.slots.resize_with(usize::from(capacity), || Slot::Idle);
        }
    }

    pub(crate) fn capacity(&self) -> u16 {
        self.capacity
    }

    /// The first slot that may be used and does nothing.
    pub(crate) fn idle(&self) -> Option<u16> {
        let usable = self.slots[..usize::from(self.capacity)].iter();
        let at = usable
            .enumerate()
            .find(|(_, slot)| matches!(slot, Slot::Idle));
        at.map(|(at, _)| at as u16)
    }

    /// How many are not free.
    pub(crate) fn busy(&self) -> u16 {
        let busy = self.slots.iter().filter(|slot| !matches!(slot, Slot::Idle));
        busy.count() as u16
    }

    /// Bytes that the guests of all that are not free may have together.
    pub(crate) fn memory(&self) -> u64 {
        let each = self.slots.iter().map(|slot| match slot {
            Slot::Idle => 0,
            Slot::Busy { run, .. } => run.memory,
            Slot::Cancelled { memory, .. } => *memory,
        });
        each.fold(0, u64::saturating_add)
    }

    /// Whether one runs something alone.
    pub(crate) fn any_alone(&self) -> bool {
        self.runs().any(|run| run.alone)
    }

    /// Gives an idle slot something to do; the command's ticket.
    pub(crate) fn start(&mut self, slot: u16, run: Run) -> u64 {
        let place = &mut self.slots[usize::from(slot)];
        assert!(matches!(place, Slot::Idle), "slot {slot} is busy");
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        *place = Slot::Busy { ticket, run };
        ticket
    }

    /// The slot is free again. What it did, unless that was cancelled or the
    /// ticket is an old one.
    pub(crate) fn end(&mut self, slot: u16, ticket: u64) -> Option<Run> {
        let place = self.slots.get_mut(usize::from(slot))?;
        let current = match place {
            Slot::Idle => return None,
            Slot::Busy { ticket, .. } | Slot::Cancelled { ticket, .. } => *ticket,
        };
        if current != ticket {
            return None;
        }
        match std::mem::replace(place, Slot::Idle) {
            Slot::Busy { run, .. } => Some(run),
            Slot::Idle | Slot::Cancelled { .. } => None,
        }
    }

    /// The machine slept: what runs now says nothing of speed.
    pub(crate) fn woke(&mut self) {
        self.slept = self.last_ticket;
    }

    /// Whether a command's time says how fast this machine is.
    pub(crate) fn was_awake(&self, ticket: u64) -> bool {
        ticket > self.slept
    }

    /// The slot has come so far.
    pub(crate) fn progress(&mut self, slot: u16, ticket: u64, tasks: u64) {
        if let Some(Slot::Busy {
            ticket: current,
            run,
        }) = self.slots.get_mut(usize::from(slot))
            && *current == ticket
        {
            run.done = tasks;
        }
    }

    /// Nobody wants to know any more what these do; their slots and tickets.
    pub(crate) fn cancel(&mut self, lost: impl Fn(&Run) -> bool) -> Vec<(u16, u64)> {
        let mut cancelled = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if let Slot::Busy { ticket, run } = slot
                && lost(run)
            {
                let (ticket, memory) = (*ticket, run.memory);
                *slot = Slot::Cancelled { ticket, memory };
                cancelled.push((at as u16, ticket));
            }
        }
        cancelled
    }

    /// What runs now.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Busy { run, .. } => Some(run),
            Slot::Idle | Slot::Cancelled { .. } => None,
        })
    }
}
