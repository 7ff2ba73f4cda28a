//! Pings: how far away a worker is, and whether one that holds leases and says
//! nothing is still there. A worker that does not answer keeps its session until
//! the deadline; its blocks go to others at once, so that those of machines that
//! vanished do not make up the end of a job.

use crate::event::Action;
use crate::scheduler::Scheduler;
use crate::time::Micros;
use crate::workers::Worker;
use manyhands_protocol::WorkerId;

/// A worker that computes says something more often than this, as a rule.
const QUIET_US: u64 = 2_000_000;

/// An answer may take so long beyond some round trips.
const PATIENCE_US: u64 = 1_000_000;
const PATIENCE_TRIPS: u64 = 4;

/// A round trip is measured again after so long.
const MEASURE_US: u64 = 10_000_000;

/// The round trip of a worker, as far as it was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    /// When it was asked, if no answer has come.
    asked: Option<Micros>,
    /// When it last answered.
    measured: Option<Micros>,
    /// It was asked, and nothing came: its blocks went to others.
    pub(crate) lost: bool,
}

impl Pulse {
    pub(crate) fn is_measured(&self) -> bool {
        self.measured.is_some()
    }

    /// Whether the last measurement was long ago.
    pub(crate) fn is_due(&self, now: Micros) -> bool {
        self.measured.is_some_and(|at| now.since(at) > MEASURE_US)
    }
}

impl Worker {
    /// The round trip, if pings have told it: what blocks tell has more in it.
    pub(crate) fn distance_us(&self) -> u64 {
        let measured = self.pulse.is_measured();
        if measured { self.round_trip } else { 0 }
    }

    /// When to look whether it lives, if it has something to do.
    pub(crate) fn look_at(&self) -> Option<Micros> {
        // A hidden page's timers are slow, and of one that has not answered yet
        // nobody knows how long it takes to.
        let judged = self.pulse.is_measured() && !self.capacity.hidden;
        if self.queue.is_empty() || !judged || self.pulse.lost {
            return None;
        }
        let patience = PATIENCE_US + PATIENCE_TRIPS * self.round_trip;
        Some(match self.pulse.asked {
            Some(asked) => asked.max(self.heard) + patience,
            None => self.heard + QUIET_US,
        })
    }
}

impl<P> Scheduler<P> {
    /// Asks a worker for an answer, unless it was asked.
    pub(crate) fn ping(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        let worker = self.workers.get_mut(&id).expect("a worker to ask");
        if worker.pulse.asked.is_none() {
            worker.pulse.asked = Some(self.now);
            actions.push(Action::Ping { worker: id });
        }
    }

    pub(crate) fn pong(&mut self, id: WorkerId) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if let Some(asked) = worker.pulse.asked.take() {
            let first = worker.pulse.measured.replace(now).is_none();
            worker.trip_measured(now.since(asked), first);
            if first {
                // From now on its silence is looked at sooner.
                self.arm(id);
            }
        }
    }

    /// A connection is new: what was asked on another will not be answered.
    pub(crate) fn ping_anew(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        let worker = self.workers.get_mut(&id).expect("a worker to ask");
        worker.pulse.asked = None;
        worker.pulse.lost = false;
        self.ping(id, actions);
    }

    /// A connected worker's timer: it is asked, or its blocks go to others.
    pub(crate) fn look_for_life(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        let worker = self.workers.get_mut(&id).expect("a watched worker");
        if worker.look_at().is_none_or(|at| at > self.now) {
            return;
        }
        if worker.pulse.asked.is_none() {
            return self.ping(id, actions);
        }
        worker.pulse.lost = true;
        self.free_leases(id);
        self.news = true;
    }

    /// Those that were taken for lost and have said something: what they hold is
    /// theirs again, as far as it is not done.
    pub(crate) fn take_back(&mut self, actions: &mut Vec<Action<P>>) {
        for id in std::mem::take(&mut self.found) {
            let Some(worker) = self.workers.get(&id) else {
                continue;
            };
            for lease in worker.former.clone() {
                self.hold_again(id, lease, actions);
            }
            self.touched.insert(id);
            self.arm(id);
        }
    }
}
