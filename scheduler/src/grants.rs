//! Handing out: which worker wants a block, of which job, how large.

use crate::buddy::{NodeSet, leftmost};
use crate::event::Action;
use crate::fairness::stride;
use crate::leases::Lease;
use crate::scheduler::Scheduler;
use crate::sizing::{Situation, block_tasks, duration_us, target_us};
use crate::time::Micros;
use manyhands_protocol::{JobId, Node, WorkerId};

/// However many slots a worker claims, it holds no more leases than this.
const MOST_LEASES: usize = 512;

/// How many suspects a worker may step over that another is to try.
const SUSPECTS_SEEN: usize = 64;

impl<P> Scheduler<P> {
    /// Ends every event: gives work to those who may want some.
    pub(crate) fn hand_out(&mut self, actions: &mut Vec<Action<P>>) {
        // Who waits comes first: a worker that was asked to give a lease back
        // would otherwise take it again to have a second one.
        if std::mem::take(&mut self.news) && !self.ready.is_empty() {
            let (idle, busy): (Vec<_>, Vec<_>) = self
                .hungry
                .iter()
                .partition(|id| self.workers[id].queue.is_empty());
            for id in idle.into_iter().chain(busy) {
                if self.ready.is_empty() {
                    break;
                }
                self.fill(id, actions);
            }
        }
        while let Some(id) = self.touched.pop_first() {
            self.fill(id, actions);
            self.rescue(id, actions);
        }
        self.rescue_all(actions);
        // Grants make no news; what they close opens with an event.
        self.news = false;
    }

    /// Grants until the worker has enough, or nothing is left for it.
    fn fill(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        self.hungry.remove(&id);
        if !self.workers[&id].available(self.now) {
            return;
        }
        while self.wants_more(id) {
            if !self.grant_next(id, actions) {
                self.hungry.insert(id);
                break;
            }
        }
        self.predict(id);
    }

    /// Whether a slot idles, or would before another grant could arrive.
    fn wants_more(&self, id: WorkerId) -> bool {
        let worker = &self.workers[&id];
        let slots = worker.slots();
        let most = usize::from(slots).saturating_mul(2).min(MOST_LEASES);
        let most = most.max(self.config.max_depth);
        // One that never answers for what others have done meanwhile would
        // collect such leases without end.
        if worker.queue.len() >= most || worker.former.len() >= most {
            return false;
        }
        let (mut tasks, mut input, mut until_idle) = (0_u64, 0_u64, Some(0.0));
        for number in &worker.queue {
            let lease = &self.leases[number];
            let job = &self.jobs[&lease.job];
            let left = lease.left();
            tasks += left;
            input = input.saturating_add(lease.tasks.saturating_mul(job.spec.bytes_per_task));
            let rate = job.worker_rate(id, slots);
            until_idle = until_idle
                .zip(rate)
                .map(|(sum, rate)| sum + left as f64 / rate);
        }
        if tasks < u64::from(slots) || worker.queue.len() < 2 {
            return true;
        }
        let Some(until_idle) = until_idle else {
            return false;
        };
        // The last task of each slot has begun when the first slot idles.
        let queued = until_idle * (tasks - u64::from(slots)) as f64 / tasks as f64;
        let enough = 2.0 * worker.round_trip as f64;
        queued < enough && input < self.config.block_input_bytes.saturating_mul(4)
    }

    /// Grants the next block of the job whose turn it is; `false` if there is
    /// none for this worker.
    fn grant_next(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) -> bool {
        let capacity = self.workers[&id].capacity;
        let mut after = None;
        while let Some((pass, job)) = self.ready.next(&capacity, after) {
            if let Some(node) = self.choose(id, job) {
                self.served = self.served.max(pass);
                self.grant(id, job, node, false, actions);
                return true;
            }
            after = Some((pass, job));
        }
        false
    }

    /// The block of a ready job that this worker shall have.
    fn choose(&self, id: WorkerId, job_id: JobId) -> Option<Node> {
        let job = &self.jobs[&job_id];
        let tree = job.spec.tree;
        let wanted = self.wanted(id, job_id);
        let (free, suspects) = (job.blocks.free(), job.blocks.suspects());
        let suspect = |first: Option<u64>| {
            let mut seen = suspects.iter().take(SUSPECTS_SEEN);
            let node = seen.find(|node| {
                first.is_none_or(|first| node.first() == first) && self.may_try(id, job_id, *node)
            })?;
            Some(leftmost(tree, node, wanted))
        };
        if job.free_at_prefix() {
            let prefix = job.assembly.prefix();
            let first = free.first().filter(|node| node.first() == prefix);
            let first = first.map(|node| leftmost(tree, node, wanted));
            let first = first.or_else(|| suspect(Some(prefix)));
            if first.is_some() || job.window_closed(&self.config) {
                return first;
            }
        }
        suspect(None).or_else(|| NodeSet::pick(free, wanted))
    }

    /// How many tasks the worker's next block of the job shall have at most.
    fn wanted(&self, id: WorkerId, job: JobId) -> u64 {
        let worker = &self.workers[&id];
        let job = &self.jobs[&job];
        let slots = worker.slots().max(1);
        let rate = job.worker_rate(id, slots);
        let total = job.total_rate(self.slots);
        let share = match (rate, total) {
            (Some(rate), Some(total)) if total > 0.0 => rate / total,
            _ => f64::from(slots) / self.slots.max(1) as f64,
        };
        let member = job.members.get(&id).copied().unwrap_or_default();
        let situation = Situation {
            engine: worker.capacity.engine,
            slots,
            memory: worker.capacity.memory,
            speed: member.speed,
            expected: job.slot_rate().map(|rate| rate * f64::from(slots)),
            share: share.min(1.0),
            free: job.blocks.free_tasks(),
            output_per_task: job.output_per_task(),
        };
        block_tasks(&self.config, &job.spec, &situation)
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
        let number = self.next_lease;
        self.next_lease += 1;
        let worker = self.workers.get_mut(&id).expect("a worker to grant to");
        let job = self.jobs.get_mut(&job_id).expect("a job to grant from");
        let tree = job.spec.tree;
        let tasks = tree.len(node);
        let slots = worker.slots();
        let predicted = job.worker_rate(id, slots);
        let predicted = predicted.map_or_else(
            || target_us(&self.config, worker.capacity.engine) / self.config.growth.max(1),
            |rate| duration_us(tasks, slots, rate),
        );
        let charged = stride(predicted.saturating_mul(u64::from(slots)), job.spec.weight);
        let lease = Lease {
            worker: id,
            job: job_id,
            node: tree.canonical(node),
            tasks,
            granted: self.now,
            idle_before: worker.queue.is_empty(),
            stands: true,
            outstanding: tasks,
            handed: NodeSet::new(tree),
            begun: false,
            done_hint: 0,
            revoked: None,
            end: Micros::MAX,
            charged,
            spent: 0,
        };
        if copy {
            job.blocks.duplicate(lease.node, number);
        } else {
            job.blocks.lease(lease.node, number);
        }
        job.pass += charged;
        job.leases.insert(number);
        job.by_end.insert((lease.end, number));
        job.members.entry(id).or_default();
        worker.queue.push(number);
        worker.known.insert(job_id);
        self.leases.insert(number, lease);
        actions.push(Action::Grant {
            worker: id,
            lease: self.lease_id(number),
            job: job_id,
            node,
        });
        self.requeue(job_id);
    }

    /// Predicts anew when the worker's leases will end.
    pub(crate) fn predict(&mut self, id: WorkerId) {
        let worker = &self.workers[&id];
        let slots = worker.slots();
        let mut at = worker.answered;
        for number in &worker.queue {
            let lease = self.leases.get_mut(number).expect("a worker's lease");
            let job = self.jobs.get_mut(&lease.job).expect("a lease has a job");
            at = at.max(lease.granted);
            let end = match job.worker_rate(id, slots) {
                Some(rate) => {
                    let left = lease.tasks - lease.handed.tasks();
                    let end = at + duration_us(left, slots, rate) + worker.round_trip;
                    at = at + (left as f64 / rate) as u64;
                    end
                }
                None => lease.granted + self.config.patience_us,
            };
            if end != lease.end {
                assert!(job.by_end.remove(&(lease.end, *number)), "unknown end");
                job.by_end.insert((end, *number));
                lease.end = end;
            }
        }
    }
}
