//! What the slots of a worker do: time passes, then comes the guest's answer, or
//! a failure of the machine or the guest.

use crate::fleet::PIECE_US;
use crate::rng::mix;
use crate::world::{Event, Peer, PeerId, World};
use bytes::Bytes;
use manyhands_protocol::{Failure, FailureKind, JobId, Node};
use manyhands_worker_core::{Input, Work};
use std::ops::Range;

/// A slot at work.
#[derive(Debug)]
pub(crate) struct Slot {
    ticket: u64,
    started: u64,
    ends: u64,
    author: usize,
    doing: Doing,
    cancelled: bool,
}

#[derive(Debug)]
enum Doing {
    Run {
        node: Node,
        tasks: Range<u64>,
        single_step: bool,
    },
    Merge {
        left: Bytes,
        right: Bytes,
    },
}

/// How long a slot at most goes on after it was cancelled.
const SLICE_US: u64 = 50_000;

impl World {
    pub(crate) fn start_slot(
        &mut self,
        id: PeerId,
        slot: u16,
        ticket: u64,
        job: JobId,
        work: Work,
    ) {
        let now = self.now;
        let jitter = 0.8 + 0.4 * self.rng.unit();
        let merge_us = self.rng.between(2, 60);
        let (piece_us, merge_us) = match self.setup.fleet {
            Some(_) => (PIECE_US, PIECE_US),
            None => (150, merge_us),
        };
        let worker = self.worker(id).expect("it speaks");
        let loaded = worker.jobs.get(&job).filter(|loaded| loaded.ready);
        let (Some(loaded), false) = (loaded, worker.slots.contains_key(&slot)) else {
            return self.fail(format!(
                "worker {}: slot {slot} is given job {job} wrongly",
                id.0
            ));
        };
        let (author, speed) = (loaded.author, worker.machine.speed);
        let missing = match &work {
            Work::Run { segments, .. } => {
                segments.iter().any(|at| !worker.blobs.contains(&at.hash))
            }
            Work::Merge { .. } => false,
        };
        if missing {
            return self.fail(format!("worker {}: slot {slot} lacks a segment", id.0));
        }
        self.trace
            .note(now, "slot starts", &[id.0, u64::from(slot), job.0, ticket]);
        let task_ns = self.authors[author].guest.task_ns;
        let (doing, takes) = match work {
            Work::Run {
                node,
                tasks,
                single_step,
                ..
            } => {
                let work = (tasks.end - tasks.start) as f64 * task_ns as f64 / 1000.0;
                let takes = piece_us + (work * jitter / speed) as u64;
                let doing = Doing::Run {
                    node,
                    tasks,
                    single_step,
                };
                (doing, takes)
            }
            Work::Merge { left, right, .. } => (Doing::Merge { left, right }, merge_us),
        };
        let working = Slot {
            ticket,
            started: now,
            ends: now + takes,
            author,
            doing,
            cancelled: false,
        };
        self.worker(id)
            .expect("it speaks")
            .slots
            .insert(slot, working);
        let ends = Event::SlotEnds {
            peer: id,
            slot,
            ticket,
        };
        self.schedule(now + takes, ends);
    }

    pub(crate) fn cancel_slot(&mut self, id: PeerId, slot: u16, ticket: u64) {
        let at = self.now + self.rng.below(SLICE_US);
        let worker = self.worker(id).expect("it speaks");
        if let Some(working) = worker.slots.get_mut(&slot)
            && working.ticket == ticket
        {
            working.cancelled = true;
            let ends = Event::SlotEnds {
                peer: id,
                slot,
                ticket,
            };
            self.schedule(at, ends);
        }
    }

    pub(crate) fn slot_ends(&mut self, id: PeerId, slot: u16, ticket: u64) {
        let now = self.now;
        let roll = self.rng.below(1000);
        let Some(worker) = self.worker(id) else {
            return;
        };
        if worker
            .slots
            .get(&slot)
            .is_none_or(|working| working.ticket != ticket)
        {
            return;
        }
        if worker.frozen_until > now {
            let thaw = worker.frozen_until;
            let ends = Event::SlotEnds {
                peer: id,
                slot,
                ticket,
            };
            return self.schedule(thaw, ends);
        }
        let machine = &worker.machine;
        let (fails, losses, crashes) = (machine.fails, machine.losses, machine.crashes);
        if roll < crashes {
            return self.compute_child_dies(id);
        }
        let working = worker.slots.remove(&slot).expect("just seen");
        let report = if working.cancelled {
            Input::SlotStopped { slot, ticket }
        } else if roll < crashes + losses {
            self.tally.add("slot lost");
            Input::SlotLost { slot, ticket }
        } else if roll < crashes + losses + fails {
            self.tally.add("slot failed");
            let kind = self.rng.one_of(&[FailureKind::Memory, FailureKind::Stack]);
            failed(slot, ticket, kind, None)
        } else {
            self.outcome(id, slot, working)
        };
        self.tell_worker(id, report);
        self.look_idle(id);
    }

    /// Tasks that slots have computed of the pieces that they are at.
    pub(crate) fn tasks_at_work(&self) -> f64 {
        let mut tasks = 0.0;
        for peer in self.peers.values() {
            let Peer::Worker(worker) = peer else { continue };
            for slot in worker.slots.values().filter(|slot| !slot.cancelled) {
                if let Doing::Run { tasks: of, .. } = &slot.doing {
                    let part = (self.now - slot.started) as f64;
                    let whole = (slot.ends - slot.started) as f64;
                    tasks += (of.end - of.start) as f64 * part / whole;
                }
            }
        }
        tasks
    }

    /// What the guest comes to.
    fn outcome(&mut self, id: PeerId, slot: u16, working: Slot) -> Input {
        let now = self.now;
        let ticket = working.ticket;
        let guest = &self.authors[working.author].guest;
        let partial = match working.doing {
            Doing::Merge { left, right } => match guest.merge(&left, &right) {
                Ok(partial) => partial,
                Err(fault) => {
                    self.fail(format!("worker {}: {fault}", id.0));
                    return Input::SlotStopped { slot, ticket };
                }
            },
            Doing::Run {
                node,
                tasks,
                single_step,
            } => {
                if let Some(poison) = guest.poison.filter(|task| tasks.contains(task)) {
                    return failed(
                        slot,
                        ticket,
                        FailureKind::Error,
                        single_step.then_some(poison),
                    );
                }
                let at = tasks.start;
                let tasks_of_job = guest.tasks;
                let partial = guest.run(node);
                let Some(bad) = self.bad_task(id, working.author, tasks_of_job, &tasks) else {
                    let busy_us = (now - working.started).max(1);
                    if self.setup.fleet.is_some() {
                        self.yardstick.computed(id, &tasks, busy_us);
                    }
                    return Input::SlotDone {
                        slot,
                        ticket,
                        partial,
                        busy_us,
                    };
                };
                self.tally.add("task that a machine cannot compute");
                let kind = [FailureKind::Timeout, FailureKind::Memory][(at % 2) as usize];
                return failed(slot, ticket, kind, single_step.then_some(bad));
            }
        };
        Input::SlotDone {
            slot,
            ticket,
            partial,
            busy_us: (now - working.started).max(1),
        }
    }

    /// A task of these that this machine cannot compute.
    fn bad_task(&mut self, id: PeerId, author: usize, tasks: u64, of: &Range<u64>) -> Option<u64> {
        let worker = self.worker(id).filter(|worker| worker.machine.bad_tasks)?;
        let _ = worker;
        let salt = mix(id.0 << 32 | author as u64);
        (0..3)
            .map(|which| mix(salt ^ which) % tasks)
            .find(|task| of.contains(task))
    }

    /// The process that runs the slots dies; each of them gets to know.
    fn compute_child_dies(&mut self, id: PeerId) {
        self.tally.add("compute child died");
        self.trace.note(self.now, "compute child dies", &[id.0]);
        let worker = self.worker(id).expect("it has a compute child");
        let slots = std::mem::take(&mut worker.slots);
        for (slot, working) in slots {
            let crashed = Input::SlotCrashed {
                slot,
                ticket: working.ticket,
                message: "it died".into(),
            };
            self.tell_worker(id, crashed);
        }
    }
}

fn failed(slot: u16, ticket: u64, kind: FailureKind, at: Option<u64>) -> Input {
    let message = "made to fail".into();
    let failure = Failure { kind, message };
    Input::SlotFailed {
        slot,
        ticket,
        failure,
        at,
    }
}
