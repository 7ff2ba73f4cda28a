//! Workers of one job end together: how much each is given near the end.

use super::rig::{Granted, Rig, grants, spec};
use crate::{Action, Event, JobSpec};
use manyhands_protocol::{MergeMode, WorkerId};
use std::collections::{BTreeMap, VecDeque};

/// A worker with one slot that takes so many microseconds a task.
struct Machine {
    task_us: u64,
    queue: VecDeque<Granted>,
    /// When it is done with the first of its queue, or became idle.
    until: u64,
}

/// Machines at one job, next door to the coordinator.
struct Lab {
    rig: Rig,
    machines: BTreeMap<WorkerId, Machine>,
    job: JobSpec,
    /// First tasks of what was handed out, in order.
    firsts: Vec<u64>,
}

impl Lab {
    fn new(tasks: u64, task_us: &[u64]) -> Self {
        let job = spec(tasks, MergeMode::Concat);
        let mut rig = Rig::new();
        rig.submit(1, job);
        let mut lab = Self {
            rig,
            machines: BTreeMap::new(),
            job,
            firsts: Vec::new(),
        };
        for (at, task_us) in task_us.iter().enumerate() {
            let machine = Machine {
                task_us: *task_us,
                queue: VecDeque::new(),
                until: 0,
            };
            lab.machines.insert(WorkerId(at as u64), machine);
            let actions = lab.rig.join(at as u64, 1);
            lab.take(&actions);
        }
        lab
    }

    fn take(&mut self, actions: &[Action<String>]) {
        for granted in grants(actions) {
            self.firsts.push(granted.node.first());
            let tasks = self.job.tree.len(granted.node);
            let machine = self.machines.get_mut(&granted.worker).unwrap();
            if machine.queue.is_empty() {
                machine.until = self.rig.now.0 + tasks * machine.task_us;
            }
            machine.queue.push_back(granted);
        }
    }

    /// The next block is done; `false` where nobody has one.
    fn step(&mut self) -> bool {
        let busy = self.machines.values_mut().filter(|at| !at.queue.is_empty());
        let Some(machine) = busy.min_by_key(|at| at.until) else {
            return false;
        };
        let done = machine.queue.pop_front().unwrap();
        let took = self.job.tree.len(done.node) * machine.task_us;
        self.rig.now.0 = machine.until;
        if let Some(next) = machine.queue.front() {
            machine.until += self.job.tree.len(next.node) * machine.task_us;
        }
        let mut partial = self.rig.partial(done, done.node);
        if let Event::Partial { busy_us, .. } = &mut partial {
            *busy_us = took;
        }
        let actions = self.rig.handle(partial);
        self.take(&actions);
        true
    }

    /// Whether a block is left that nobody was given.
    fn has_free(&self) -> bool {
        let mut jobs = self.rig.scheduler.jobs.values();
        jobs.any(|job| job.blocks.free_tasks() > 0)
    }
}

#[test]
fn machines_of_unlike_speed_end_together() {
    // Two seconds for all of them.
    let mut lab = Lab::new(360_000, &[10, 20, 40, 160]);
    while lab.step() {}
    assert!(!lab.has_free());
    let ends = lab.machines.values().map(|machine| machine.until);
    let (first, last) = (ends.clone().min().unwrap(), ends.max().unwrap());
    // Two tasks of the slowest.
    assert!(last - first < 320, "from {first} to {last}");
}

#[test]
fn whoever_is_alone_leaves_nothing_behind() {
    // Blocks that grow from one task to some hundred milliseconds.
    let mut lab = Lab::new(1 << 16, &[20]);
    while lab.step() {}
    assert!(!lab.has_free());
    assert!(
        lab.firsts.len() > 4 && lab.firsts.is_sorted(),
        "{:?}",
        lab.firsts
    );
}
