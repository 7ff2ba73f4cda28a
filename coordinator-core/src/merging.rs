//! Merges of large partials, which workers do: which of them is asked, and what
//! becomes of a merge that comes to nothing there. What is merged is the
//! scheduler's affair.
//!
//! A merge is leased like a block, but costs next to nothing against one: whatever
//! goes wrong with it, the compute child beside the coordinator does it instead,
//! and nobody is blamed.

use crate::core::{Core, Partial};
use crate::inputs::ConnectionId;
use crate::jobs::UnderWay;
use crate::outputs::Output;
use bytes::{Bytes, BytesMut};
use manyhands_protocol::limits::PIECE;
use manyhands_protocol::message::{EngineKind, ToWorker};
use manyhands_protocol::{JobId, LeaseId, Node, Operand, WorkerId, codec};
use manyhands_scheduler::{Event, Micros, Reason};
use std::collections::{BTreeMap, BTreeSet};

/// Two halves of more bytes than this are not sent: they would fill the queue of
/// a connection.
const MOST_BYTES: u64 = 32 << 20;

/// Merges that wait at a worker, for each of its slots.
const DEPTH: u16 = 4;

/// Contributors, of whom many may have left, and workers that are here, looked at
/// for one merge.
const CONTRIBUTORS_SEEN: usize = 4096;
const WORKERS_SEEN: usize = 64;

/// A worker that has not merged within this time is not waited for.
const PATIENCE_US: u64 = 10_000_000;

/// A merge that a worker was asked for.
#[derive(Debug)]
struct Leased {
    connection: ConnectionId,
    job: JobId,
    node: Node,
    left: Bytes,
    right: Bytes,
    /// When it is not waited for any more.
    until: Micros,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    /// By lease, which is by age.
    leased: BTreeMap<LeaseId, Leased>,
    /// How many each connection has.
    counts: BTreeMap<ConnectionId, u16>,
    /// Connections on which one was not waited for: halves may fill them still.
    slow: BTreeSet<ConnectionId>,
    /// Who is asked next.
    cursor: Option<WorkerId>,
}

impl Merging {
    /// Whether the connection was asked for this merge and has not answered.
    pub(crate) fn holds(&self, connection: ConnectionId, lease: LeaseId) -> bool {
        let leased = self.leased.get(&lease);
        leased.is_some_and(|leased| leased.connection == connection)
    }

    /// When the oldest is not waited for any more.
    pub(crate) fn due(&self) -> Option<Micros> {
        Some(self.leased.first_key_value()?.1.until)
    }

    fn count(&self, connection: ConnectionId) -> u16 {
        self.counts.get(&connection).copied().unwrap_or(0)
    }

    fn insert(&mut self, lease: LeaseId, leased: Leased) {
        *self.counts.entry(leased.connection).or_default() += 1;
        self.leased.insert(lease, leased);
    }

    fn remove(&mut self, lease: LeaseId) -> Option<Leased> {
        let leased = self.leased.remove(&lease)?;
        let count = self.counts.get_mut(&leased.connection);
        let count = count.expect("a merge's connection is counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&leased.connection);
        }
        Some(leased)
    }

    fn remove_where(&mut self, gone: impl Fn(&Leased) -> bool) -> Vec<Leased> {
        let lost = self.leased.iter().filter(|(_, leased)| gone(leased));
        let lost: Vec<LeaseId> = lost.map(|(lease, _)| *lease).collect();
        lost.into_iter()
            .filter_map(|lease| self.remove(lease))
            .collect()
    }

    /// The job is over.
    pub(crate) fn forget(&mut self, job: JobId) {
        if !self.leased.is_empty() {
            self.remove_where(|leased| leased.job == job);
        }
    }
}

impl Core {
    /// Has partials merged to one of `node`.
    pub(crate) fn merge(
        &mut self,
        now: Micros,
        job: JobId,
        node: Node,
        operands: Vec<Operand<Partial>>,
    ) {
        let entry = self.jobs.get_mut(&job).expect("a job that merges runs");
        let costs = operands.iter().map(|operand| operand.partial.cost_us);
        let merging = UnderWay {
            // What workers say of time is not believed so far as to overflow.
            cost_us: costs.fold(0, u64::saturating_add),
            merges: operands.len() as u64 - 1,
        };
        entry.merging.insert(node, merging);
        let operands = operands
            .into_iter()
            .map(|operand| operand.map(|one| one.bytes));
        let operands: Vec<_> = operands.collect();
        let bytes: usize = operands.iter().map(|operand| operand.partial.len()).sum();
        let large = (self.config.lease_merges_from..=MOST_BYTES).contains(&(bytes as u64));
        assert!(
            !large || operands.len() == 2,
            "what is large goes to workers"
        );
        match large.then(|| self.merger(job)).flatten() {
            Some((worker, connection)) => {
                let halves = <[_; 2]>::try_from(operands).expect("just seen");
                let [left, right] = halves.map(|half| half.partial);
                let lease = self.scheduler.reserve_lease();
                self.ask_to_merge(worker, (lease, job, node), &left, &right);
                let leased = Leased {
                    connection,
                    job,
                    node,
                    left,
                    right,
                    until: now + PATIENCE_US,
                };
                self.merging.insert(lease, leased);
                self.counts.leased_merges += 1;
            }
            None => self.merge_here(job, node, operands),
        }
    }

    fn merge_here(&mut self, job: JobId, node: Node, operands: Vec<Operand<Bytes>>) {
        self.outputs.push_back(Output::Merge {
            job,
            node,
            operands,
        });
    }

    /// A worker that has the job's guest at hand and a slot for it. Tabs are not
    /// asked: their lines are slower than the merge.
    fn merger(&mut self, job: JobId) -> Option<(WorkerId, ConnectionId)> {
        let known = &self.jobs[&job].known;
        let from = self.merging.cursor.unwrap_or(WorkerId(0));
        let turn = known.range(from..).chain(known.range(..from));
        let mut last = from;
        let seen = turn.take(CONTRIBUTORS_SEEN).inspect(|(id, _)| last = **id);
        let native = seen.filter(|(_, (_, engine))| *engine == EngineKind::Native);
        let here = native.filter_map(|(id, _)| Some((id, self.workers.connection(*id)?)));
        let found = here.take(WORKERS_SEEN).find_map(|(worker, connection)| {
            let slots = self.scheduler.worker(*worker)?.slots;
            let room = self.merging.count(connection) < slots.saturating_mul(DEPTH);
            let has_guest = self.scheduler.has_computed(*worker, job);
            let quick = !self.merging.slow.contains(&connection);
            let fit = room && quick && has_guest && self.workers.knows(*worker, job);
            fit.then_some((*worker, connection))
        });
        self.merging.cursor = Some(WorkerId(last.0.saturating_add(1)));
        found
    }

    fn ask_to_merge(
        &mut self,
        worker: WorkerId,
        (lease, job, node): (LeaseId, JobId, Node),
        left: &Bytes,
        right: &Bytes,
    ) {
        let merge = ToWorker::Merge {
            lease,
            job,
            node,
            left: left.len() as u64,
            right: right.len() as u64,
        };
        self.send(worker, &merge);
        let total = (left.len() + right.len()) as u64;
        let mut offset = 0;
        while offset < total {
            let piece = piece_of(left, right, offset as usize);
            let header = ToWorker::Halves {
                lease,
                offset,
                total,
            };
            self.send_frame(worker, codec::encode_with(&header, &piece).into());
            offset += piece.len() as u64;
        }
    }

    /// An answer to a merge: `false` if the lease is none.
    pub(crate) fn merge_answered(
        &mut self,
        now: Micros,
        worker: WorkerId,
        lease: LeaseId,
        answer: Option<(Node, &Bytes)>,
    ) -> bool {
        let connection = self.workers.connection(worker);
        if !connection.is_some_and(|connection| self.merging.holds(connection, lease)) {
            return false;
        }
        let leased = self.merging.remove(lease).expect("it is held");
        let Leased { job, node, .. } = leased;
        self.tell(now, Event::Heard { worker });
        let Some((named, merged)) = answer else {
            self.merge_here(job, node, Operand::two(leased.left, leased.right));
            return true;
        };
        let tree = self.jobs[&job].tree;
        if !tree.has(named) || tree.canonical(named) != node {
            self.merge_here(job, node, Operand::two(leased.left, leased.right));
            let reason = Reason::OutsideLease { lease, node: named };
            self.dismiss(worker, reason);
            self.tell(now, Event::WorkerLeft { worker });
            return true;
        }
        // A copy of the halves is here until the merged one is recorded.
        self.send(worker, &ToWorker::Accepted { lease, node: named });
        self.merged(now, job, node, Ok(merged.clone()));
        true
    }

    /// Does here what those have not done who are gone, or are not waited for.
    pub(crate) fn take_merges_back(&mut self, now: Micros) {
        let gone = self.workers.take_gone();
        for connection in &gone {
            self.merging.slow.remove(connection);
        }
        let mut lost = match gone.is_empty() {
            true => Vec::new(),
            false => self
                .merging
                .remove_where(|leased| gone.contains(&leased.connection)),
        };
        while self.merging.due().is_some_and(|due| due <= now) {
            let first = self.merging.leased.first_key_value();
            let (lease, leased) = first.expect("one is due");
            let (lease, connection) = (*lease, leased.connection);
            self.merging.slow.insert(connection);
            lost.extend(self.merging.remove(lease));
        }
        for leased in lost {
            let operands = Operand::two(leased.left, leased.right);
            self.merge_here(leased.job, leased.node, operands);
        }
    }
}

/// The next bytes of the two, end to end, as many as a frame takes.
fn piece_of(left: &Bytes, right: &Bytes, offset: usize) -> Bytes {
    let cut =
        |bytes: &Bytes, from: usize, most: usize| bytes.slice(from..bytes.len().min(from + most));
    if offset >= left.len() {
        return cut(right, offset - left.len(), PIECE);
    }
    let first = cut(left, offset, PIECE);
    if first.len() == PIECE {
        return first;
    }
    let mut both = BytesMut::from(first);
    let room = PIECE - both.len();
    both.extend_from_slice(&cut(right, 0, room));
    both.freeze()
}
