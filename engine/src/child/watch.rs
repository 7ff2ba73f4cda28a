//! When each slot's current call of a guest has to be back, and what is
//! cancelled. Slots write it at each slice, the watchdog reads it; no guest code
//! is ever interrupted, the process ends instead.

use super::wire::Report;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the other slots may go on to finish their pieces once one is overdue, and
/// how often it is looked whether they have.
const GRACE: Duration = Duration::from_secs(2);
const PERIOD: Duration = Duration::from_millis(20);

/// When the watchdog looks that sleeps for ever.
const NEVER: u64 = u64::MAX;

/// The slots' deadlines.
pub(super) struct Watch {
    /// Each its own, as slots that do tiny pieces would stand in one another's way.
    slots: Vec<Mutex<Slot>>,
    /// No new piece is begun: the child is about to end.
    draining: AtomicBool,
    start: Instant,
    /// Until when the watchdog sleeps, in microseconds since `start`: the first of the
    /// deadlines that it saw. A slot that begins a slice looks at nothing else of the
    /// watchdog's.
    sleeps_until: AtomicU64,
    door: Mutex<()>,
    /// Signalled when a slice begins whose deadline is before that.
    sooner: Condvar,
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
            start: Instant::now(),
            sleeps_until: AtomicU64::new(0),
            door: Mutex::new(()),
            sooner: Condvar::new(),
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
        Ok(())
    }

    /// A slot has reported its piece.
    pub(super) fn end_piece(&self, slot: usize) {
        self.slot(slot).working = false;
    }

    /// A slot is about to call its guest.
    pub(super) fn begin_slice(&self, slice: Slice) {
        let (slot, deadline) = (slice.slot, self.micros(slice.deadline));
        self.slot(slot).slice = Some(slice);
        // After it is there: a watchdog that goes to sleep says until when first, and
        // then looks at all slots once more.
        if deadline < self.sleeps_until.load(Ordering::SeqCst) {
            drop(self.door());
            self.sooner.notify_one();
        }
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
        while !self.condemn(Instant::now()) {
            self.sleep();
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

    /// Sleeps until the first of the deadlines, or until a slice begins that has one
    /// before that.
    fn sleep(&self) {
        let mut door = self.door();
        let first = self.first_deadline();
        self.sleeps_until.store(first, Ordering::SeqCst);
        while self.first_deadline() >= first {
            let left = Duration::from_micros(first).saturating_sub(self.start.elapsed());
            if left.is_zero() {
                break;
            }
            let woken = self.sooner.wait_timeout(door, left);
            door = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        // Awake it looks at all of them by itself.
        self.sleeps_until.store(0, Ordering::SeqCst);
    }

    /// In microseconds since the start.
    fn first_deadline(&self) -> u64 {
        let each = (0..self.slots.len()).filter_map(|slot| {
            let state = self.slot(slot);
            let slice = state.slice.as_ref()?;
            Some(self.micros(slice.deadline))
        });
        each.min().unwrap_or(NEVER)
    }

    /// When it has passed for certain.
    fn micros(&self, moment: Instant) -> u64 {
        let micros = moment.saturating_duration_since(self.start).as_micros();
        u64::try_from(micros).map_or(NEVER, |micros| micros.saturating_add(1))
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
    fn a_watchdog_that_sleeps_is_woken_by_a_nearer_deadline() {
        let watch = std::sync::Arc::new(Watch::new(2));
        let watchdog = std::thread::spawn({
            let watch = std::sync::Arc::clone(&watch);
            move || watch.until_overdue()
        });
        let asleep_until = |wanted: &dyn Fn(u64) -> bool| {
            while !wanted(watch.sleeps_until.load(Ordering::SeqCst)) {
                std::thread::yield_now();
            }
        };
        asleep_until(&|until| until == NEVER);
        assert!(watch.begin_piece(0).is_ok() && watch.begin_piece(1).is_ok());
        watch.begin_slice(Slice::new(0, 1, 0, 1, Duration::from_secs(3600)));
        asleep_until(&|until| until != 0 && until != NEVER);
        watch.begin_slice(Slice::new(1, 2, 0, 1, Duration::ZERO));
        watch.end_piece(0);
        let overdue = watchdog.join().unwrap();
        assert_eq!((overdue.len(), overdue[0].slot), (1, 1));
    }

    #[test]
    fn a_deadline_that_was_met_wakes_nobody_for_good() {
        let watch = std::sync::Arc::new(Watch::new(1));
        let watchdog = std::thread::spawn({
            let watch = std::sync::Arc::clone(&watch);
            move || watch.until_overdue()
        });
        let limit = Duration::from_millis(30);
        for ticket in 1..=20 {
            assert!(watch.begin_piece(0).is_ok());
            watch.begin_slice(Slice::new(0, ticket, 0, 1, Duration::from_secs(3600)));
            assert!(watch.end_slice(0).is_ok(), "in time");
            watch.end_piece(0);
        }
        assert!(watch.begin_piece(0).is_ok());
        watch.begin_slice(Slice::new(0, 21, 0, 1, limit));
        let overdue = watchdog.join().unwrap();
        assert_eq!((overdue.len(), overdue[0].ticket), (1, 21));
        assert!(watch.end_slice(0).is_err(), "too late");
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
