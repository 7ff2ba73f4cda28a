//! Snapshots for people: read-only.

use crate::jobs::Job;
use crate::scheduler::Scheduler;
use crate::time::Micros;
use crate::view::{Contribution, JobProgress, Phase, Waiting, WorkerProgress};
use crate::workers::Worker;
use manyhands_protocol::{Failure, JobId, LeaseId, MergeMode, Node, WorkerId};

/// Answers may come so much later than predicted, and as late again as all that
/// is at work takes, before the prediction is taken for wrong.
const OVERDUE_US: u64 = 1_000_000;

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
    /// whole partials only, so time since the last answer is taken off, but no
    /// more than what is at work is worth. When that is long overdue, nobody
    /// knows.
    fn remaining_us(&self, now: Micros, job: &Job<P>) -> Option<u64> {
        if job.phase != Phase::Running {
            return (job.phase == Phase::Done).then_some(0);
        }
        let rate = job.total_rate(self.slots_of(job));
        let rate = rate.filter(|rate| *rate > 0.0)?;
        let weight = u64::from(job.spec.weight.max(1));
        let crowd = self.active_weight.max(weight) as f64 / weight as f64;
        let worth = |tasks: u64| (tasks as f64 / rate * crowd) as u64;
        let left = worth(job.spec.tree.tasks() - job.blocks.done());
        let at_work = worth(job.blocks.out_tasks());
        let since = job.answered.map_or(0, |answered| now.since(answered));
        let overdue = since > at_work.saturating_mul(2).saturating_add(OVERDUE_US);
        (!overdue).then(|| left - since.min(at_work))
    }

    /// Why the job gets no worker, if none that is here can take its blocks.
    /// Cost: the workers, if there is none.
    #[must_use]
    pub fn waiting(&self, job: JobId) -> Option<Waiting> {
        let job = self.jobs.get(&job)?;
        if job.phase != Phase::Running || self.slots_of(job) > 0 {
            return None;
        }
        // The nearest to being able says what is lacking.
        let workers = self.workers.iter();
        let workers = workers.filter(|(_, worker)| worker.connected());
        let all = workers.map(|(id, worker)| lack(job, id, worker));
        Some(all.max_by_key(|why| rank(*why)).unwrap_or(Waiting::Worker))
    }

    /// The workers that cannot run the job, and why; those whose session is over
    /// are forgotten.
    pub fn unfit(&self, job: JobId) -> impl Iterator<Item = (WorkerId, &Failure)> {
        let unfit = self.jobs.get(&job).into_iter().flat_map(|job| &job.unfit);
        unfit.map(|(worker, unfit)| (*worker, &unfit.failure))
    }

    /// Whether the worker may still answer this lease: what it hands in for
    /// another is of no use.
    #[must_use]
    pub fn holds(&self, worker: WorkerId, lease: LeaseId) -> bool {
        let lease = self.leases.get(&lease);
        lease.is_some_and(|lease| lease.worker == worker)
    }

    /// Whether the worker has computed something of the job in this session: it
    /// has the guest at hand.
    #[must_use]
    pub fn has_computed(&self, worker: WorkerId, job: JobId) -> bool {
        let job = self.jobs.get(&job);
        let member = job.and_then(|job| job.members.get(&worker));
        member.is_some_and(|member| member.blocks > 0)
    }

    /// Who has given the job how much, by worker id; empty for an unknown job.
    #[must_use]
    pub fn contributions(&self, job: JobId) -> Vec<Contribution> {
        let job = self.jobs.get(&job).into_iter();
        let members = job.flat_map(|job| job.members.iter());
        let given = members.filter(|(_, member)| member.blocks > 0);
        let given = given.map(|(worker, member)| Contribution {
            worker,
            blocks: member.blocks,
            tasks: member.tasks,
            busy_us: member.busy_us,
        });
        let mut given: Vec<Contribution> = given.collect();
        given.sort_unstable_by_key(|given| given.worker);
        given
    }

    /// A worker's counts; `None` once its session is over: it cannot resume.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> Option<WorkerProgress> {
        let worker = self.workers.get(&worker)?;
        let oldest = worker.queue.front().map(|lease| &self.leases[lease]);
        Some(WorkerProgress {
            connected: worker.connected(),
            slots: worker.capacity.slots,
            leases: worker.queue.len(),
            job: oldest.map(|lease| lease.job),
            blocks: worker.blocks,
            tasks: worker.tasks,
            quarantine: worker.conduct.shown(),
        })
    }

    /// How many workers are connected, and the slots they have together, at the
    /// cost of a look.
    #[must_use]
    pub fn crew(&self) -> (u64, u64) {
        self.crew
    }

    /// Whether an [`Event::Merged`](crate::Event::Merged) for this node would be
    /// used: a merge to it was given out, and no ancestor of it has come in
    /// meanwhile.
    #[must_use]
    pub fn merging(&self, job: JobId, node: Node) -> bool {
        let job = self.jobs.get(&job);
        job.is_some_and(|job| job.assembly.awaits(node))
    }

    /// All workers with a session, by id.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.workers.ids().into_iter()
    }

    /// All jobs that were not removed, by id.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.ids().into_iter()
    }
}

/// Why a connected worker cannot take the job's blocks.
fn lack<P>(job: &Job<P>, id: WorkerId, worker: &Worker) -> Waiting {
    let need = job.need();
    if need.memory > worker.capacity.memory {
        Waiting::Memory(need.memory)
    } else if !need.fits(&worker.capacity) {
        Waiting::Simd
    } else if job.unfit.contains_key(&id) {
        Waiting::Unusable(job.unfit.len())
    } else if worker.conduct.until().is_some() && worker.capacity.slots > 0 {
        Waiting::Quarantined
    } else {
        Waiting::Paused
    }
}

/// How near to being able this is.
fn rank(why: Waiting) -> u8 {
    match why {
        Waiting::Worker => 0,
        Waiting::Memory(_) => 1,
        Waiting::Simd => 2,
        Waiting::Unusable(_) => 3,
        Waiting::Quarantined => 4,
        Waiting::Paused => 5,
    }
}
