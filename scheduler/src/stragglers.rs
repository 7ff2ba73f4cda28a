//! When nothing is free: leases that have not begun are asked back, then those
//! predicted to end last are duplicated on workers predicted to finish sooner.

use crate::buddy::leftmost;
use crate::event::Action;
use crate::scheduler::Scheduler;
use crate::sizing::{duration_us, target_us};
use crate::time::Micros;
use manyhands_protocol::{JobId, LeaseId, Node, WorkerId};

/// Jobs, and leases and pieces of one, looked at for one idle worker.
const JOBS_SEEN: usize = 4;
const LEASES_SEEN: usize = 8;

/// Idle workers that look at once; others do so the next times.
const WORKERS_SEEN: usize = 256;

impl<P> Scheduler<P> {
    /// From time to time all that idle look again: what was predicted to end
    /// soon may not have.
    pub(crate) fn rescue_all(&mut self, actions: &mut Vec<Action<P>>) {
        if !self.hold && self.rescue_at.is_some_and(|at| at <= self.now) {
            self.rescue_at = None;
            let after = self.hungry.range(self.rescue_from..);
            let before = self.hungry.range(..self.rescue_from);
            let turn: Vec<WorkerId> = after.chain(before).take(WORKERS_SEEN).copied().collect();
            for id in turn {
                self.rescue_from = WorkerId(id.0.saturating_add(1));
                self.rescue(id, actions);
            }
        }
        if self.hold || self.hungry.is_empty() || self.tail.is_empty() {
            self.rescue_at = None;
        } else if self.rescue_at.is_none() {
            self.rescue_at = Some(self.now + self.config.straggler_check_us);
        }
    }

    /// Finds work for one worker that found nothing free.
    pub(crate) fn rescue(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) {
        if self.hold || !self.hungry.contains(&id) || self.tail.is_empty() {
            return;
        }
        for _ in 0..LEASES_SEEN {
            self.predict_all();
            if !self.idles_soon(id) || !self.rescue_once(id, actions) {
                break;
            }
            self.outdate(id);
        }
    }

    fn idles_soon(&self, id: WorkerId) -> bool {
        let worker = &self.workers[&id];
        let tasks: u64 = worker.load.iter().map(|load| load.left).sum();
        let slots = self.loads(worker).map(|(_, _, slots)| slots).max();
        let slots = slots.unwrap_or_else(|| worker.slots());
        tasks < u64::from(slots) || self.busy_until(id).since(self.now) < 2 * worker.round_trip
    }

    /// When the worker will have done what it has.
    fn busy_until(&self, id: WorkerId) -> Micros {
        let latest = self.workers[&id].queue.iter().rev().take(LEASES_SEEN);
        let ends = latest.map(|lease_id| self.leases[lease_id].end);
        ends.max().unwrap_or(self.now).max(self.now)
    }

    fn rescue_once(&mut self, id: WorkerId, actions: &mut Vec<Action<P>>) -> bool {
        let capacity = self.workers[&id].capacity;
        let mut after = None;
        let mut seen = 0;
        while seen < JOBS_SEEN {
            let Some((pass, job)) = self.tail.next(&capacity, after) else {
                return false;
            };
            after = Some((pass, job));
            if self.jobs[&job].unfit.contains_key(&id) {
                continue;
            }
            seen += 1;
            for victim in self.victims(job) {
                if self.ask_back(id, victim, actions) {
                    // One at a time: its answer will make news.
                    return false;
                }
                if let Some(node) = self.copy_of(id, victim) {
                    self.grant(id, job, node, true, actions);
                    return true;
                }
            }
        }
        false
    }

    /// The leases to relieve, the most urgent first.
    fn victims(&mut self, job: JobId) -> Vec<LeaseId> {
        let job = self.jobs.get_mut(&job).expect("a job in the tail");
        job.ends.sort(&mut self.leases);
        let mut victims = Vec::new();
        if let Some(front) = job.front(&self.config) {
            let piece = job.blocks.pieces(Node::leaf(front)).next();
            victims.extend(
                piece
                    .into_iter()
                    .flat_map(|(_, piece)| piece.holders.iter()),
            );
        }
        let overdue = job.ends.iter().take_while(|(end, _)| *end < self.now);
        victims.extend(overdue.take(LEASES_SEEN).map(|(_, lease_id)| lease_id));
        let latest = job.ends.iter().rev().take(LEASES_SEEN);
        victims.extend(latest.map(|(_, lease_id)| lease_id));
        victims
    }

    /// Asks a lease back that has not begun, if `id` would end it sooner.
    fn ask_back(&mut self, id: WorkerId, victim: LeaseId, actions: &mut Vec<Action<P>>) -> bool {
        let lease = &self.leases[&victim];
        let holder = &self.workers[&lease.worker];
        if lease.worker == id || lease.revoked.is_some() || lease.begun || !holder.connected() {
            return false;
        }
        if self.workers[&id].asked_until > self.now {
            return false;
        }
        let job = &self.jobs[&lease.job];
        // A copy that is given back frees nothing, and its worker would only
        // find it again.
        let alone = |holders: &[LeaseId]| holders == [victim];
        let frees = job
            .blocks
            .pieces(lease.node)
            .take(LEASES_SEEN)
            .any(|(_, piece)| alone(&piece.holders));
        if !frees {
            return false;
        }
        let need = job.need();
        let mut free_slots = u64::from(holder.slots_for(need));
        let mut ahead = holder.queue.iter().take_while(|other| **other != victim);
        while free_slots > 0 {
            let Some(other) = ahead.next() else {
                return false;
            };
            free_slots = free_slots.saturating_sub(self.leases[other].left());
        }
        let travel = holder.round_trip + self.workers[&id].round_trip;
        let sooner = match self.cost_us(id, lease.job, lease.tasks) {
            Some(cost) => self.gains(id, cost + travel, lease.end),
            None => self.workers[&id].queue.is_empty(),
        };
        if sooner {
            let worker = lease.worker;
            self.revoke(worker, victim, actions);
            let worker = self.workers.get_mut(&id).expect("an idle worker");
            worker.asked_until = self.now + 2 * travel;
        }
        sooner
    }

    /// The part of a lease that has begun, or may have, of which `id` shall
    /// compute a copy.
    fn copy_of(&self, id: WorkerId, victim: LeaseId) -> Option<Node> {
        let lease = &self.leases[&victim];
        let holder = &self.workers[&lease.worker];
        let asked = lease.revoked.map(|at| at + 2 * holder.round_trip);
        if lease.refuses(id) || asked.is_some_and(|answer| answer > self.now) {
            return None;
        }
        let job = &self.jobs[&lease.job];
        let pieces = job.blocks.pieces(lease.node).take(LEASES_SEEN);
        let mut mine = pieces.filter(|(_, piece)| piece.holders.contains(&victim));
        mine.find_map(|(node, piece)| self.copy_of_piece(id, lease.job, node, &piece.holders))
    }

    fn copy_of_piece(
        &self,
        id: WorkerId,
        job_id: JobId,
        piece: Node,
        holders: &[LeaseId],
    ) -> Option<Node> {
        let copies = holders.len();
        let job = &self.jobs[&job_id];
        let tree = job.spec.tree;
        let holders = holders.iter().map(|lease_id| &self.leases[lease_id]);
        if holders.clone().any(|lease| lease.refuses(id)) || !self.may_try(id, job_id, piece) {
            return None;
        }
        let first_end = holders.clone().map(|lease| lease.end).min()?;
        let last_grant = holders.clone().map(|lease| lease.granted).max()?;
        let overdue = first_end < self.now;
        if !overdue && self.left_to_others(id, job_id, piece).is_some() {
            return None;
        }
        let tasks = tree.len(piece);
        // What takes much longer than predicted will do so here too: several
        // workers share it, each a half of what is left.
        let wanted = if overdue { tasks.div_ceil(2) } else { tasks };
        let worker = &self.workers[&id];
        let target = target_us(&self.config, worker.capacity.engine) as f64;
        let rate = job.worker_rate(id, worker.slots_for(job.need()));
        let wanted = rate.map_or(wanted, |rate| wanted.min(((rate * target) as u64).max(1)));
        let node = leftmost(tree, piece, wanted);
        let cost = self.cost_us(id, job_id, tree.len(node));
        // Each further copy needs twice the patience.
        if copies > 1 {
            let patience = cost.unwrap_or(self.config.patience_us).max(1000);
            let patience = patience.saturating_mul(1 << copies.min(20));
            if self.now.since(last_grant) < patience {
                return None;
            }
        }
        let sooner = match cost {
            Some(cost) => self.gains(id, cost + worker.round_trip, first_end),
            None => overdue,
        };
        sooner.then_some(node)
    }

    /// What `tasks` would take the worker, in microseconds, as far as anyone
    /// knows.
    fn cost_us(&self, id: WorkerId, job: JobId, tasks: u64) -> Option<u64> {
        let job = &self.jobs[&job];
        let slots = self.workers[&id].slots_for(job.need());
        let rate = job.worker_rate(id, slots)?;
        Some(duration_us(tasks, slots, rate))
    }

    /// Whether the worker, who needs `cost` microseconds after what it has,
    /// would clearly be sooner than `end`. What is overdue by some time may
    /// well take that time again.
    fn gains(&self, id: WorkerId, cost: u64, end: Micros) -> bool {
        let theirs = end.since(self.now).max(self.now.since(end));
        let ours = self.busy_until(id).since(self.now) + cost;
        ours.saturating_mul(5) < theirs.saturating_mul(4)
    }
}
