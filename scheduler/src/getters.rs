//! Snapshots for people: read-only.

use crate::fairness::Need;
use crate::jobs::Job;
use crate::scheduler::Scheduler;
use crate::time::Micros;
use crate::view::{Contribution, JobProgress, Phase, Waiting, WorkerProgress};
use manyhands_protocol::{JobId, MergeMode, WorkerId};

impl<P> Scheduler<P> {
    /// A job's counts at `now`; `None` for one never submitted, or removed.
    /// Cost: as [`waiting`](Self::waiting).
    #[must_use]
    pub fn job(&self, now: Micros, job: JobId) -> Option<JobProgress> {
        let job = self.jobs.get(&job)?;
        let tasks = job.spec.tree.tasks();
        let prefix = match (job.spec.merge, job.phase) {
            (MergeMode::Reduce, Phase::Done) => tasks,
            _ => job.assembly.prefix(),
        };
        Some(JobProgress {
            phase: job.phase,
            tasks,
            done: job.blocks.done(),
            running: job.blocks.out_tasks(),
            retries: job.retries,
            prefix,
            remaining_us: self.remaining_us(now, job),
            waiting: self.waiting(job.id),
        })
    }

    /// At the measured speed, of which the job gets its weight's share. Counts
    /// whole partials only, so time since the last answers is taken off.
    fn remaining_us(&self, now: Micros, job: &Job<P>) -> Option<u64> {
        if job.phase != Phase::Running {
            return (job.phase == Phase::Done).then_some(0);
        }
        let rate = job.total_rate(self.slots).filter(|rate| *rate > 0.0)?;
        let left = job.spec.tree.tasks() - job.blocks.done();
        let weight = u64::from(job.spec.weight.max(1));
        let crowd = self.active_weight.max(weight) as f64 / weight as f64;
        let predicted = (left as f64 / rate * crowd) as u64;
        let since = job.answered.map_or(0, |answered| now.since(answered));
        Some(predicted.saturating_sub(since))
    }

    /// Why the job gets no worker, if none that is here can take its blocks.
    /// Cost: the workers that cannot.
    #[must_use]
    pub fn waiting(&self, job: JobId) -> Option<Waiting> {
        let job = self.jobs.get(&job)?;
        if job.phase != Phase::Running {
            return None;
        }
        let mut why = Waiting::Worker;
        for worker in self.workers.values().filter(|worker| worker.connected()) {
            let need = Need::of(&job.spec);
            let rank = |why: Waiting| match why {
                Waiting::Worker => 0,
                Waiting::Memory(_) => 1,
                Waiting::Simd => 2,
                Waiting::Paused => 3,
            };
            let here = if need.fits(&worker.capacity) {
                if worker.slots() > 0 {
                    return None;
                }
                Waiting::Paused
            } else if worker.capacity.memory < need.memory {
                Waiting::Memory(need.memory)
            } else {
                Waiting::Simd
            };
            // The nearest to being able says what is lacking.
            if rank(here) > rank(why) {
                why = here;
            }
        }
        Some(why)
    }

    /// Who has given the job how much, by worker id; empty for an unknown job.
    #[must_use]
    pub fn contributions(&self, job: JobId) -> Vec<Contribution> {
        let members = self.jobs.get(&job).into_iter().flat_map(|job| &job.members);
        let given = members.filter(|(_, member)| member.blocks > 0);
        given
            .map(|(worker, member)| Contribution {
                worker: *worker,
                blocks: member.blocks,
                tasks: member.tasks,
                busy_us: member.busy_us,
            })
            .collect()
    }

    /// A worker's counts; `None` once its session is over: it cannot resume.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> Option<WorkerProgress> {
        let worker = self.workers.get(&worker)?;
        let oldest = worker.queue.first().map(|number| &self.leases[number]);
        Some(WorkerProgress {
            connected: worker.connected(),
            slots: worker.capacity.slots,
            leases: worker.queue.len(),
            job: oldest.map(|lease| lease.job),
            blocks: worker.blocks,
            tasks: worker.tasks,
        })
    }

    /// All workers with a session, by id.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.workers.keys().copied()
    }

    /// All jobs that were not removed, by id.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.keys().copied()
    }
}
