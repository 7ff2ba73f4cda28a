//! When each slot's current call of a guest has to be back, and what is
//! cancelled. Slots write it at each slice, the watchdog reads it; no guest code
//! is ever interrupted, the process ends instead.

use super::wire::Report;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often deadlines are looked at: a time limit is exact to this.
const PERIOD: Duration = Duration::from_millis(20);

/// How long the other slots may go on to finish their pieces once one is overdue.
const GRACE: Duration = Duration::from_secs(2);

/// The slots' deadlines.
pub(super) struct Watch {
    slots: Mutex<State>,
    /// Signalled when a slot begins to work, so that an idle child sleeps.
    busy: Condvar,
    /// By slot: the last ticket that is cancelled.
    cancelled: Vec<AtomicU64>,
}

struct State {
    slots: Vec<Slot>,
    /// No new piece is begun: the child is about to end.
    draining: bool,
}

#[derive(Clone, Default)]
struct Slot {
    /// Whether it works on a piece.
    working: bool,
    slice: Option<Slice>,
}

/// A call of a guest that has to be back by its deadline.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) slot: usize,
    pub(super) ticket: u64,
    /// The tasks it stands for; `count` is 1 where only one can be guilty, and
    /// 0 where it is none.
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) deadline: Instant,
    /// Too late: whatever it still answers is not reported.
    condemned: bool,
}

impl Slice {
    pub(super) fn new(slot: usize, ticket: u64, first: u64, count: u64, limit: Duration) -> Self {
        let deadline = Instant::now() + limit;
        Self {
            slot,
            ticket,
            first,
            count,
            deadline,
            condemned: false,
        }
    }

    pub(super) fn report(&self) -> Report {
        let &Self {
            slot,
            ticket,
            first,
            count,
            ..
        } = self;
        Report::Overdue {
            slot: slot as u32,
            ticket,
            first,
            count,
        }
    }
}

/// The child is about to end: the slot is to do nothing more.
pub(super) struct Ending;

impl Watch {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: Mutex::new(State {
                slots: vec![Slot::default(); slots],
                draining: false,
            }),
            busy: Condvar::new(),
            cancelled: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A slot begins a piece.
    pub(super) fn begin_piece(&self, slot: usize) -> Result<(), Ending> {
        let mut state = self.state();
        if state.draining {
            return Err(Ending);
        }
        state.slots[slot].working = true;
        self.busy.notify_one();
        Ok(())
    }

    /// A slot has reported its piece.
    pub(super) fn end_piece(&self, slot: usize) {
        self.state().slots[slot].working = false;
    }

    /// A slot is about to call its guest.
    pub(super) fn begin_slice(&self, slice: Slice) {
        let slot = slice.slot;
        self.state().slots[slot].slice = Some(slice);
    }

    /// The guest is back. If it was too late, its slice is reported already.
    pub(super) fn end_slice(&self, slot: usize) -> Result<(), Ending> {
        let mut state = self.state();
        if state.slots[slot]
            .slice
            .as_ref()
            .is_some_and(|slice| slice.condemned)
        {
            return Err(Ending);
        }
        state.slots[slot].slice = None;
        Ok(())
    }

    /// All of the slot's tickets up to `ticket` are to stop.
    pub(super) fn cancel(&self, slot: usize, ticket: u64) {
        self.cancelled[slot].fetch_max(ticket, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self, slot: usize, ticket: u64) -> bool {
        ticket <= self.cancelled[slot].load(Ordering::Relaxed)
    }

    /// Waits until a slice is overdue, then until the other slots have finished
    /// their pieces, or a grace has passed. Answers the overdue slices.
    pub(super) fn until_overdue(&self) -> Vec<Slice> {
        let mut state = self.state();
        while !state.condemn(Instant::now()) {
            let timeout = if state.slots.iter().any(|slot| slot.working) {
                PERIOD
            } else {
                Duration::MAX
            };
            state = self.wait(state, timeout);
        }
        state.draining = true;
        let end = Instant::now() + GRACE;
        while state.others_work() && Instant::now() < end {
            state = self.wait(state, PERIOD);
            state.condemn(Instant::now());
        }
        let slices = state.slots.iter().filter_map(|slot| slot.slice.clone());
        slices.filter(|slice| slice.condemned).collect()
    }

    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        self.busy
            .wait_timeout(state, timeout)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Condemns what is overdue; whether there is any.
    fn condemn(&mut self, now: Instant) -> bool {
        let mut any = false;
        for slice in self.slots.iter_mut().filter_map(|slot| slot.slice.as_mut()) {
            slice.condemned |= slice.deadline <= now;
            any |= slice.condemned;
        }
        any
    }

    /// Whether a slot that is not overdue still works.
    fn others_work(&self) -> bool {
        let overdue = |slot: &Slot| slot.slice.as_ref().is_some_and(|slice| slice.condemned);
        self.slots.iter().any(|slot| slot.working && !overdue(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdue_slice_is_reported_and_its_answer_refused() {
        let watch = Watch::new(2);
        assert!(watch.begin_piece(0).is_ok());
        watch.begin_slice(Slice::new(0, 7, 40, 8, Duration::ZERO));
        let overdue = watch.until_overdue();
        assert_eq!(overdue.len(), 1);
        assert_eq!(
            overdue[0].report(),
            Report::Overdue {
                slot: 0,
                ticket: 7,
                first: 40,
                count: 8
            }
        );
        assert!(watch.end_slice(0).is_err(), "too late");
        assert!(watch.begin_piece(1).is_err(), "draining");
    }

    #[test]
    fn others_finish_before_the_child_ends() {
        let watch = std::sync::Arc::new(Watch::new(2));
        assert!(watch.begin_piece(0).is_ok() && watch.begin_piece(1).is_ok());
        watch.begin_slice(Slice::new(0, 1, 0, 1, Duration::ZERO));
        watch.begin_slice(Slice::new(1, 2, 0, 1, Duration::from_secs(60)));
        let watchdog = std::thread::spawn({
            let watch = std::sync::Arc::clone(&watch);
            move || watch.until_overdue()
        });
        while !watch.state().draining {
            std::thread::yield_now();
        }
        assert!(watch.end_slice(1).is_ok(), "in time");
        watch.end_piece(1);
        assert_eq!(watchdog.join().unwrap().len(), 1);
    }

    #[test]
    fn tickets_up_to_the_cancelled_one_stop() {
        let watch = Watch::new(1);
        assert!(!watch.is_cancelled(0, 1));
        watch.cancel(0, 2);
        watch.cancel(0, 1);
        assert!(watch.is_cancelled(0, 2) && !watch.is_cancelled(0, 3));
    }
}
