//! When each slot's current call of a guest has to be back, and what is
//! cancelled. Slots write it at each slice, the watchdog reads it; no guest code
//! is ever interrupted, the process ends instead.

use super::wire::Report;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often deadlines are looked at: a time limit is exact to this.
const PERIOD: Duration = Duration::from_millis(20);

/// How long the other slots may go on to finish their pieces once one is overdue.
const GRACE: Duration = Duration::from_secs(2);

/// A child that has done nothing for so long sleeps until it is given something.
const DOZE: Duration = Duration::from_secs(1);

/// The slots' deadlines.
pub(super) struct Watch {
    /// Each its own, as slots that do tiny pieces would stand in one another's way.
    slots: Vec<Mutex<Slot>>,
    /// No new piece is begun: the child is about to end.
    draining: AtomicBool,
    /// Whether the watchdog sleeps until a slot begins to work. A slot that begins
    /// a piece looks at nothing else of the watchdog's.
    asleep: AtomicBool,
    door: Mutex<()>,
    /// Signalled when a slot begins to work while the watchdog sleeps.
    busy: Condvar,
    /// By slot: the last ticket that is cancelled.
    cancelled: Vec<AtomicU64>,
}

#[derive(Default)]
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
            slots: (0..slots).map(|_| Mutex::default()).collect(),
            draining: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            door: Mutex::new(()),
            busy: Condvar::new(),
            cancelled: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A slot begins a piece.
    pub(super) fn begin_piece(&self, slot: usize) -> Result<(), Ending> {
        let mut state = self.slot(slot);
        // Under the lock: whoever sets it looks at all slots after that.
        if self.draining.load(Ordering::SeqCst) {
            return Err(Ending);
        }
        state.working = true;
        drop(state);
        // After `working` is set: a watchdog that goes to sleep says so first, and
        // then looks at all slots once more.
        if self.asleep.load(Ordering::SeqCst) {
            drop(self.door());
            self.busy.notify_one();
        }
        Ok(())
    }

    /// A slot has reported its piece.
    pub(super) fn end_piece(&self, slot: usize) {
        self.slot(slot).working = false;
    }

    /// A slot is about to call its guest.
    pub(super) fn begin_slice(&self, slice: Slice) {
        let slot = slice.slot;
        self.slot(slot).slice = Some(slice);
    }

    /// The guest is back. If it was too late, its slice is reported already.
    pub(super) fn end_slice(&self, slot: usize) -> Result<(), Ending> {
        let mut state = self.slot(slot);
        if state.slice.as_ref().is_some_and(|slice| slice.condemned) {
            return Err(Ending);
        }
        state.slice = None;
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
        let mut worked = Instant::now();
        while !self.condemn(Instant::now()) {
            if self.any_works() {
                worked = Instant::now();
            }
            if worked.elapsed() < DOZE {
                std::thread::sleep(PERIOD);
            } else {
                self.sleep();
                worked = Instant::now();
            }
        }
        self.draining.store(true, Ordering::SeqCst);
        let end = Instant::now() + GRACE;
        while self.others_work() && Instant::now() < end {
            std::thread::sleep(PERIOD);
            self.condemn(Instant::now());
        }
        let slices = (0..self.slots.len()).filter_map(|slot| self.slot(slot).slice.clone());
        slices.filter(|slice| slice.condemned).collect()
    }

    /// Sleeps until a slot works.
    fn sleep(&self) {
        let mut door = self.door();
        self.asleep.store(true, Ordering::SeqCst);
        while !self.any_works() {
            let woken = self.busy.wait(door);
            door = woken.unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Condemns what is overdue; whether there is any.
    fn condemn(&self, now: Instant) -> bool {
        let mut any = false;
        for slot in 0..self.slots.len() {
            if let Some(slice) = &mut self.slot(slot).slice {
                slice.condemned |= slice.deadline <= now;
                any |= slice.condemned;
            }
        }
        any
    }

    fn any_works(&self) -> bool {
        (0..self.slots.len()).any(|slot| self.slot(slot).working)
    }

    /// Whether a slot that is not overdue still works.
    fn others_work(&self) -> bool {
        let overdue = |slot: &Slot| slot.slice.as_ref().is_some_and(|slice| slice.condemned);
        (0..self.slots.len()).any(|slot| {
            let slot = self.slot(slot);
            slot.working && !overdue(&slot)
        })
    }

    fn slot(&self, slot: usize) -> MutexGuard<'_, Slot> {
        let slot = &self.slots[slot];
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self) -> MutexGuard<'_, ()> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
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
        while !watch.draining.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert!(watch.end_slice(1).is_ok(), "in time");
        watch.end_piece(1);
        assert_eq!(watchdog.join().unwrap().len(), 1);
    }

    #[test]
    fn a_watchdog_that_sleeps_is_woken_by_a_piece() {
        let watch = std::sync::Arc::new(Watch::new(1));
        let watchdog = std::thread::spawn({
            let watch = std::sync::Arc::clone(&watch);
            move || watch.until_overdue()
        });
        while !watch.asleep.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert!(watch.begin_piece(0).is_ok());
        watch.begin_slice(Slice::new(0, 1, 0, 1, Duration::ZERO));
        assert_eq!(watchdog.join().unwrap().len(), 1);
        assert!(!watch.asleep.load(Ordering::SeqCst));
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
