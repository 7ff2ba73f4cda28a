//! What the slots do: which work is next, and what each report leads to. The
//! guilty task is found here.

use super::Session;
use crate::jobs::{Job, JobState};
use crate::leases::Lease;
use crate::pieces::{Load, Piece};
use crate::results::{Partial, failures};
use crate::slots::{Doing, MergeWork, Run};
use crate::{Input, Output, Work};
use manyhands_protocol::{Failure, FailureKind, LeaseId, Node, limits};

/// A single task, or a merge, that died so often while it ran alone is blamed.
const CRASHES: u8 = 2;

impl Session {
    /// Gives slots what is next: what has to run alone, else merges (so that memory
    /// stays small), else pieces in the order of leases. What has no room waits for
    /// it, and all behind it: a large guest would never get it otherwise.
    pub(super) fn start_work(&mut self) {
        if self.slots.any_alone() {
            return;
        }
        // None is added while slots are given work.
        let suspects = self.leases.iter().position(|l| !l.suspects.is_empty());
        if let Some(at) = suspects {
            if self.slots.busy() == 0
                && let Some(slot) = self.slots.next()
            {
                let suspect = self.leases[at].suspects.pop_front();
                self.start(slot, at, suspect.expect("there is one"), true);
            }
            return;
        }
        // Nor do leases become ready, so each is passed once.
        let (mut merges, mut pieces) = (0, 0);
        while let Some(slot) = self.slots.next() {
            let mut merge = self.leases.iter().skip(merges);
            let merge = merge.position(|lease| !lease.merges.is_empty());
            if let Some(at) = merge {
                merges += at;
                if !self.has_room(slot, merges, self.merge_us(merges)) {
                    return;
                }
                let merge = self.leases[merges].merges.pop_front();
                self.start(
                    slot,
                    merges,
                    Doing::Merge(merge.expect("there is one")),
                    false,
                );
                continue;
            }
            merges = self.leases.len();
            if self.holds_back() {
                return;
            }
            let mut ready = self.leases.iter().skip(pieces);
            let Some(at) = ready.position(|lease| self.is_ready(lease)) else {
                return;
            };
            pieces += at;
            if !self.has_room(slot, pieces, self.piece_us(pieces)) {
                return;
            }
            let piece = self.cut_piece(pieces);
            self.start(slot, pieces, Doing::Piece(piece), false);
        }
    }

    /// What the lease's next merge takes, as far as anyone knows.
    fn merge_us(&self, at: usize) -> Option<f64> {
        let merge_us = self.job(self.leases[at].job).speed.merge_us();
        (merge_us > 0.0).then_some(merge_us)
    }

    /// What the lease's next piece takes, if it is one task. Others wait for an idle
    /// slot: how large they are is found as late as possible.
    fn piece_us(&self, at: usize) -> Option<f64> {
        let lease = &self.leases[at];
        let piece = lease.pending.last().filter(|piece| !piece.suspect)?;
        let job = self.job(lease.job);
        let single = job.tree.len(piece.node) == 1;
        job.speed.task_us().filter(|_| single)
    }

    /// Whether a piece of the lease can begin.
    fn is_ready(&self, lease: &Lease) -> bool {
        !lease.pending.is_empty()
            && self.job(lease.job).state == JobState::Ready
            && lease.has_piece()
    }

    /// Whether the slot may begin, or have waiting, what takes the lease's job so
    /// long: whether one more guest has its memory (the only one always has), or
    /// it is short enough to be done behind what the slot does.
    fn has_room(&self, slot: u16, at: usize, predicted_us: Option<f64>) -> bool {
        let need = self.job(self.leases[at].job).header.memory;
        if !self.slots.is_idle(slot) {
            return self.slots.takes_ahead(slot, predicted_us, need);
        }
        let taken = self.slots.memory().saturating_add(need);
        self.slots.busy() == 0 || taken <= self.config.memory
    }

    /// How many guests of the job may run at once: at least one.
    fn guests(&self, job: &Job) -> u16 {
        let room = self.config.memory.checked_div(job.header.memory);
        let room = room.unwrap_or(u64::MAX).max(1);
        let slots = self.slots.capacity();
        u16::try_from(room).map_or(slots, |room| room.min(slots))
    }

    fn cut_piece(&mut self, at: usize) -> Piece {
        let lease = &mut self.leases[at];
        if lease.pending_tasks() == 1 {
            // Nothing to cut; there may be hundreds of such leases.
            return lease.pending.pop().expect("a ready lease has pieces");
        }
        let ready = self.leases.iter().filter(|lease| self.is_ready(lease));
        let backlog_us = ready.map(|lease| {
            let task_us = self.job(lease.job).speed.task_us().unwrap_or(0.0);
            lease.pending_tasks() as f64 * task_us
        });
        let job = self.job(self.leases[at].job);
        let tree = job.tree;
        let load = Load {
            speed: job.speed,
            slots: self.guests(job),
            lease_tasks: tree.len(self.leases[at].node),
            backlog_us: backlog_us.sum(),
        };
        let piece = self.leases[at].next_piece(load.tasks());
        piece.expect("a ready lease has pieces")
    }

    fn start(&mut self, slot: u16, at: usize, doing: Doing, alone: bool) {
        let predicted_us = self.predicted_us(at, &doing);
        let work = match &doing {
            Doing::Piece(piece) => self.run_work(at, *piece),
            Doing::Merge(merge) => Work::Merge {
                node: merge.node,
                left: merge.left.clone().into_bytes(),
                right: merge.right.clone().into_bytes(),
            },
        };
        let lease = &mut self.leases[at];
        lease.started();
        let (lease, job) = (lease.id, lease.job);
        let run = Run {
            lease,
            job,
            doing,
            memory: self.job(job).header.memory,
            predicted_us,
            alone,
            done: 0,
        };
        let ticket = self.slots.start(slot, run);
        self.outputs.push_back(Output::Start {
            slot,
            ticket,
            job,
            work,
        });
    }

    /// What it takes, as far as anyone knows; of what is suspect nobody does.
    fn predicted_us(&self, at: usize, doing: &Doing) -> Option<f64> {
        let job = self.job(self.leases[at].job);
        match doing {
            Doing::Piece(piece) if piece.suspect || piece.single_step => None,
            Doing::Piece(piece) => Some(job.speed.task_us()? * job.tree.len(piece.node) as f64),
            Doing::Merge(merge) if merge.crashes > 0 => None,
            Doing::Merge(_) => self.merge_us(at),
        }
    }

    /// The command for a piece; its segments are put before.
    fn run_work(&mut self, at: usize, piece: Piece) -> Work {
        let lease = &self.leases[at];
        let tasks = self.job(lease.job).tree.range(piece.node);
        let segments = lease.segments_of(&tasks).to_vec();
        for segment in &segments {
            let hash = segment.hash;
            if let Some(bytes) = self.blobs.put(hash) {
                self.outputs.push_back(Output::PutBlob { hash, bytes });
            }
        }
        Work::Run {
            node: piece.node,
            tasks,
            single_step: piece.single_step,
            segments,
        }
    }

    pub(super) fn cancel_runs(&mut self, lease: LeaseId) {
        for (slot, ticket) in self.slots.cancel(|run| run.lease == lease) {
            self.outputs.push_back(Output::Cancel { slot, ticket });
        }
    }

    /// A slot's report. Those of old tickets, and of what was cancelled, end
    /// here.
    pub(super) fn take_report(&mut self, report: Input) {
        match report {
            Input::SlotProgress {
                slot,
                ticket,
                tasks,
            } => self.slots.progress(slot, ticket, tasks),
            Input::SlotDone {
                slot,
                ticket,
                partial,
                busy_us,
            } => {
                if let Some((at, run)) = self.end_run(slot, ticket) {
                    let measured = self.slots.was_awake(ticket);
                    self.done(at, run.doing, Partial::new(partial, busy_us), measured);
                }
            }
            Input::SlotFailed {
                slot,
                ticket,
                failure,
                at: task,
            } => {
                if let Some((at, run)) = self.end_run(slot, ticket) {
                    self.failed(at, run.doing, failure, task);
                }
            }
            Input::SlotStopped { slot, ticket } | Input::SlotLost { slot, ticket } => {
                if let Some((at, run)) = self.end_run(slot, ticket) {
                    self.run_again(at, run.doing);
                }
            }
            Input::SlotUnread { slot, ticket, hash } => {
                self.unread(hash);
                self.take_report(Input::SlotLost { slot, ticket });
            }
            Input::SlotCrashed {
                slot,
                ticket,
                message,
            } => {
                if let Some((at, run)) = self.end_run(slot, ticket) {
                    self.crashed(at, run, message);
                }
            }
            _ => unreachable!("no report of a slot"),
        }
    }

    /// Frees the slot. What it did, and where its lease is, if that matters.
    fn end_run(&mut self, slot: u16, ticket: u64) -> Option<(usize, Run)> {
        let run = self.slots.end(slot, ticket)?;
        let at = self.find(run.lease);
        let at = at.expect("a dropped lease's runs are cancelled");
        self.leases[at].ended();
        Some((at, run))
    }

    /// The work came to this; whether its time says how fast the machine is.
    fn done(&mut self, at: usize, doing: Doing, mut partial: Partial, measured: bool) {
        if partial.len() > limits::MAX_PARTIAL {
            let most = limits::MAX_PARTIAL >> 20;
            let failure = Failure {
                kind: FailureKind::Error,
                message: format!("a partial of {} bytes; at most {most} MiB", partial.len()),
            };
            self.failed(at, doing, failure, None);
            return;
        }
        let lease = &mut self.leases[at];
        let job = self
            .jobs
            .get_mut(&lease.job)
            .expect("a lease's job is known");
        match doing {
            Doing::Piece(piece) => {
                if measured && !piece.suspect && !piece.single_step {
                    let tasks = job.tree.len(piece.node);
                    job.speed.ran(tasks, partial.len(), partial.busy_us);
                }
                lease.piece_done(piece.node, partial);
            }
            Doing::Merge(merge) => {
                if measured {
                    let bytes = merge.left.len() + merge.right.len();
                    job.speed.merged(bytes, partial.busy_us);
                }
                partial.busy_us += merge.left.busy_us + merge.right.busy_us;
                lease.merge_done(merge.node, partial);
            }
        }
    }

    /// The guest failed: blames a single task or a merge, or cuts the piece to
    /// find which task it is.
    fn failed(&mut self, at: usize, doing: Doing, failure: Failure, task: Option<u64>) {
        let piece = match doing {
            Doing::Merge(merge) => return self.blame(at, merge.node, failure),
            Doing::Piece(piece) => piece,
        };
        let tree = self.job(self.leases[at].job).tree;
        let range = tree.range(piece.node);
        if range.end - range.start == 1 {
            return self.blame(at, Node::leaf(range.start), failure);
        }
        let task = task.filter(|task| range.contains(task));
        let overdue = failure.kind == FailureKind::Timeout;
        let parts = match task {
            // It had all the time one task may have.
            Some(task) if overdue => {
                self.blame(at, Node::leaf(task), failure);
                let mut parts = piece.around(tree, task);
                parts.retain(|part| part.node != Node::leaf(task));
                parts
            }
            Some(task) => piece.around(tree, task),
            None if overdue && !piece.single_step => vec![Piece {
                single_step: true,
                ..piece
            }],
            None => piece.halves(tree).expect("more than one task").to_vec(),
        };
        self.leases[at].run_next(parts);
    }

    pub(super) fn blame(&mut self, at: usize, node: Node, mut failure: Failure) {
        failure.message = limits::clip(failure.message);
        let lease = &mut self.leases[at];
        let id = lease.id;
        lease.blame(node, failure.clone());
        for message in failures(id, &[(node, failure)]) {
            self.send(&message);
        }
    }

    fn run_again(&mut self, at: usize, doing: Doing) {
        let lease = &mut self.leases[at];
        match doing {
            Doing::Piece(piece) => lease.run_next([piece]),
            Doing::Merge(merge) => lease.merges.push_front(merge),
        }
    }

    /// The process died while this ran: it is run again alone, cut if it was
    /// alone already, and blamed in the end.
    fn crashed(&mut self, at: usize, run: Run, message: String) {
        let tree = self.job(run.job).tree;
        let kind = FailureKind::Crash;
        let failure = Failure { kind, message };
        let alone = u8::from(run.alone);
        match run.doing {
            Doing::Piece(piece) => match piece.halves(tree) {
                Some(halves) if run.alone => {
                    for half in halves {
                        self.leases[at].run_alone(Doing::Piece(half));
                    }
                }
                None if piece.crashes + alone >= CRASHES => {
                    let task = tree.range(piece.node).start;
                    self.blame(at, Node::leaf(task), failure);
                }
                _ => self.leases[at].run_alone(Doing::Piece(Piece {
                    crashes: piece.crashes + alone,
                    ..piece
                })),
            },
            Doing::Merge(merge) if merge.crashes + alone >= CRASHES => {
                self.blame(at, merge.node, failure);
            }
            Doing::Merge(merge) => self.leases[at].run_alone(Doing::Merge(MergeWork {
                crashes: merge.crashes + alone,
                ..merge
            })),
        }
    }
}
