//! Handing out: which worker wants a block, of which job, how large.

use crate::buddy::leftmost;
use crate::event::Action;
use crate::fairness::stride;
use crate::jobs::Job;
use crate::leases::Lease;
use crate::scheduler::Scheduler;
use crate::sizing::{ALONE, Situation, block_tasks, duration_us, most_input, target_us};
use crate::workers::{Load, Worker};
use manyhands_protocol::{JobId, Node, WorkerId};
use std::collections::BTreeSet;

/// The most leases that a worker holds which has handed nothing in yet: it may be
/// gone as soon as it came.
const UNTRIED: usize = 8;

/// What lies further left may have this part of what is wanted: an end of many small
/// blocks would cost more than leaving them for those that want such.
const SMALLER: u64 = 4;

/// The next block that a worker shall have.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// Its most tasks.
    tasks: u64,
    /// How small one further left may be.
    least: u64,
}

/// How many suspects a worker may step over that another is to try.
const SUSPECTS_SEEN: usize = 64;

impl<P> Scheduler<P> {
    /// Ends every event: gives work to those who may want some.
    pub(crate) fn hand_out(&mut self, actions: &mut Vec<Action<P>>) {
        if self.retry_at.is_some_and(|at| at <= self.now) {
            self.retry_at = None;
            self.news = true;
        }
        // Who waits comes first: a worker that was asked to give a lease back
        // would otherwise take it again to have a second one.
        if std::mem::take(&mut self.news) && !self.ready.is_empty() && !self.hold {
            self.fill_all(|scheduler| &scheduler.idle, actions);
            self.fill_all(|scheduler| &scheduler.hungry, actions);
        }
        while let Some(id) = self.touched.pop_first() {
            self.fill(id, actions);
            self.rescue(id, actions);
        }
        self.rescue_all(actions);
        // Grants make no news; what they close opens with an event.
        self.news = false;
        // What is free was not for the hungry; patience changes that.
        if self.hold || self.hungry.is_empty() || self.ready.is_empty() {
            self.retry_at = None;
        } else if self.retry_at.is_none() {
            self.retry_at = Some(self.now + self.config.patience_us);
        }
    }

    fn is_hungry(&mut self, id: WorkerId) {
        self.hungry.insert(id);
        if self.workers[&id].queue.is_empty() {
            self.idle.insert(id);
        }
    }

    /// Gives to the workers of a set, in turn, as long as there is something.
    fn fill_all(
        &mut self,
        set: impl Fn(&Self) -> &BTreeSet<WorkerId>,
        actions: &mut Vec<Action<P>>,
    ) {
        let mut from = WorkerId(0);
        while !self.ready.is_empty() {
            let Some(id) = set(self).range(from..).next().copied() else {
                return;
            };
            from = WorkerId(id.0.saturating_add(1));
            self.fill(id, actions);
        }
    }

    /// While on, nothing is granted.
    pub(crate) fn hold(&mut self, on: bool) {
        let before = std::mem::replace(&mut self.hold, on);
        if before && !on {
            self.touched.extend(&self.hungry);
            self.news = true;
        }
    }

    /// Grants until the worker has enough, or nothing is left for it.
    fn fill(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        self.hungry.remove(&id);
        self.idle.remove(&id);
        if !self.workers[&id].available(self.now) {
            return;
        }
        if self.hold {
            // Whatever it has: all are looked at when the hold ends.
            self.is_hungry(id);
            self.outdate(id);
            return;
        }
        while self.wants_more(id) {
            if !self.grant_next(id, actions) {
                self.is_hungry(id);
                break;
            }
        }
        self.outdate(id);
    }

    /// Whether a slot idles, or would before another grant could arrive.
    fn wants_more(&self, id: WorkerId) -> bool {
        let worker = &self.workers[&id];
        let most = match worker.blocks {
            // Its speed is a guess after others'.
            0 => UNTRIED.min(self.config.max_depth),
            _ => self.config.max_depth,
        };
        // One that never answers for what others have done meanwhile would
        // collect such leases without end.
        if worker.queue.len() >= most || worker.former.len() >= most {
            return false;
        }
        if worker.queue.len() < 2 {
            return true;
        }
        let (mut tasks, mut slots) = (0, 0);
        let mut least_us = self.config.min_block_us;
        let (mut input, mut until_idle) = (0_u64, Some(0.0));
        for (load, job, fitting) in self.loads(worker) {
            (tasks, slots) = (tasks + load.left, slots.max(fitting));
            input = input.saturating_add(load.tasks.saturating_mul(job.spec.bytes_per_task));
            let rate = job.worker_rate(id, fitting);
            // Near the end what is queued is a guess, which is not taken back for nothing.
            // Where it is not time that makes blocks short, they need their queue.
            let least = rate.map(|rate| (rate * self.config.last_block_us as f64) as u64);
            let by_time = least.is_some_and(|least| least < job.spec.max_block);
            if by_time && self.ends_soon(worker, job) {
                least_us = 0;
            }
            until_idle = until_idle.and_then(|until| Some(until + load.left as f64 / rate?));
        }
        if tasks < u64::from(slots) {
            return true;
        }
        let Some(until_idle) = until_idle else {
            return false;
        };
        // The last task of each slot has begun when the first slot idles.
        let queued = until_idle * (tasks - u64::from(slots)) as f64 / tasks as f64;
        // Where blocks take microseconds a round trip is mostly waiting behind others:
        // as much is queued as one block takes at least where that is chosen.
        let enough = (2 * worker.round_trip).max(least_us) as f64;
        let most_input = most_input(&self.config, worker.capacity.memory);
        queued < enough && input < most_input.saturating_mul(2)
    }

    /// What a worker has to do, by job, each with the slots that it can give it.
    pub(crate) fn loads<'a>(
        &'a self,
        worker: &'a Worker,
    ) -> impl Iterator<Item = (&'a Load, &'a Job<P>, u16)> {
        worker.load.iter().map(|load| {
            let job = &self.jobs[&load.job];
            (load, job, worker.slots_for(job.need()))
        })
    }

    /// Grants the next block of the job whose turn it is; `false` if there is
    /// none for this worker.
    fn grant_next(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) -> bool {
        let capacity = self.workers[&id].capacity;
        let mut after = None;
        while let Some((pass, job_id)) = self.ready.next(&capacity, after) {
            self.foresee_end(job_id);
            let (worker, job) = (&self.workers[&id], &self.jobs[&job_id]);
            if !job.unfit.contains_key(&id)
                && let Some(node) = self.choose(id, worker, job)
            {
                self.served = self.served.max(pass);
                self.grant(id, job_id, node, false, actions);
                return true;
            }
            after = Some((pass, job_id));
        }
        false
    }

    /// The block of a ready job that this worker shall have.
    fn choose(&self, id: WorkerId, worker: &Worker, job: &Job<P>) -> Option<Node> {
        let tree = job.spec.tree;
        let wanted = self.wanted(id, worker, job)?;
        let (free, suspects) = (job.blocks.free(), job.blocks.suspects());
        let suspect = |first: Option<u64>| {
            let mut seen = suspects.iter().take(SUSPECTS_SEEN);
            let node = seen.find(|node| {
                first.is_none_or(|first| node.first() == first) && self.may_try(id, job.id, *node)
            })?;
            Some(leftmost(tree, node, wanted.tasks))
        };
        if let Some(front) = job.front(&self.config)
            && job.blocks.first_free() == Some(front)
        {
            let first = free.first().filter(|node| node.first() == front);
            let first = first.map(|node| leftmost(tree, node, wanted.tasks));
            let first = first.or_else(|| suspect(Some(front)));
            if first.is_some() || job.window_closed(&self.config) {
                return first;
            }
        }
        suspect(None).or_else(|| free.pick(wanted.tasks, wanted.least))
    }

    /// What the worker's next block of the job shall be like; `None` where what it has
    /// takes it to the job's end.
    fn wanted(&self, id: WorkerId, worker: &Worker, job: &Job<P>) -> Option<Wanted> {
        let slots = worker.slots_for(job.need()).max(1);
        let all_slots = self.slots_of(job);
        let speed = job.members.get(&id).map(|member| member.speed);
        let speed = speed.unwrap_or_default();
        let expected = job.slot_rate().map(|rate| rate * f64::from(slots));
        let rate = speed.rate().or(expected);
        let total = job.total_rate(all_slots);
        let share = match (rate, total) {
            (Some(rate), Some(total)) if total > 0.0 => rate / total,
            _ => f64::from(slots) / all_slots.max(1) as f64,
        };
        let slack_us = self.slack_us(id, worker, job).filter(|_| share < ALONE);
        // Whoever has something will be asked again; whoever has nothing may be the
        // only one who can.
        if slack_us.is_some_and(|slack| slack <= 0.0) && !worker.queue.is_empty() {
            return None;
        }
        let distance = worker.distance_us();
        let situation = Situation {
            engine: worker.capacity.engine,
            // So many of these at least fill a round trip.
            least_us: self.config.min_block_us.max(distance / 4),
            last_us: self.config.last_block_us.max(distance / 32),
            slack_us,
            slots,
            memory: worker.capacity.memory,
            speed,
            expected,
            share: share.min(1.0),
            free: job.blocks.free_tasks(),
            output_per_task: job.output_per_task(),
            bytes_per_partial: job.bytes_per_partial(),
        };
        let tasks = block_tasks(&self.config, &job.spec, &situation);
        // Whoever shares its end with nobody goes from left to right: what is left behind
        // would be merged last, all the way up, while its slots wait.
        let least = if share > ALONE { 1 } else { tasks / SMALLER };
        Some(Wanted { tasks, least })
    }

    /// Leases a block out: a free one, or one more copy of one that is out.
    pub(crate) fn grant(
        &mut self,
        id: WorkerId,
        job_id: JobId,
        node: Node,
        copy: bool,
        actions: &mut Vec<Action<P>>,
    ) {
        let lease_id = self.next_lease;
        self.next_lease.counter += 1;
        let worker = self.workers.get_mut(&id).expect("a worker to grant to");
        let job = self.jobs.get_mut(&job_id).expect("a job to grant from");
        let tree = job.spec.tree;
        let tasks = tree.len(node);
        let slots = worker.slots_for(job.need());
        let predicted = job.enlist(id, slots);
        let predicted = predicted.map_or_else(
            || target_us(&self.config, worker.capacity.engine) / self.config.growth.max(1),
            |rate| duration_us(tasks, slots, rate),
        );
        let mut lease = Lease::new(id, job_id, tree, tree.canonical(node), self.now);
        lease.idle_before = worker.queue.is_empty();
        lease.charged = predicted.saturating_mul(u64::from(slots));
        if copy {
            job.blocks.duplicate(lease.node, lease_id);
        } else {
            job.blocks.lease(lease.node, lease_id);
        }
        job.pass += stride(lease.charged, job.spec.weight);
        job.ends.stands(&mut lease);
        let watched = !lease.idle_before;
        worker.enqueue(lease_id, &lease);
        worker.known.insert(job_id);
        let due = worker.pulse.is_due(self.now);
        self.leases.insert(lease_id, Box::new(lease));
        actions.push(Action::Grant {
            worker: id,
            lease: lease_id,
            job: job_id,
            node,
        });
        self.requeue(job_id);
        if !watched {
            self.arm(id);
        }
        if due {
            self.ping(id, actions);
        }
    }
}
