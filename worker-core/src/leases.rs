//! One lease: what of its block waits, runs, is merged or has failed, and the
//! check of a grant. A merge that the coordinator asks for is a lease too, whose
//! two halves come instead of being computed.

use crate::GrantFault;
use crate::halves::Halves;
use crate::jobs::Job;
use crate::pieces::{Piece, present_halves};
use crate::results::Partial;
use crate::slots::{Doing, MergeWork};
use crate::sorted::SortedSet;
use manyhands_protocol::message::{Claim, MergeMode, SegmentRef};
use manyhands_protocol::{
    BlobHash, Failure, JobId, LeaseId, MAX_TASK_INPUT, MergeTree, Node, Proof, SEGMENT_TARGET,
    Step, Tree, limits,
};
use std::collections::VecDeque;
use std::ops::Range;

/// The largest segment there can be: one byte short of closing, and one task.
const MAX_SEGMENT: u64 = SEGMENT_TARGET + MAX_TASK_INPUT;

/// Guilty tasks named in one lease; then the rest is given back.
const MAX_FAILED: usize = 8;

#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) job: JobId,
    pub(crate) node: Node,
    /// What shows that it was granted; none for a merge, which ends with its
    /// connection.
    proof: Option<Proof>,
    tree: Tree,
    mode: MergeMode,
    /// In task order.
    pub(crate) inputs: Vec<SegmentRef>,
    /// Segments on their way. A piece waits for its own alone.
    pub(crate) missing: SortedSet<BlobHash>,
    /// A merge's two partials on their way.
    halves: Option<Halves>,
    /// Not begun; the leftmost is last.
    pub(crate) pending: Vec<Piece>,
    /// To be run while nothing else runs.
    pub(crate) suspects: VecDeque<Doing>,
    /// To be merged.
    pub(crate) merges: VecDeque<MergeWork>,
    merging: MergeTree<Partial>,
    /// How many slots work on it.
    pub(crate) running: u16,
    pub(crate) begun: bool,
    /// Tasks in pieces that are done.
    pub(crate) done: u64,
    /// What was told of it last.
    pub(crate) told: u64,
    pub(crate) failed: Vec<(Node, Failure)>,
    /// What has not begun is given back, not run.
    stopping: bool,
    /// Something was given back.
    incomplete: bool,
    top: Option<Partial>,
    /// Handed in as they are: they will not be merged here.
    apart: Vec<(Node, Partial)>,
}

/// How a lease stands after something of it has ended.
#[derive(Debug)]
pub(crate) enum Standing {
    /// There is more to do.
    Open,
    /// It is over: these partials are all there is.
    Over {
        partials: Vec<(Node, Partial)>,
        /// Whether tasks are missing that did not fail.
        incomplete: bool,
    },
}

impl Lease {
    /// Checks what a grant says.
    pub(crate) fn check(job: &Job, node: Node, inputs: &[SegmentRef]) -> Result<(), GrantFault> {
        if !job.tree.has(node) {
            return Err(GrantFault::Node);
        }
        if job.header.split.is_none() {
            return if inputs.is_empty() {
                Ok(())
            } else {
                Err(GrantFault::Segments)
            };
        }
        let range = job.tree.range(node);
        let mut next = None;
        for segment in inputs {
            let end = segment.first_task.checked_add(segment.tasks);
            let end = end.filter(|end| *end <= job.tree.tasks() && segment.tasks > 0);
            let follows = next.is_none_or(|next| next == segment.first_task);
            if end.is_none() || !follows || segment.len > MAX_SEGMENT {
                return Err(GrantFault::Segments);
            }
            next = end;
        }
        let first = inputs.first().map(|segment| segment.first_task);
        let covers = first.is_some_and(|first| first <= range.start)
            && next.is_some_and(|next| next >= range.end);
        if covers {
            Ok(())
        } else {
            Err(GrantFault::Segments)
        }
    }

    /// A lease whose grant was checked.
    pub(crate) fn new(claim: Claim, job: &Job, inputs: Vec<SegmentRef>) -> Self {
        let Claim {
            lease,
            job: id,
            node,
            proof,
        } = claim;
        assert_eq!(id, job.header.job, "the job of {lease:?}");
        Self {
            proof: Some(proof),
            inputs,
            pending: vec![Piece::new(node)],
            ..Self::empty(lease, job, node)
        }
    }

    /// Checks what a merge says.
    pub(crate) fn check_merge(
        job: &Job,
        node: Node,
        left: u64,
        right: u64,
    ) -> Result<(), GrantFault> {
        if !job.tree.has(node) {
            return Err(GrantFault::Node);
        }
        let fits = left.max(right) <= limits::MAX_PARTIAL;
        let halves = present_halves(job.tree, node).is_some();
        if fits && halves && job.header.merge == MergeMode::Reduce {
            Ok(())
        } else {
            Err(GrantFault::Merge)
        }
    }

    /// A merge that was checked: its two halves are on their way.
    pub(crate) fn merge(id: LeaseId, job: &Job, node: Node, left: u64, right: u64) -> Self {
        Self {
            halves: Some(Halves::new(left, right)),
            ..Self::empty(id, job, node)
        }
    }

    fn empty(id: LeaseId, job: &Job, node: Node) -> Self {
        Self {
            id,
            job: job.header.job,
            node,
            proof: None,
            tree: job.tree,
            mode: job.header.merge,
            inputs: Vec::new(),
            missing: SortedSet::default(),
            halves: None,
            pending: Vec::new(),
            suspects: VecDeque::new(),
            merges: VecDeque::new(),
            merging: MergeTree::new(job.tree, node),
            running: 0,
            begun: false,
            done: 0,
            told: 0,
            failed: Vec::new(),
            stopping: false,
            incomplete: false,
            top: None,
            apart: Vec::new(),
        }
    }

    /// What it was granted as, for a hello; none for a merge.
    pub(crate) fn claim(&self) -> Option<Claim> {
        Some(Claim {
            lease: self.id,
            job: self.job,
            node: self.node,
            proof: self.proof?,
        })
    }

    /// Whether its tasks were computed elsewhere.
    pub(crate) fn is_merge(&self) -> bool {
        self.proof.is_none()
    }

    /// The next piece of a merge's halves; whether it is one.
    pub(crate) fn half_came(&mut self, offset: u64, total: u64, piece: &[u8]) -> bool {
        let Some(mut halves) = self.halves.take() else {
            return false;
        };
        let fits = halves.push(offset, total, piece);
        if fits && halves.is_whole() {
            let (left, right) = halves.split();
            let nodes = present_halves(self.tree, self.node);
            let (left_node, right_node) = nodes.expect("what is merged has two halves");
            for (node, bytes) in [(left_node, left), (right_node, right)] {
                let step = self.merging.insert(node, Partial::new(bytes, 0));
                self.climb(step);
            }
        } else {
            self.halves = Some(halves);
        }
        fits
    }

    /// Its tasks.
    pub(crate) fn tasks(&self) -> Range<u64> {
        self.tree.range(self.node)
    }

    /// How many of its tasks no slot has begun.
    pub(crate) fn pending_tasks(&self) -> u64 {
        let each = self.pending.iter().map(|piece| self.tree.len(piece.node));
        each.sum()
    }

    /// The distinct segments it names, in task order.
    pub(crate) fn segments(&self) -> Vec<(BlobHash, u64)> {
        let mut seen = SortedSet::default();
        let each = self.inputs.iter();
        let each = each.map(|segment| (segment.hash, segment.len));
        each.filter(|segment| seen.insert(*segment)).collect()
    }

    /// The segments that hold inputs of `tasks`.
    pub(crate) fn segments_of(&self, tasks: &Range<u64>) -> &[SegmentRef] {
        let from = self
            .inputs
            .partition_point(|segment| segment.first_task + segment.tasks <= tasks.start);
        let to = self
            .inputs
            .partition_point(|segment| segment.first_task < tasks.end);
        &self.inputs[from..to.max(from)]
    }

    /// Whether all that these tasks read is here.
    fn has_inputs(&self, tasks: &Range<u64>) -> bool {
        self.missing.is_empty() || {
            let mut segments = self.segments_of(tasks).iter();
            segments.all(|segment| !self.missing.contains(&segment.hash))
        }
    }

    /// Whether a piece that waits could begin with some of its tasks, or with all
    /// of them where it must not be cut.
    fn can_begin(&self, piece: &Piece) -> bool {
        let tasks = self.tree.range(piece.node);
        let first = tasks.start..tasks.start + 1;
        self.has_inputs(if piece.suspect { &tasks } else { &first })
    }

    /// Whether some piece can begin.
    pub(crate) fn has_piece(&self) -> bool {
        self.pending.iter().rev().any(|piece| self.can_begin(piece))
    }

    /// The leftmost piece that can begin, cut to at most `tasks` and to what is
    /// here of its inputs; what is cut off waits on.
    pub(crate) fn next_piece(&mut self, tasks: u64) -> Option<Piece> {
        let mut at = self
            .pending
            .iter()
            .rposition(|piece| self.can_begin(piece))?;
        let mut piece = self.pending.remove(at);
        while !piece.suspect
            && (self.tree.len(piece.node) > tasks || !self.has_inputs(&self.tree.range(piece.node)))
            && let Some((left, right)) = present_halves(self.tree, piece.node)
        {
            self.pending.insert(
                at,
                Piece {
                    node: right,
                    ..piece
                },
            );
            // What is cut off next is left of it.
            at += 1;
            piece.node = left;
        }
        Some(piece)
    }

    /// Waits for this segment, if it reads it, though it was here.
    pub(crate) fn lacks(&mut self, hash: BlobHash) {
        if self.inputs.iter().all(|segment| segment.hash != hash) {
            return;
        }
        self.missing.insert(hash);
        self.sort_suspects();
    }

    /// Takes what waits for this segment away; gives the nodes.
    pub(crate) fn give_up_on(&mut self, hash: BlobHash) -> Vec<Node> {
        let pending = std::mem::take(&mut self.pending);
        let (lost, left) = pending.into_iter().partition(|piece| {
            let tasks = self.tree.range(piece.node);
            let mut segments = self.segments_of(&tasks).iter();
            segments.any(|segment| segment.hash == hash)
        });
        self.pending = left;
        let lost: Vec<Piece> = lost;
        lost.into_iter().map(|piece| piece.node).collect()
    }

    /// A slot has started on it.
    pub(crate) fn started(&mut self) {
        self.begun = true;
        self.running += 1;
    }

    /// A slot has ended, well or not.
    pub(crate) fn ended(&mut self) {
        assert!(self.running > 0, "a slot of {:?} ended twice", self.id);
        self.running -= 1;
    }

    /// A piece came to this.
    pub(crate) fn piece_done(&mut self, node: Node, partial: Partial) {
        self.done += self.tree.len(node);
        let step = self.merging.insert(node, partial);
        self.climb(step);
    }

    /// A merge came to this.
    pub(crate) fn merge_done(&mut self, node: Node, partial: Partial) {
        let step = self.merging.merged(node, partial);
        self.climb(step);
    }

    fn climb(&mut self, mut step: Step<Partial>) {
        loop {
            match step {
                Step::Held | Step::Ignored => return,
                Step::Top(partial) => {
                    self.top = Some(partial);
                    return;
                }
                Step::Merge { node, left, right } if self.mode == MergeMode::Concat => {
                    if left.len() + right.len() > limits::MAX_PARTIAL {
                        self.keep_apart(node, left, right);
                        return;
                    }
                    step = self.merging.merged(node, left.join(right));
                }
                Step::Merge { node, left, right } => {
                    self.merges.push_back(MergeWork {
                        node,
                        left,
                        right,
                        crashes: 0,
                    });
                    return;
                }
            }
        }
    }

    /// These pieces, left to right, are to be run next.
    pub(crate) fn run_next(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        let mut pieces: Vec<Piece> = pieces.into_iter().collect();
        if self.stopping {
            self.incomplete |= !pieces.is_empty();
            return;
        }
        pieces.reverse();
        self.pending.append(&mut pieces);
    }

    /// This is to be run while nothing else runs. A piece whose inputs have to be waited
    /// for is run like others, and again alone should it die again.
    pub(crate) fn run_alone(&mut self, doing: Doing) {
        match doing {
            Doing::Piece(_) if self.stopping => self.incomplete = true,
            Doing::Piece(piece) if !self.has_inputs(&self.tree.range(piece.node)) => {
                self.run_next([piece]);
            }
            Doing::Merge(merge) if self.stopping => {
                self.keep_apart(merge.node, merge.left, merge.right);
            }
            doing => self.suspects.push_back(doing),
        }
    }

    /// Blames a node. After many it gives up the rest.
    pub(crate) fn blame(&mut self, node: Node, failure: Failure) {
        self.failed.push((node, failure));
        if self.failed.len() >= MAX_FAILED {
            self.give_up();
        }
    }

    /// Runs no more pieces of it.
    pub(crate) fn give_up(&mut self) {
        self.stopping = true;
        self.incomplete |= !self.pending.is_empty() || self.halves.is_some();
        self.pending.clear();
        self.halves = None;
        self.sort_suspects();
    }

    /// What is to run alone may not, or not yet, since something else changed.
    fn sort_suspects(&mut self) {
        for doing in std::mem::take(&mut self.suspects) {
            self.run_alone(doing);
        }
    }

    /// Leaves pairs that wait to be merged as they are.
    pub(crate) fn give_up_merges(&mut self) {
        for merge in std::mem::take(&mut self.merges) {
            self.keep_apart(merge.node, merge.left, merge.right);
        }
    }

    fn keep_apart(&mut self, parent: Node, left: Partial, right: Partial) {
        if self.is_merge() {
            // The coordinator has the two.
            self.incomplete = true;
            return;
        }
        let halves = present_halves(self.tree, parent);
        let (left_node, right_node) = halves.expect("what is merged has two halves");
        self.apart.extend([(left_node, left), (right_node, right)]);
    }

    /// Whether it is over, and with what. To be asked after each change.
    pub(crate) fn standing(&mut self) -> Standing {
        if let Some(top) = self.top.take() {
            return Standing::Over {
                partials: vec![(self.node, top)],
                incomplete: false,
            };
        }
        let busy = self.running > 0
            || !self.pending.is_empty()
            || !self.suspects.is_empty()
            || !self.merges.is_empty()
            || self.halves.is_some();
        if busy {
            return Standing::Open;
        }
        let mut partials = self.merging.drain();
        partials.append(&mut self.apart);
        Standing::Over {
            partials,
            incomplete: self.incomplete,
        }
    }
}
