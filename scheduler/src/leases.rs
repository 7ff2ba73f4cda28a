//! One lease: a block in the hands of a worker.

use crate::buddy::NodeSet;
use crate::fairness::Pass;
use crate::time::Micros;
use manyhands_protocol::{JobId, Node, Tree, WorkerId};

#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) worker: WorkerId,
    pub(crate) job: JobId,
    /// Canonical.
    pub(crate) node: Node,
    pub(crate) tasks: u64,
    pub(crate) granted: Micros,
    /// Whether the worker had nothing to do before: the answer tells its round
    /// trip.
    pub(crate) idle_before: bool,
    /// Whether the block is still the worker's. An answer is welcome anyhow.
    pub(crate) stands: bool,
    /// Tasks of the block that are not done and are this worker's.
    pub(crate) outstanding: u64,
    /// What has come in, or failed.
    pub(crate) handed: NodeSet,
    /// Whether the worker has shown that it began.
    pub(crate) begun: bool,
    /// Tasks done, as the worker says.
    pub(crate) done_hint: u64,
    /// When it was asked back.
    pub(crate) revoked: Option<Micros>,
    /// Predicted; where the job's speed is unknown, when patience ends.
    pub(crate) end: Micros,
    /// Slot time charged to the job's pass at the grant.
    pub(crate) charged: Pass,
    /// Slot time it has really taken, in microseconds.
    pub(crate) spent: u64,
}

impl Lease {
    /// Tasks the worker still has to compute, whoever else has done them.
    pub(crate) fn left(&self) -> u64 {
        let left = self.tasks - self.handed.tasks();
        left - self.done_hint.min(left)
    }

    /// Notes that `node`, a canonical node of the block, has come in or failed.
    pub(crate) fn hand_in(&mut self, node: Node) {
        self.begun = true;
        self.handed.take_within(node);
        self.handed.insert(node);
        self.done_hint = self.done_hint.saturating_sub(self.handed.tasks());
    }

    /// Whether the worker has nothing more to say of it.
    pub(crate) fn is_answered(&self) -> bool {
        self.handed.tasks() == self.tasks
    }

    pub(crate) fn contains(&self, tree: Tree, node: Node) -> bool {
        tree.has(node) && self.node.contains(tree.canonical(node))
    }
}
