//! Sets of disjoint nodes of one tree, kept as large as they can be: the free
//! list of a buddy allocator. Knows nothing of leases.

use manyhands_protocol::{Node, Tree};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Disjoint canonical nodes. Two siblings in the set become their parent,
/// except where put in by [`insert_apart`](Self::insert_apart).
#[derive(Clone, Debug)]
pub(crate) struct NodeSet {
    tree: Tree,
    by_first: BTreeMap<u64, Node>,
    /// Where the nodes of each level begin; as long as is needed.
    by_level: Vec<BTreeSet<u64>>,
    tasks: u64,
}

impl NodeSet {
    pub(crate) fn new(tree: Tree) -> Self {
        Self {
            tree,
            by_first: BTreeMap::new(),
            by_level: Vec::new(),
            tasks: 0,
        }
    }

    /// How many tasks the nodes have together.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks
    }

    /// The nodes, left to right.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Node> + '_ {
        self.by_first.values().copied()
    }

    /// Those that lie in `node`, left to right.
    pub(crate) fn iter_within(&self, node: Node) -> impl Iterator<Item = Node> + '_ {
        let canonical = self.tree.canonical(node);
        let inside = self.by_first.range(self.tree.range(node));
        inside
            .map(|(_, member)| *member)
            .filter(move |member| canonical.contains(*member))
    }

    pub(crate) fn first(&self) -> Option<Node> {
        self.by_first.values().next().copied()
    }

    /// The node of the set that contains `node`.
    pub(crate) fn covering(&self, node: Node) -> Option<Node> {
        let (_, before) = self.by_first.range(..=node.first()).next_back()?;
        before
            .contains(self.tree.canonical(node))
            .then_some(*before)
    }

    /// Whether the set shares a task with `node`.
    pub(crate) fn touches(&self, node: Node) -> bool {
        self.covering(node).is_some() || self.iter_within(node).next().is_some()
    }

    /// Adds a node that is disjoint from the set, joining buddies.
    pub(crate) fn insert(&mut self, node: Node) {
        let mut node = self.tree.canonical(node);
        // A canonical node below the root has its sibling in the tree.
        while Some(node) != self.tree.root() && self.remove_member(node.sibling()) {
            let parent = node.parent().expect("below the root there is a parent");
            node = self.tree.canonical(parent);
        }
        self.insert_apart(node);
    }

    /// Adds a node that is disjoint from the set as it is.
    pub(crate) fn insert_apart(&mut self, node: Node) {
        let node = self.tree.canonical(node);
        assert!(!self.touches(node), "{node:?} is in the set already");
        self.put(node);
    }

    /// Adds a canonical node that is known to be disjoint from the set.
    fn put(&mut self, node: Node) {
        self.by_first.insert(node.first(), node);
        let level = usize::from(node.level());
        if self.by_level.len() <= level {
            self.by_level.resize_with(level + 1, BTreeSet::new);
        }
        self.by_level[level].insert(node.first());
        self.tasks += self.tree.len(node);
    }

    /// Removes a node that lies in one of the set's; the rest of that stays.
    pub(crate) fn take(&mut self, node: Node) {
        let whole = self.covering(node).expect("a node of the set");
        self.remove_member(whole);
        around(self.tree, whole, node, |rest| self.put(rest));
    }

    /// Removes whatever the set shares with `node`; gives the number of tasks.
    pub(crate) fn take_within(&mut self, node: Node) -> u64 {
        if self.tasks == 0 {
            return 0;
        }
        if self.covering(node).is_some() {
            self.take(node);
            return self.tree.len(node);
        }
        let before = self.tasks;
        let inside: Vec<Node> = self.iter_within(node).collect();
        for member in inside {
            self.remove_member(member);
        }
        before - self.tasks
    }

    /// The node to hand out when `wanted` tasks are wanted: it has at most that
    /// many and lies as far left as it can without having fewer than half of `least`,
    /// if there is such a one.
    pub(crate) fn pick(&self, wanted: u64, least: u64) -> Option<Node> {
        let level = least.max(1).ilog2() as usize;
        let first = self.first()?;
        if usize::from(first.level()) >= level {
            // Nearly always: nodes go out from left to right.
            return Some(leftmost(self.tree, first, wanted));
        }
        let firsts = |levels: &[BTreeSet<u64>]| {
            let firsts = levels.iter().filter_map(BTreeSet::first);
            firsts.min().copied()
        };
        let (small, large) = self.by_level.split_at(level.min(self.by_level.len()));
        // Nothing large enough: the largest there is.
        let largest = || small.iter().rev().find_map(BTreeSet::first).copied();
        let at = firsts(large).or_else(largest)?;
        Some(leftmost(self.tree, self.by_first[&at], wanted))
    }

    fn remove_member(&mut self, node: Node) -> bool {
        let Entry::Occupied(entry) = self.by_first.entry(node.first()) else {
            return false;
        };
        if *entry.get() != node {
            return false;
        }
        entry.remove();
        self.by_level[usize::from(node.level())].remove(&node.first());
        self.tasks -= self.tree.len(node);
        true
    }
}

/// The leftmost node in `node` with at most `wanted` tasks.
pub(crate) fn leftmost(tree: Tree, mut node: Node, wanted: u64) -> Node {
    while tree.len(node) > wanted.max(1) {
        (node, _) = tree.halves(node).expect("more than one task");
    }
    tree.canonical(node)
}

/// Gives the nodes that are left of `whole` without `part`, at most one a level:
/// canonical ones, as each has a sibling.
pub(crate) fn around(tree: Tree, whole: Node, part: Node, mut rest: impl FnMut(Node)) {
    let tasks = tree.len(part);
    let mut at = whole;
    while tree.len(at) > tasks {
        let (left, right) = tree.halves(at).expect("larger than its part");
        at = match right {
            Some(right) if right.first() <= part.first() => {
                rest(left);
                right
            }
            Some(right) => {
                rest(right);
                left
            }
            None => left,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(n: u64) -> (Tree, NodeSet) {
        let tree = Tree::new(n).unwrap();
        let mut set = NodeSet::new(tree);
        set.insert(tree.root().unwrap());
        (tree, set)
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_put_back(n in 1u64..300, wants in proptest::collection::vec(1u64..40, 0..60)) {
            let (tree, mut set) = whole(n);
            let mut taken = Vec::new();
            for want in wants {
                let Some(node) = set.pick(want, want / 4) else { break };
                prop_assert!(tree.len(node) <= want);
                set.take(node);
                taken.push(node);
            }
            let mut covered: Vec<u64> = taken.iter().copied().chain(set.iter()).flat_map(|node| tree.range(node)).collect();
            covered.sort_unstable();
            prop_assert_eq!(covered, (0..n).collect::<Vec<_>>());
            for node in taken.into_iter().rev() {
                set.insert(node);
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), vec![tree.root().unwrap()]);
            prop_assert_eq!(set.tasks(), n);
        }

        #[test]
        fn a_hole_is_exact(n in 1u64..300, task in 0u64..300, level in 0u8..9) {
            let (tree, mut set) = whole(n);
            let level = level.min(tree.root().unwrap().level());
            let node = Node::new(level, (task % n) >> level).unwrap();
            prop_assert_eq!(set.take_within(node), tree.len(node));
            prop_assert!(!set.touches(node));
            prop_assert_eq!(set.tasks(), n - tree.len(node));
            prop_assert_eq!(set.take_within(tree.root().unwrap()), n - tree.len(node));
            prop_assert_eq!(set.first(), None);
        }
    }

    #[test]
    fn a_large_block_is_not_refused_for_small_ones_at_its_left() {
        let (_, mut set) = whole(1 << 40);
        set.take(Node::leaf(0));
        assert_eq!(set.pick(1 << 20, 1 << 18).unwrap().level(), 18);
        assert_eq!(set.pick(1, 1), Some(Node::leaf(1)));
        assert_eq!(set.pick(1 << 20, 1), Some(Node::leaf(1)), "as asked");
    }

    #[test]
    fn nodes_put_apart_stay_apart() {
        let tree = Tree::new(4).unwrap();
        let mut set = NodeSet::new(tree);
        set.insert_apart(Node::leaf(0));
        set.insert_apart(Node::leaf(1));
        assert_eq!(set.pick(4, 1), Some(Node::leaf(0)));
    }
}
