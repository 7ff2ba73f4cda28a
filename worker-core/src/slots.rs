//! The slots: what each does now. What they are to do next is not decided here.

use crate::pieces::Piece;
use crate::results::Partial;
use manyhands_protocol::{JobId, LeaseId, Node};
use std::collections::VecDeque;

/// A slot is given so much to do at once, in microseconds, where its work is that
/// short: some of the shortest pieces that are cut, and many times a
/// round trip to the driver, during which it would idle.
const AHEAD_US: f64 = 4_000.0;

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

/// A command that a slot has been given and has not answered.
#[derive(Debug)]
struct Given {
    ticket: u64,
    /// What it takes, in microseconds; where nothing is known, so much that nothing
    /// is put behind it.
    predicted_us: f64,
    what: What,
}

#[derive(Debug)]
enum What {
    Run(Run),
    /// What it does does not matter any more, but it is not free.
    Cancelled {
        memory: u64,
    },
}

impl Given {
    fn memory(&self) -> u64 {
        match &self.what {
            What::Run(run) => run.memory,
            What::Cancelled { memory } => *memory,
        }
    }

    fn run(&self) -> Option<&Run> {
        match &self.what {
            What::Run(run) => Some(run),
            What::Cancelled { .. } => None,
        }
    }
}

/// One slot's commands, in the order in which it carries them out.
#[derive(Debug, Default)]
struct Slot {
    queue: VecDeque<Given>,
    /// What they take together as far as anyone knows, in microseconds.
    ahead_us: f64,
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// The bytes that its guests may have: one is there at a time.
    fn memory(&self) -> u64 {
        self.queue.iter().map(Given::memory).max().unwrap_or(0)
    }
}

/// A command of a slot: what it does now, or next.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) lease: LeaseId,
    pub(crate) job: JobId,
    pub(crate) doing: Doing,
    /// Bytes its guest may have.
    pub(crate) memory: u64,
    /// Nothing else runs meanwhile, so that a death has one suspect.
    pub(crate) alone: bool,
    /// What it takes, in microseconds, as far as anyone knows.
    pub(crate) predicted_us: Option<f64>,
    /// Tasks done so far, as the slot says.
    pub(crate) done: u64,
}

#[derive(Debug)]
pub(crate) struct Slots {
    /// Also those past the capacity that still run.
    slots: Vec<Slot>,
    capacity: u16,
    /// Commands a slot may have behind the one that it carries out.
    queue: usize,
    last_ticket: u64,
    /// Commands up to this one may have been held up by a sleep.
    slept: u64,
}

impl Slots {
    pub(crate) fn new(capacity: u16, queue: usize) -> Self {
        let mut slots = Self {
            slots: Vec::new(),
            capacity: 0,
            queue,
            last_ticket: 0,
            slept: 0,
        };
        slots.set_capacity(capacity);
        slots
    }

    pub(crate) fn set_capacity(&mut self, capacity: u16) {
        self.capacity = capacity;
        if self.slots.len() < usize::from(capacity) {
            self.slots.resize_with(usize::from(capacity), Slot::default);
        }
    }

    pub(crate) fn capacity(&self) -> u16 {
        self.capacity
    }

    /// The slot that is to be given something next: the first that may be used and
    /// does nothing, else the one with least to do that has room in its queue.
    pub(crate) fn next(&self) -> Option<u16> {
        let usable = self.slots[..usize::from(self.capacity)].iter();
        let (mut least, mut found) = (AHEAD_US, None);
        for (at, slot) in usable.enumerate() {
            if slot.is_idle() {
                return Some(at as u16);
            }
            if slot.queue.len() <= self.queue && slot.ahead_us < least {
                (least, found) = (slot.ahead_us, Some(at as u16));
            }
        }
        found
    }

    /// Whether the slot does nothing.
    pub(crate) fn is_idle(&self, slot: u16) -> bool {
        self.slots[usize::from(slot)].is_idle()
    }

    /// Whether a slot that is at work may have this behind what it has: work that
    /// is over soon, and needs no more memory.
    pub(crate) fn takes_ahead(&self, slot: u16, predicted_us: Option<f64>, memory: u64) -> bool {
        let slot = &self.slots[usize::from(slot)];
        predicted_us.is_some_and(|us| slot.ahead_us + us <= AHEAD_US) && memory <= slot.memory()
    }

    /// How many are not free.
    pub(crate) fn busy(&self) -> u16 {
        self.slots.iter().filter(|slot| !slot.is_idle()).count() as u16
    }

    /// Bytes that the guests of all that are not free may have together.
    pub(crate) fn memory(&self) -> u64 {
        let each = self.slots.iter().map(Slot::memory);
        each.fold(0, u64::saturating_add)
    }

    /// Whether one runs something alone.
    pub(crate) fn any_alone(&self) -> bool {
        // It has a slot to itself.
        let firsts = self.slots.iter().filter_map(|slot| slot.queue.front());
        firsts.filter_map(Given::run).any(|run| run.alone)
    }

    /// Gives a slot something to do; the command's ticket.
    pub(crate) fn start(&mut self, slot: u16, run: Run) -> u64 {
        let queue = self.queue;
        let place = &mut self.slots[usize::from(slot)];
        assert!(place.queue.len() <= queue, "slot {slot} has enough");
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let predicted_us = run.predicted_us.unwrap_or(AHEAD_US);
        place.ahead_us += predicted_us;
        place.queue.push_back(Given {
            ticket,
            predicted_us,
            what: What::Run(run),
        });
        ticket
    }

    /// The slot has answered a command. What it did, unless that was cancelled or
    /// the ticket is an old one.
    pub(crate) fn end(&mut self, slot: u16, ticket: u64) -> Option<Run> {
        let place = self.slots.get_mut(usize::from(slot))?;
        let at = place
            .queue
            .iter()
            .position(|given| given.ticket == ticket)?;
        let given = place.queue.remove(at).expect("just found");
        // Sums of fractions drift.
        place.ahead_us = if place.queue.is_empty() {
            0.0
        } else {
            place.ahead_us - given.predicted_us
        };
        match given.what {
            What::Run(run) => Some(run),
            What::Cancelled { .. } => None,
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
        let queue = self.slots.get_mut(usize::from(slot));
        let mut queue = queue.into_iter().flat_map(|slot| &mut slot.queue);
        if let Some(given) = queue.find(|given| given.ticket == ticket)
            && let What::Run(run) = &mut given.what
        {
            run.done = tasks;
        }
    }

    /// Nobody wants to know any more what these do; their slots and tickets.
    pub(crate) fn cancel(&mut self, lost: impl Fn(&Run) -> bool) -> Vec<(u16, u64)> {
        let mut cancelled = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            for given in &mut slot.queue {
                if let What::Run(run) = &given.what
                    && lost(run)
                {
                    let memory = run.memory;
                    given.what = What::Cancelled { memory };
                    cancelled.push((at as u16, given.ticket));
                }
            }
        }
        cancelled
    }

    /// What runs now, or is about to.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        let given = self.slots.iter().flat_map(|slot| &slot.queue);
        given.filter_map(Given::run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::Incarnation;

    fn run(lease: u64, predicted_us: Option<f64>) -> Run {
        let counter = lease;
        let incarnation = Incarnation(1);
        Run {
            lease: LeaseId {
                incarnation,
                counter,
            },
            job: JobId(1),
            doing: Doing::Piece(Piece::new(Node::leaf(lease))),
            memory: 100,
            predicted_us,
            alone: false,
            done: 0,
        }
    }

    #[test]
    fn short_work_waits_at_the_slot_with_least_to_do() {
        let mut slots = Slots::new(2, 8);
        assert_eq!(slots.next(), Some(0));
        let first = slots.start(0, run(1, Some(20.0)));
        assert_eq!(slots.next(), Some(1), "an idle one first");
        slots.start(1, run(2, Some(10.0)));
        assert_eq!(slots.next(), Some(1));
        assert!(slots.takes_ahead(1, Some(30.0), 100));
        let behind = slots.start(1, run(3, Some(30.0)));
        assert_eq!(slots.next(), Some(0));
        assert_eq!(
            (slots.busy(), slots.memory(), slots.runs().count()),
            (2, 200, 3)
        );
        // What was done is told in whatever order.
        assert_eq!(slots.end(1, behind).unwrap().lease.counter, 3);
        assert!(slots.end(1, behind).is_none());
        assert!(slots.end(0, first).is_some());
        assert!(slots.is_idle(0) && !slots.is_idle(1));
    }

    #[test]
    fn nothing_waits_behind_long_or_unknown_work_nor_for_more_memory() {
        let mut slots = Slots::new(1, 8);
        slots.start(0, run(1, Some(20.0)));
        assert!(!slots.takes_ahead(0, None, 100), "unknown");
        assert!(!slots.takes_ahead(0, Some(AHEAD_US), 100), "long");
        assert!(!slots.takes_ahead(0, Some(1.0), 101), "large");
        slots.start(0, run(2, Some(AHEAD_US - 20.0)));
        assert_eq!(slots.next(), None, "enough to do");
        let mut slots = Slots::new(1, 8);
        slots.start(0, run(1, None));
        assert_eq!(slots.next(), None, "who knows how long that takes");
        let mut slots = Slots::new(1, 0);
        slots.start(0, run(1, Some(1.0)));
        assert_eq!(slots.next(), None, "one at a time");
    }

    #[test]
    fn what_is_cancelled_leaves_the_rest_of_its_queue() {
        let mut slots = Slots::new(1, 8);
        let first = slots.start(0, run(1, Some(1.0)));
        let second = slots.start(0, run(2, Some(1.0)));
        assert_eq!(slots.cancel(|run| run.lease.counter == 1), [(0, first)]);
        assert_eq!(slots.runs().count(), 1);
        assert!(slots.end(0, first).is_none(), "nobody wants to know");
        assert!(!slots.is_idle(0));
        assert_eq!(slots.end(0, second).unwrap().lease.counter, 2);
        assert!(slots.is_idle(0));
    }
}
