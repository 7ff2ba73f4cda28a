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

/// What a `reduce` job has of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Bytes of its partial, or of its halves' while they are being merged.
    len: u64,
    merging: bool,
}

/// The sizes of what is in a merge tree.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// Disjoint canonical nodes: those that are held, or being merged and
    /// awaited, as no ancestor has come in.
    kept: BTreeMap<Node, Kept>,
    bytes: u64,
}

#[derive(Debug)]
pub(crate) enum Assembly<P> {
    Reduce {
        /// `None` for a job without tasks.
        tree: Option<MergeTree<P>>,
        /// Merges under way.
        merging: usize,
        sizes: Sizes,
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
    /// The tasks before `prefix` are in the result already (`concat`).
    pub(crate) fn new(tree: Tree, merge: MergeMode, prefix: u64) -> Self {
        match merge {
            MergeMode::Reduce => Self::Reduce {
                tree: tree.root().map(|root| MergeTree::new(tree, root)),
                merging: 0,
                sizes: Sizes::default(),
            },
            MergeMode::Concat => Self::Concat {
                tree,
                sequence: Sequence::starting_at(tree, prefix),
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
            Self::Reduce {
                tree,
                merging,
                sizes,
            } => {
                let tree = tree.as_mut().expect("a job with tasks");
                if !tree.covers(node) {
                    sizes.take_within(node);
                    sizes.put(node, len, false);
                }
                let step = tree.insert(node, partial);
                note(&step, merging, sizes);
                act_on(step, job, actions)
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
        len: u64,
        actions: &mut Vec<Action<P>>,
    ) -> bool {
        let Self::Reduce {
            tree: Some(tree),
            merging,
            sizes,
        } = self
        else {
            return false;
        };
        *merging = merging.saturating_sub(1);
        if sizes.is_merging(node) {
            sizes.take_within(node);
            sizes.put(node, len, false);
        }
        let step = tree.merged(node, partial);
        note(&step, merging, sizes);
        act_on(step, job, actions)
    }

    /// Whether the outcome of a merge to `node` would be used.
    pub(crate) fn awaits(&self, node: Node) -> bool {
        match self {
            Self::Reduce { sizes, .. } => sizes.is_merging(node),
            _ => false,
        }
    }

    /// The task that what waits is waiting for: see
    /// [`Job::front`](crate::jobs::Job::front).
    pub(crate) fn front(&self, tree: Tree, config: &Config) -> Option<u64> {
        match self {
            Self::Reduce { merging, sizes, .. } if *merging < config.window_merges => {
                sizes.blocked_at(tree, config.window_bytes)
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
            Self::Reduce { merging, sizes, .. } => {
                *merging >= config.window_merges
                    || sizes.blocked_at(tree, config.window_bytes).is_some()
            }
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

impl Sizes {
    fn put(&mut self, node: Node, len: u64, merging: bool) {
        let before = self.kept.insert(node, Kept { len, merging });
        assert!(before.is_none(), "{node:?} is kept already");
        self.bytes += len;
    }

    /// Removes what lies in `node`; gives its bytes.
    fn take_within(&mut self, node: Node) -> u64 {
        let before = self.bytes;
        while let Some((below, kept)) = self.kept.range(node..).next()
            && node.contains(*below)
        {
            let below = *below;
            self.bytes -= kept.len;
            self.kept.remove(&below);
        }
        before - self.bytes
    }

    fn is_merging(&self, node: Node) -> bool {
        self.kept.get(&node).is_some_and(|kept| kept.merging)
    }

    /// The first task that is not done, if more than `window` bytes wait for it
    /// and others. What lies before it does not count: a few partials, whatever
    /// is computed next, and fewer only by that task.
    fn blocked_at(&self, tree: Tree, window: u64) -> Option<u64> {
        if self.bytes < window {
            return None;
        }
        let (mut front, mut before) = (0, 0);
        for (node, kept) in &self.kept {
            if node.first() != front {
                break;
            }
            front = tree.range(*node).end;
            before += kept.len;
        }
        (self.bytes - before >= window).then_some(front)
    }
}

/// Counts the merge that the step asks for, if it does.
fn note<P>(step: &Step<P>, merging: &mut usize, sizes: &mut Sizes) {
    if let Step::Merge { node, .. } = step {
        *merging += 1;
        let len = sizes.take_within(*node);
        sizes.put(*node, len, true);
    }
}

fn act_on<P>(step: Step<P>, job: JobId, actions: &mut Vec<Action<P>>) -> bool {
    match step {
        Step::Held | Step::Ignored => false,
        Step::Merge { node, left, right } => {
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
