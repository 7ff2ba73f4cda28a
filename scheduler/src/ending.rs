//! When a job would be done if all its workers ended together: near the end, each
//! is given no more than it can do until then.
//!
//! Let worker *w* be busy for `busy(w)` and do `rate(w)` tasks a microsecond. Then
//! all can end together `(free + Σ rate(w) · busy(w)) / Σ rate(w)` from now. A grant
//! does not move that moment (what was free is busy then), only what was not
//! foreseen does: so it is worked out anew now and then, not for each grant.
//!
//! Rates are those of what was done so far. Where what is left takes longer, that
//! moment is too early. So it is heeded only while it is near and the job goes on as
//! fast as it did, and makes blocks smaller than they would be, never larger.

use crate::jobs::Job;
use crate::scheduler::Scheduler;
use crate::sizing::target_us;
use crate::time::Micros;
use crate::workers::Worker;
use manyhands_protocol::{JobId, WorkerId};

/// Nobody looks for the end while what is free would take all so long, in
/// microseconds: with what they have, it is further still.
const FORESEEN_US: f64 = 4_000_000.0;

/// The end is near if it is no further than this, in microseconds, or than so many
/// round trips: what is on its way is granted by then.
const NEAR_US: u64 = 200_000;
const NEAR_TRIPS: u64 = 4;

/// So many members are walked through for each look for a block, on average.
const MEMBERS_A_LOOK: usize = 8;

/// A job goes on as it did if all its workers together are as fast, but for this part,
/// as they were so many microseconds ago.
const UNSTEADY: f64 = 0.25;
const STEADY_US: u64 = 500_000;

/// How fast all workers of a job were, in tasks a microsecond: looked at now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    looked: Micros,
    /// Then.
    rate: f64,
    /// The time before.
    before: f64,
}

impl Pace {
    /// Takes in how fast they are; whether they were so some time ago.
    fn is_steady(&mut self, now: Micros, rate: f64) -> bool {
        if self.rate == 0.0 || now.since(self.looked) >= STEADY_US {
            (self.looked, self.before, self.rate) = (now, self.rate, rate);
        }
        (rate - self.before).abs() <= UNSTEADY * self.before
    }
}

/// The end that all workers of a job could share, as it was last worked out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SharedEnd {
    /// Of the computing: what it comes to travels after that. `None` where it is far
    /// or cannot be foreseen.
    at: Option<Micros>,
    /// How many more looks it is good for.
    looks: usize,
}

impl<P> Scheduler<P> {
    /// Works the job's [`SharedEnd`] out, if that was not done for some time. To be
    /// called before each look for a block: amortised, that is constant work.
    pub(crate) fn foresee_end(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("a job to grant from");
        if job.shared_end.looks > 0 {
            job.shared_end.looks -= 1;
            return;
        }
        let slots = self.slots_of(&self.jobs[&id]);
        let job = self.jobs.get_mut(&id).expect("just seen");
        let looks = job.members.len() / MEMBERS_A_LOOK;
        let rate = job.total_rate(slots);
        let steady = rate.filter(|rate| job.pace.is_steady(self.now, *rate));
        let at = steady.and_then(|rate| self.shared_end(&self.jobs[&id], rate));
        let job = self.jobs.get_mut(&id).expect("just seen");
        job.shared_end = SharedEnd { at, looks };
    }

    /// The end that all, who do `all` tasks a microsecond, could share.
    fn shared_end(&self, job: &Job<P>, all: f64) -> Option<Micros> {
        let mut left = job.blocks.free_tasks() as f64;
        if left > FORESEEN_US * all {
            return None;
        }
        for (id, _) in job.members.iter() {
            let Some(worker) = self.workers.get(&id) else {
                continue;
            };
            let slots = worker.slots_for(job.need());
            if slots > 0 {
                let rate = job.worker_rate(id, slots).unwrap_or(0.0);
                left += self.busy_us(id, worker) * rate;
            }
        }
        Some(self.now + (left / all) as u64)
    }

    /// For how long the worker is busy, in microseconds: not less than a grant
    /// takes to reach it.
    fn busy_us(&self, id: WorkerId, worker: &Worker) -> f64 {
        let travel = worker.distance_us() / 2;
        let Some(first) = worker.queue.front() else {
            return travel as f64;
        };
        let first = &self.leases[first];
        // It began when it came, or when its worker was done with what came before.
        let came = first.granted + travel;
        let begun = came.0.max(worker.answered.0.saturating_sub(travel));
        let loads = self.loads(worker);
        let work = loads.map(|(load, job, slots)| {
            let over = if load.job == first.job {
                first.handed_tasks()
            } else {
                0
            };
            match job.worker_rate(id, slots) {
                Some(rate) => (load.tasks - over) as f64 / rate,
                None => target_us(&self.config, worker.capacity.engine) as f64,
            }
        });
        let until = begun as f64 + work.sum::<f64>();
        (until - self.now.0 as f64).max(travel as f64)
    }

    /// How far the end that all could share is, in microseconds, if it is near and
    /// can be foreseen.
    fn near_end_us(&self, worker: &Worker, job: &Job<P>) -> Option<u64> {
        let left = job.shared_end.at?.since(self.now);
        let near = NEAR_US.max(NEAR_TRIPS * worker.distance_us());
        (left <= near).then_some(left)
    }

    pub(crate) fn ends_soon(&self, worker: &Worker, job: &Job<P>) -> bool {
        self.near_end_us(worker, job).is_some()
    }

    /// The time from when the worker is done with what it has to the end that all
    /// could share, in microseconds: less than nothing where it will be late. `None`
    /// while that end is not near.
    pub(crate) fn slack_us(&self, id: WorkerId, worker: &Worker, job: &Job<P>) -> Option<f64> {
        let left = self.near_end_us(worker, job)?;
        Some(left as f64 - self.busy_us(id, worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_steady_once_it_has_been_the_same_for_a_while() {
        let mut pace = Pace::default();
        assert!(!pace.is_steady(Micros(7), 1.0), "nothing to compare with");
        assert!(!pace.is_steady(Micros(400_000), 1.0));
        assert!(pace.is_steady(Micros(600_000), 1.1));
        assert!(!pace.is_steady(Micros(700_000), 50.0), "cheap tasks");
        assert!(
            !pace.is_steady(Micros(1_200_000), 50.0),
            "for too short a time"
        );
        assert!(pace.is_steady(Micros(1_800_000), 45.0));
        assert!(!pace.is_steady(Micros(1_900_000), 30.0), "dear ones");
    }
}
