//! A job's result coming together: the merge tree of a `reduce` job, the prefix
//! of a `concat` job. Knows neither leases nor workers.

use crate::config::Config;
use crate::event::Action;
use manyhands_protocol::{JobId, MergeMode, MergeTree, Node, Sequence, Step, Tree};
use std::collections::BTreeMap;

/// A partial on its way to the prefix.
#[derive(Debug)]
pub(crate) struct Early<P> {
    node: Node,
    partial: P,
}

#[derive(Debug)]
pub(crate) enum Assembly<P> {
    Reduce {
        /// `None` for a job without tasks.
        tree: Option<MergeTree<P>>,
        /// Merges under way.
        merging: usize,
    },
    Concat {
        tree: Tree,
        sequence: Sequence<Early<P>>,
        /// Bytes of those that wait, by first task.
        early: BTreeMap<u64, u64>,
        early_bytes: u64,
    },
    /// The job is over.
    Over {
        /// As [`Assembly::prefix`] was.
        prefix: u64,
    },
}

impl<P> Assembly<P> {
    pub(crate) fn new(tree: Tree, merge: MergeMode) -> Self {
        match merge {
            MergeMode::Reduce => Self::Reduce {
                tree: tree.root().map(|root| MergeTree::new(tree, root)),
                merging: 0,
            },
            MergeMode::Concat => Self::Concat {
                tree,
                sequence: Sequence::new(tree),
                early: BTreeMap::new(),
                early_bytes: 0,
            },
        }
    }

    /// Whether a partial of `node` cannot be used.
    pub(crate) fn covers(&self, node: Node) -> bool {
        match self {
            Self::Reduce { tree, .. } => tree.as_ref().is_none_or(|tree| tree.covers(node)),
            Self::Concat { sequence, .. } => sequence.covers(node),
            Self::Over { .. } => true,
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
        actions: &mut Vec<Action<P>>,
    ) -> bool {
        match self {
            Self::Reduce { tree, merging } => {
                let tree = tree.as_mut().expect("a job with tasks");
                let step = tree.insert(node, partial);
                act_on(step, job, merging, actions)
            }
            Self::Concat {
                tree,
                sequence,
                early,
                early_bytes,
            } => {
                let range = tree.range(node);
                while let Some((first, len)) = early.range(range.clone()).next() {
                    let first = *first;
                    *early_bytes -= len;
                    early.remove(&first);
                }
                early.insert(range.start, len);
                *early_bytes += len;
                for Early { node, partial } in sequence.insert(node, Early { node, partial }) {
                    let len = early.remove(&node.first()).expect("it waited");
                    *early_bytes -= len;
                    actions.push(Action::Emit { job, node, partial });
                }
                assert_eq!(sequence.waiting(), early.len(), "early partials drifted");
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
        actions: &mut Vec<Action<P>>,
    ) -> bool {
        let Self::Reduce {
            tree: Some(tree),
            merging,
        } = self
        else {
            return false;
        };
        *merging = merging.saturating_sub(1);
        let step = tree.merged(node, partial);
        act_on(step, job, merging, actions)
    }

    /// Whether so much waits, or is expected from `blocks` blocks of `tasks`
    /// tasks at work, that only the block that holds the prefix back may go
    /// out.
    pub(crate) fn window_closed(
        &self,
        config: &Config,
        blocks: usize,
        tasks: u64,
        output_per_task: u64,
    ) -> bool {
        match self {
            Self::Reduce { merging, .. } => *merging >= config.window_blocks,
            Self::Concat {
                early, early_bytes, ..
            } => {
                let expected = tasks.saturating_mul(output_per_task);
                early.len() + blocks >= config.window_blocks
                    || early_bytes.saturating_add(expected) >= config.window_bytes
            }
            Self::Over { .. } => true,
        }
    }

    /// Drops all partials.
    pub(crate) fn close(&mut self) {
        let prefix = self.prefix();
        *self = Self::Over { prefix };
    }
}

fn act_on<P>(step: Step<P>, job: JobId, merging: &mut usize, actions: &mut Vec<Action<P>>) -> bool {
    match step {
        Step::Held | Step::Ignored => false,
        Step::Merge { node, left, right } => {
            *merging += 1;
            actions.push(Action::Merge {
                job,
                node,
                left,
                right,
            });
            false
        }
        Step::Top(partial) => {
            let partial = Some(partial);
            actions.push(Action::Root { job, partial });
            true
        }
    }
}
