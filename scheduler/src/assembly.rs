//! A job's result coming together: the merge tree of a `reduce` job, the prefix
//! of a `concat` job. Knows neither leases nor workers.

use crate::config::Config;
use crate::event::Action;
use manyhands_protocol::{JobId, MergeMode, MergeTree, Node, Operand, Sequence, Step, Tree};
use std::collections::BTreeMap;

/// A partial on its way to the prefix.
#[derive(Debug)]
pub(crate) struct Early<P> {
    node: Node,
    partial: P,
    /// Bytes.
    len: u64,
}

/// So many partials are merged at once when the last one is in, rather than that merges
/// under way are waited for: while a call there and back takes as long as ten merges in it.
const LAST_OPERANDS: usize = 48;

/// A partial in a merge tree.
#[derive(Clone, Debug)]
pub(crate) struct Held<P> {
    partial: P,
    /// Bytes.
    len: u64,
}

/// What is being merged to a node.
#[derive(Debug)]
struct Awaited<P> {
    /// Of all operands together.
    bytes: u64,
    /// None where they are too large to be merged again.
    operands: Vec<Operand<Held<P>>>,
}

/// The merges that were given out, and the bytes of what is in a merge tree.
#[derive(Debug)]
pub(crate) struct Merges<P> {
    /// Merges under way.
    under_way: usize,
    /// By the node that is awaited.
    awaited: BTreeMap<Node, Awaited<P>>,
    /// Of these and of the partials that are held.
    bytes: u64,
}

impl<P> Default for Merges<P> {
    fn default() -> Self {
        Self {
            under_way: 0,
            awaited: BTreeMap::new(),
            bytes: 0,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Assembly<P> {
    Reduce {
        /// `None` for a job without tasks.
        tree: Option<MergeTree<Held<P>>>,
        merges: Merges<P>,
    },
    Concat {
        tree: Tree,
        sequence: Sequence<Early<P>>,
        /// Bytes of those that wait.
        early_bytes: u64,
    },
    /// The job is over.
    Over {
        /// As [`Assembly::prefix`] was.
        prefix: u64,
    },
}

impl<P> Assembly<P> {
    /// The tasks before `prefix` are in the result already (`concat`).
    pub(crate) fn new(tree: Tree, merge: MergeMode, prefix: u64) -> Self {
        match merge {
            MergeMode::Reduce => Self::Reduce {
                tree: tree.root().map(|root| MergeTree::new(tree, root)),
                merges: Merges::default(),
            },
            MergeMode::Concat => Self::Concat {
                tree,
                sequence: Sequence::starting_at(tree, prefix),
                early_bytes: 0,
            },
        }
    }

    /// Whether a partial of `node`, of which some task is not done, can be used: not
    /// where a part of it has left with the prefix.
    pub(crate) fn takes(&self, node: Node) -> bool {
        match self {
            Self::Reduce { .. } => true,
            Self::Concat { sequence, .. } => !sequence.covers(node),
            Self::Over { .. } => false,
        }
    }

    /// The first task that is not in the prefix (`concat`).
    pub(crate) fn prefix(&self) -> u64 {
        match self {
            Self::Reduce { .. } => 0,
            Self::Concat { sequence, .. } => sequence.next_task(),
            Self::Over { prefix } => *prefix,
        }
    }

    /// Takes a partial in. Whether the job is complete now.
    pub(crate) fn insert(
        &mut self,
        job: JobId,
        node: Node,
        partial: P,
        len: u64,
        config: &Config,
        actions: &mut Vec<Action<P>>,
    ) -> bool
    where
        P: Clone,
    {
        match self {
            Self::Reduce { tree, merges } => {
                let tree = tree.as_mut().expect("a job with tasks");
                let held = Held { partial, len };
                merges.bytes += len;
                let step = tree.insert_over(node, held, |below, held| merges.forget(below, held));
                assert!(!matches!(step, Step::Ignored), "{node:?} was here already");
                merges.act_on(step, job, tree, config, actions)
            }
            Self::Concat {
                tree,
                sequence,
                early_bytes,
            } => {
                let waits = Early { node, partial, len };
                *early_bytes += len;
                let (mut replaced, mut left) = (0, 0);
                sequence.insert_over(
                    node,
                    waits,
                    |early| replaced += early.len,
                    |early| {
                        let Early { node, partial, len } = early;
                        left += len;
                        actions.push(Action::Emit { job, node, partial });
                    },
                );
                *early_bytes -= replaced + left;
                let complete = sequence.next_task() == tree.tasks();
                if complete {
                    actions.push(Action::Complete { job });
                }
                complete
            }
            Self::Over { .. } => false,
        }
    }

    /// Takes in what a merge came to. Whether the job is complete now.
    pub(crate) fn merged(
        &mut self,
        job: JobId,
        node: Node,
        partial: P,
        len: u64,
        config: &Config,
        actions: &mut Vec<Action<P>>,
    ) -> bool
    where
        P: Clone,
    {
        let Self::Reduce {
            tree: Some(tree),
            merges,
        } = self
        else {
            return false;
        };
        merges.under_way = merges.under_way.saturating_sub(1);
        if let Some(awaited) = merges.awaited.remove(&node) {
            merges.bytes = merges.bytes - awaited.bytes + len;
        }
        let step = tree.merged(node, Held { partial, len });
        merges.act_on(step, job, tree, config, actions)
    }

    /// A merge to `node` came to nothing. Whether that matters: not where all of it has
    /// come in otherwise, or is merged again with more.
    pub(crate) fn merge_failed(&mut self, node: Node) -> bool {
        if let Self::Reduce { merges, .. } = self {
            merges.under_way = merges.under_way.saturating_sub(1);
        }
        self.awaits(node)
    }

    /// Whether the outcome of a merge to `node` would be used.
    pub(crate) fn awaits(&self, node: Node) -> bool {
        match self {
            Self::Reduce { tree, .. } => tree.as_ref().is_some_and(|tree| tree.awaits(node)),
            _ => false,
        }
    }

    /// The task that what waits is waiting for: see
    /// [`Job::front`](crate::jobs::Job::front).
    pub(crate) fn front(&self, tree: Tree, config: &Config) -> Option<u64> {
        match self {
            Self::Reduce { merges, .. } if merges.under_way < config.window_merges => {
                self.blocked_at(tree, config.window_bytes)
            }
            Self::Concat { sequence, .. } => Some(sequence.next_task()),
            _ => None,
        }
    }

    /// Whether so much waits, or is expected from `blocks` blocks of `tasks`
    /// tasks at work, that only the block at the front may go out, if any.
    pub(crate) fn window_closed(
        &self,
        tree: Tree,
        config: &Config,
        blocks: usize,
        tasks: u64,
        output_per_task: u64,
    ) -> bool {
        match self {
            Self::Reduce { merges, .. } => {
                merges.under_way >= config.window_merges
                    || self.blocked_at(tree, config.window_bytes).is_some()
            }
            Self::Concat {
                sequence,
                early_bytes,
                ..
            } => {
                let expected = tasks.saturating_mul(output_per_task);
                sequence.waiting() + blocks >= config.window_blocks
                    || early_bytes.saturating_add(expected) >= config.window_bytes
            }
            Self::Over { .. } => true,
        }
    }

    /// `reduce`: the first task that is not done, if more than `window` bytes wait
    /// for it and others. What lies before it does not count: a few partials,
    /// whatever is computed next, and fewer only by that task.
    fn blocked_at(&self, tree: Tree, window: u64) -> Option<u64> {
        let Self::Reduce {
            tree: Some(merging),
            merges,
        } = self
        else {
            return None;
        };
        if merges.bytes < window {
            return None;
        }
        let (mut front, mut before) = (0, 0);
        for (node, held) in merging.entries() {
            if node.first() != front {
                break;
            }
            front = tree.range(node).end;
            before += held.map_or_else(|| merges.awaited[&node].bytes, |held| held.len);
        }
        (merges.bytes - before >= window).then_some(front)
    }

    /// Drops all partials.
    pub(crate) fn close(&mut self) {
        let prefix = self.prefix();
        *self = Self::Over { prefix };
    }
}

impl<P> Merges<P> {
    /// A descendant of what came in, held or being merged, is here no more.
    fn forget(&mut self, node: Node, held: Option<Held<P>>) {
        let awaited = || self.awaited.remove(&node).expect("it is awaited").bytes;
        self.bytes -= held.map_or_else(awaited, |held| held.len);
    }
}

impl<P: Clone> Merges<P> {
    /// Whether the job is complete now.
    fn act_on(
        &mut self,
        step: Step<Held<P>>,
        job: JobId,
        tree: &mut MergeTree<Held<P>>,
        config: &Config,
        actions: &mut Vec<Action<P>>,
    ) -> bool {
        let given_out = match step {
            Step::Ignored => None,
            Step::Held => self.whole(tree, config),
            Step::Merge { node, left, right } => {
                let mut bytes = left.len + right.len;
                let mut operands = Operand::two(left, right);
                let node = tree.take_above(node, &mut operands, |held| {
                    let chained = bytes + held.len;
                    let fits = chained <= config.chain_bytes;
                    bytes = if fits { chained } else { bytes };
                    fits
                });
                self.note(node, bytes, &operands, config);
                let whole = self.whole(tree, config);
                Some(whole.unwrap_or((node, operands)))
            }
            Step::Top(held) => {
                let partial = Some(held.partial);
                actions.push(Action::Root { job, partial });
                return true;
            }
        };
        if let Some((node, operands)) = given_out {
            self.under_way += 1;
            let operands = operands
                .into_iter()
                .map(|operand| operand.map(|held| held.partial));
            let operands = operands.collect();
            actions.push(Action::Merge {
                job,
                node,
                operands,
            });
        }
        false
    }

    /// These are merged to the node.
    fn note(&mut self, node: Node, bytes: u64, operands: &[Operand<Held<P>>], config: &Config) {
        let again = bytes <= config.chain_bytes;
        let operands = if again { operands.to_vec() } else { Vec::new() };
        self.awaited.insert(node, Awaited { bytes, operands });
    }

    /// What is left to be merged, in one go, where that is the quickest: all tasks are in,
    /// and the partials are few and small.
    fn whole(
        &mut self,
        tree: &mut MergeTree<Held<P>>,
        config: &Config,
    ) -> Option<(Node, Vec<Operand<Held<P>>>)> {
        if !tree.is_whole() || self.bytes > config.chain_bytes {
            return None;
        }
        let (mut entries, mut operands) = (0, 0);
        for (node, held) in tree.entries() {
            entries += 1;
            operands += held.map_or_else(|| self.awaited[&node].operands.len(), |_| 1);
            if operands > LAST_OPERANDS {
                return None;
            }
        }
        if entries == 1 {
            // All there is is being merged to one already.
            return None;
        }
        let (top, operands) = tree.take_whole(|node| {
            let awaited = self.awaited.remove(&node);
            awaited.expect("it is being merged").operands
        });
        self.note(top, self.bytes, &operands, config);
        Some((top, operands))
    }
}
