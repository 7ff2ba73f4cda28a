//! One lease: a block in the hands of a worker.

use crate::buddy::NodeSet;
use crate::table::Table;
use crate::time::Micros;
use manyhands_protocol::{JobId, LeaseId, Node, Tree, WorkerId};

/// Boxed, as half of a table's room is empty.
pub(crate) type Leases = Table<LeaseId, Box<Lease>>;

#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) worker: WorkerId,
    pub(crate) job: JobId,
    /// Canonical.
    pub(crate) node: Node,
    pub(crate) tasks: u64,
    /// When it was granted, or adopted.
    pub(crate) granted: Micros,
    /// Whether an earlier incarnation granted it: the worker may have handed in
    /// parts that nobody has any more, and part of its time passed before
    /// anyone here looked.
    pub(crate) adopted: bool,
    /// Whether the worker had nothing to do before: the answer tells its round
    /// trip.
    pub(crate) idle_before: bool,
    /// Whether the block is still the worker's. An answer is welcome anyhow.
    pub(crate) stands: bool,
    /// Tasks of the block that are not done and are this worker's.
    pub(crate) outstanding: u64,
    /// What has come in, or failed, while that is a part; `None` for nothing.
    handed: Option<Box<NodeSet>>,
    /// Whether all has.
    answered: bool,
    /// Whether the worker has shown that it began.
    pub(crate) begun: bool,
    /// Tasks done, as the worker says.
    pub(crate) done_hint: u64,
    /// When it was asked back.
    pub(crate) revoked: Option<Micros>,
    /// Predicted; where the job's speed is unknown, when patience ends.
    pub(crate) end: Micros,
    /// Its place among [`Ends`](crate::ends::Ends), if it has one.
    pub(crate) sorted_at: Option<Micros>,
    /// Whether it is listed there to be put in place.
    pub(crate) unsorted: bool,
    /// Slot time charged to the job's pass at the grant, in microseconds.
    pub(crate) charged: u64,
    /// Slot time it has really taken, in microseconds.
    pub(crate) spent: u64,
}

impl Lease {
    /// A lease of all of `node`, canonical, that begins at `now`.
    pub(crate) fn new(worker: WorkerId, job: JobId, tree: Tree, node: Node, now: Micros) -> Self {
        let tasks = tree.len(node);
        Self {
            worker,
            job,
            node,
            tasks,
            granted: now,
            adopted: false,
            idle_before: false,
            stands: true,
            outstanding: tasks,
            handed: None,
            answered: false,
            begun: false,
            done_hint: 0,
            revoked: None,
            end: Micros::MAX,
            sorted_at: None,
            unsorted: false,
            charged: 0,
            spent: 0,
        }
    }

    /// Tasks that have come in, or failed.
    pub(crate) fn handed_tasks(&self) -> u64 {
        if self.answered {
            return self.tasks;
        }
        self.handed.as_ref().map_or(0, |handed| handed.tasks())
    }

    /// Tasks the worker still has to compute, whoever else has done them.
    pub(crate) fn left(&self) -> u64 {
        let left = self.tasks - self.handed_tasks();
        left - self.done_hint.min(left)
    }

    /// Notes that `node`, a canonical node of the block, has come in or failed.
    pub(crate) fn hand_in(&mut self, tree: Tree, node: Node) {
        self.begun = true;
        let before = self.handed_tasks();
        if node == self.node {
            // The usual case needs no set.
            (self.answered, self.handed) = (true, None);
        } else if !self.answered {
            let handed = self.handed.get_or_insert_with(|| NodeSet::new(tree).into());
            handed.take_within(node);
            handed.insert(node);
            self.answered = handed.tasks() == self.tasks;
        }
        // Those that came in before are not in the hint any more.
        let fresh = self.handed_tasks() - before;
        self.done_hint = self.done_hint.saturating_sub(fresh);
    }

    /// Whether all of `node`, a canonical node, has come in or failed.
    pub(crate) fn has_handed(&self, node: Node) -> bool {
        let handed = self.handed.as_ref();
        self.answered || handed.is_some_and(|handed| handed.covering(node).is_some())
    }

    /// Whether the worker has nothing more to say of it.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether a copy of it is of no use at `worker`, who has it already. One
    /// that was adopted may lack what its worker does not know to be lost.
    pub(crate) fn refuses(&self, worker: WorkerId) -> bool {
        self.worker == worker && !self.adopted
    }

    pub(crate) fn contains(&self, tree: Tree, node: Node) -> bool {
        tree.has(node) && self.node.contains(tree.canonical(node))
    }
}
