//! Jobs that are not over, as the core keeps them: what workers are told of
//! them, and how they are shown.

use crate::core::Partial;
use crate::record::Plan;
use bytes::Bytes;
use manyhands_protocol::api::{Contribution, JobView};
use manyhands_protocol::message::{EngineKind, SegmentRef, ToWorker};
use manyhands_protocol::{JobId, Node, Tree, WorkerId, codec};
use manyhands_scheduler::{Micros, Scheduler};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Contributors shown of a job, the most first.
const SHOWN: usize = 100;

#[derive(Debug)]
pub(crate) struct Job {
    /// The frame that goes before its first grant.
    pub(crate) header: Bytes,
    pub(crate) plan: Arc<Plan>,
    pub(crate) tree: Tree,
    pub(crate) view: JobView,
    /// In which its submission is recorded; 0 where an earlier start did that.
    pub(crate) group: u64,
    start: Micros,
    /// How long it had run before this start of the coordinator.
    before_ms: u64,
    /// Names of those who worked on it, who may have left.
    pub(crate) known: BTreeMap<WorkerId, (String, EngineKind)>,
    /// Merges under way, by the node that they come to.
    pub(crate) merging: BTreeMap<Node, UnderWay>,
}

/// What is merged in one go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnderWay {
    /// Slot time of all that is merged, in microseconds.
    pub(crate) cost_us: u64,
    /// One less than there are partials.
    pub(crate) merges: u64,
}

impl Job {
    pub(crate) fn new(
        plan: Arc<Plan>,
        view: JobView,
        group: u64,
        now: Micros,
        before_ms: u64,
    ) -> Self {
        let header = codec::encode(&ToWorker::Job(plan.header.clone())).into();
        Self {
            header,
            tree: Tree::new(plan.header.tasks).expect("checked at the submission"),
            plan,
            view,
            group,
            start: now,
            before_ms,
            known: BTreeMap::new(),
            merging: BTreeMap::new(),
        }
    }

    /// Whether a partial of `node`, canonical, is a half of what a merge under way
    /// comes to. Of those merged before it in one go nobody asks: they are small.
    pub(crate) fn is_merging(&self, node: Node) -> bool {
        let parent = node.parent().filter(|parent| self.tree.has(*parent));
        parent.is_some_and(|parent| self.merging.contains_key(&self.tree.canonical(parent)))
    }

    pub(crate) fn meet(&mut self, worker: WorkerId, name: &str, engine: EngineKind) {
        let known = self.known.entry(worker);
        known.or_insert_with(|| (name.to_owned(), engine));
    }

    /// The segments that hold the inputs of a node's tasks.
    pub(crate) fn inputs(&self, node: Node) -> Vec<SegmentRef> {
        let tasks = self.tree.range(node);
        let segments = &self.plan.segments;
        let from = segments.partition_point(|at| at.first_task + at.tasks <= tasks.start);
        let to = segments.partition_point(|at| at.first_task < tasks.end);
        segments[from..to].to_vec()
    }

    /// The job as it stands; of its result's length only the driver knows.
    pub(crate) fn look(&self, id: JobId, scheduler: &Scheduler<Partial>, now: Micros) -> JobView {
        let mut view = self.view.clone();
        view.elapsed_ms = self.before_ms + now.since(self.start) / 1000;
        if let Some(progress) = scheduler.job(now, id) {
            view.done = progress.done;
            view.running = progress.running;
            view.retries = progress.retries;
            view.remaining_ms = progress.remaining_us.map(|micros| micros.div_ceil(1000));
            view.waiting = progress.waiting.map(|why| why.to_string());
        }
        view.contributions = self.contributions(id, scheduler);
        view
    }

    fn contributions(&self, id: JobId, scheduler: &Scheduler<Partial>) -> Vec<Contribution> {
        let mut most = scheduler.contributions(id);
        most.retain(|one| self.known.contains_key(&one.worker));
        let order = |one: &manyhands_scheduler::Contribution| (Reverse(one.tasks), one.worker);
        if most.len() > SHOWN {
            most.select_nth_unstable_by_key(SHOWN, order);
            most.truncate(SHOWN);
        }
        most.sort_unstable_by_key(order);
        let shown = most.into_iter().map(|one| {
            let (name, engine) = &self.known[&one.worker];
            Contribution {
                worker: one.worker,
                name: name.clone(),
                engine: *engine,
                blocks: one.blocks,
                tasks: one.tasks,
                busy_ms: one.busy_us / 1000,
            }
        });
        shown.collect()
    }
}
