//! The block algebra: the nodes of the one binary tree over `0..n`.
//!
//! A node at level `k` with index `i` is the aligned range
//! `i·2^k .. (i+1)·2^k`, cut off at `n`. The tree depends on `n` alone, which is
//! what makes a result independent of how the work was cut.

use crate::ids::wide;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// The most tasks a job may have: 2^62, so that no product of the algebra
/// leaves 64 bits.
pub const MAX_TASKS: u64 = 1 << 62;

/// An aligned range of tasks, independent of any job's `n`.
///
/// Ordered by first task, then the larger first: an ancestor sorts before its
/// descendants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireNode")]
pub struct Node {
    level: u8,
    #[serde(with = "wide")]
    index: u64,
}

/// A node as it comes off the wire, before it is known to be one.
#[derive(Deserialize)]
struct WireNode {
    level: u8,
    #[serde(with = "wide")]
    index: u64,
}

impl TryFrom<WireNode> for Node {
    type Error = &'static str;
    fn try_from(wire: WireNode) -> Result<Self, Self::Error> {
        Self::new(wire.level, wire.index).ok_or("a node outside 0..2^62")
    }
}

impl Node {
    /// The node at `level` with `index`, or `None` where it would leave
    /// `0..2^62`.
    ///
    /// ```
    /// use manyhands_protocol::Node;
    /// assert_eq!(Node::new(3, 2).unwrap().range(), 16..24);
    /// assert_eq!(Node::new(63, 0), None);
    /// ```
    #[must_use]
    pub fn new(level: u8, index: u64) -> Option<Self> {
        let inside = level <= 62 && index < (MAX_TASKS >> level);
        inside.then_some(Self { level, index })
    }

    /// The single task `task`.
    ///
    /// # Panics
    /// When `task` is 2^62 or more.
    #[must_use]
    pub fn leaf(task: u64) -> Self {
        assert!(task < MAX_TASKS, "task {task} is past 2^62");
        Self {
            level: 0,
            index: task,
        }
    }

    /// log2 of the number of tasks, before cutting off at `n`.
    #[must_use]
    pub fn level(self) -> u8 {
        self.level
    }

    /// The position among the nodes of its level.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// The first task.
    #[must_use]
    pub fn first(self) -> u64 {
        self.index << self.level
    }

    /// The tasks, before cutting off at `n`.
    #[must_use]
    pub fn range(self) -> Range<u64> {
        self.first()..(self.index + 1) << self.level
    }

    /// The node this one is a half of; `None` at level 62.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        Self::new(self.level + 1, self.index >> 1)
    }

    /// The other half of the parent.
    #[must_use]
    pub fn sibling(self) -> Self {
        Self {
            level: self.level,
            index: self.index ^ 1,
        }
    }

    /// Whether this is the left half of its parent.
    #[must_use]
    pub fn is_left(self) -> bool {
        self.index & 1 == 0
    }

    /// The two halves, left first; `None` for a single task.
    #[must_use]
    pub fn halves(self) -> Option<(Self, Self)> {
        let level = self.level.checked_sub(1)?;
        let index = self.index << 1;
        let right = index | 1;
        Some((
            Self { level, index },
            Self {
                level,
                index: right,
            },
        ))
    }

    /// Whether every task of `other` is in `self` (a node contains itself).
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        other.level <= self.level && other.index >> (self.level - other.level) == self.index
    }

    /// Whether the two share a task: one then contains the other.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }
}

impl Ord for Node {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_first = self.first().cmp(&other.first());
        by_first.then(other.level.cmp(&self.level))
    }
}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({}+2^{})", self.first(), self.level)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level == 0 {
            write!(f, "task {}", self.index)
        } else {
            let range = self.range();
            write!(f, "tasks {}..{}", range.start, range.end)
        }
    }
}

/// The one tree over `0..n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tree {
    tasks: u64,
}

impl Tree {
    /// The tree over `0..tasks`, or `None` for more than 2^62.
    ///
    /// ```
    /// use manyhands_protocol::{Node, Tree};
    /// let tree = Tree::new(11).unwrap();
    /// assert_eq!(tree.root(), Node::new(4, 0));
    /// assert_eq!(tree.range(Node::new(2, 2).unwrap()), 8..11);
    /// assert!(!tree.has(Node::new(2, 3).unwrap()));
    /// ```
    #[must_use]
    pub fn new(tasks: u64) -> Option<Self> {
        (tasks <= MAX_TASKS).then_some(Self { tasks })
    }

    /// `n`, the number of tasks.
    #[must_use]
    pub fn tasks(self) -> u64 {
        self.tasks
    }

    /// The smallest node over all tasks; `None` when there are none.
    #[must_use]
    pub fn root(self) -> Option<Node> {
        let last = self.tasks.checked_sub(1)?;
        let level = (u64::BITS - last.leading_zeros()) as u8;
        Node::new(level, 0)
    }

    /// Whether the node has at least one task and lies under the root.
    #[must_use]
    pub fn has(self, node: Node) -> bool {
        node.first() < self.tasks && self.root().is_some_and(|root| node.level() <= root.level())
    }

    /// The node's tasks, cut off at `n`; empty where the node is absent.
    #[must_use]
    pub fn range(self, node: Node) -> Range<u64> {
        let range = node.range();
        range.start.min(self.tasks)..range.end.min(self.tasks)
    }

    /// How many tasks the node has after cutting off at `n`.
    #[must_use]
    pub fn len(self, node: Node) -> u64 {
        let range = self.range(node);
        range.end - range.start
    }

    /// The node's present halves: two, one (the right is past `n`), or none for
    /// a single task.
    #[must_use]
    pub fn halves(self, node: Node) -> Option<(Node, Option<Node>)> {
        let (left, right) = node.halves()?;
        Some((left, self.has(right).then_some(right)))
    }

    /// The highest node with the same tasks: climbs while the sibling is
    /// absent. Two nodes cover the same tasks when these are equal.
    #[must_use]
    pub fn canonical(self, mut node: Node) -> Node {
        assert!(
            self.has(node),
            "{node:?} is not in the tree over {}",
            self.tasks
        );
        while !self.has(node.sibling()) && Some(node) != self.root() {
            node = node
                .parent()
                .expect("only the root has no parent in a tree");
        }
        node
    }

    /// The fewest nodes that cover `range` exactly, left to right: at most two
    /// a level.
    #[must_use]
    pub fn cover(self, range: Range<u64>) -> Vec<Node> {
        let end = range.end.min(self.tasks);
        let mut first = range.start;
        let mut nodes = Vec::new();
        let root = self.root().map_or(0, Node::level);
        while first < end {
            let mut node = Node::leaf(first);
            while node.level() < root {
                let parent = node.parent().expect("levels under the root have a parent");
                if parent.first() != first || self.range(parent).end > end {
                    break;
                }
                node = parent;
            }
            first = self.range(node).end;
            nodes.push(node);
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cover_is_exact_and_in_order(n in 1u64..3000, a in 0u64..3000, b in 0u64..3000) {
            let tree = Tree::new(n).unwrap();
            let (a, b) = (a.min(b).min(n), a.max(b).min(n));
            let nodes = tree.cover(a..b);
            let mut next = a;
            for node in &nodes {
                prop_assert_eq!(tree.range(*node).start, next);
                next = tree.range(*node).end;
            }
            prop_assert_eq!(next, b.max(a));
            prop_assert!(nodes.len() <= 24);
        }

        #[test]
        fn order_puts_ancestors_first(a in 0u8..10, b in 0u8..10, i in 0u64..1000) {
            let leaf = Node::leaf(i);
            let up = |levels: u8| (0..levels).fold(leaf, |n, _| n.parent().unwrap());
            let (low, high) = (up(a.min(b)), up(a.max(b)));
            prop_assert!(high.contains(low));
            prop_assert!(low == high || high.first() < low.first() || high < low);
        }
    }

    #[test]
    fn extremes_stay_in_range() {
        let tree = Tree::new(MAX_TASKS).unwrap();
        assert_eq!(tree.root(), Node::new(62, 0));
        assert_eq!(tree.len(tree.root().unwrap()), MAX_TASKS);
        assert_eq!(Tree::new(MAX_TASKS + 1), None);
        assert_eq!(Tree::new(0).unwrap().root(), None);
        assert_eq!(Tree::new(1).unwrap().root(), Some(Node::leaf(0)));
        assert_eq!(Node::new(200, 0), None);
        assert_eq!(tree.cover(1..MAX_TASKS).len(), 62);
        assert_eq!(tree.cover(0..MAX_TASKS), vec![tree.root().unwrap()]);
    }

    #[test]
    fn canonical_climbs_past_absent_siblings() {
        let tree = Tree::new(11).unwrap();
        let low = Node::new(2, 2).unwrap();
        assert_eq!(tree.canonical(low), Node::new(3, 1).unwrap());
        assert_eq!(tree.canonical(Node::leaf(10)), Node::new(1, 5).unwrap());
    }
}
