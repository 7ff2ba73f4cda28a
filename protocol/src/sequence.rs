//! The in-order prefix of a `concat` job: partials of disjoint nodes in, those
//! that continue the prefix out.

use crate::{Node, Tree};
use std::collections::BTreeMap;

/// Holds partials that came early until those before them have come.
///
/// ```
/// use manyhands_protocol::{Node, Sequence, Tree};
/// let mut sequence = Sequence::new(Tree::new(3).unwrap());
/// assert!(sequence.insert(Node::leaf(1), "b").is_empty());
/// assert_eq!(sequence.insert(Node::leaf(0), "a"), vec!["a", "b"]);
/// assert_eq!(sequence.next_task(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Sequence<P> {
    tree: Tree,
    next: u64,
    /// By first task; each lies past `next`, disjoint from the others.
    early: BTreeMap<u64, (Node, P)>,
}

impl<P> Sequence<P> {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self::starting_at(tree, 0)
    }

    /// The tasks before `next` have left with the prefix already, in an earlier
    /// run of the program, say.
    ///
    /// ```
    /// use manyhands_protocol::{Node, Sequence, Tree};
    /// let mut sequence = Sequence::starting_at(Tree::new(3).unwrap(), 1);
    /// assert!(sequence.insert(Node::leaf(0), "a").is_empty());
    /// assert_eq!(sequence.insert(Node::leaf(1), "b"), vec!["b"]);
    /// ```
    ///
    /// # Panics
    /// When `next` is past the tree's end.
    #[must_use]
    pub fn starting_at(tree: Tree, next: u64) -> Self {
        let tasks = tree.tasks();
        assert!(next <= tasks, "{next} of {tasks} tasks have left");
        Self {
            tree,
            next,
            early: BTreeMap::new(),
        }
    }

    /// Takes in the partial of `node` and gives what now continues the prefix,
    /// in order. A copy of what came before is dropped; an ancestor replaces
    /// those of its descendants that still wait.
    ///
    /// # Panics
    /// When `node` is not in the tree: check what a peer sent before.
    pub fn insert(&mut self, node: Node, partial: P) -> Vec<P> {
        let mut ready = Vec::new();
        self.insert_over(node, partial, drop, |partial| ready.push(partial));
        ready
    }

    /// As [`insert`](Self::insert); gives what continues the prefix to `ready`, and
    /// what the node replaces, or itself where it is dropped, to `replaced`.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use manyhands_protocol::{Node, Sequence, Tree};
    /// let mut sequence = Sequence::new(Tree::new(4).unwrap());
    /// sequence.insert(Node::leaf(3), "d");
    /// let (mut replaced, mut ready) = (Vec::new(), Vec::new());
    /// let root = Node::new(2, 0).unwrap();
    /// sequence.insert_over(root, "abcd", |old| replaced.push(old), |next| ready.push(next));
    /// assert_eq!((replaced, ready), (vec!["d"], vec!["abcd"]));
    /// ```
    pub fn insert_over(
        &mut self,
        node: Node,
        partial: P,
        mut replaced: impl FnMut(P),
        mut ready: impl FnMut(P),
    ) {
        assert!(self.tree.has(node), "{node:?} is not in the tree");
        let range = self.tree.range(node);
        if self.early.is_empty() && range.start == self.next {
            // It need not wait, and nobody waited for it.
            self.next = range.end;
            return ready(partial);
        }
        if self.covers(node) {
            return replaced(partial);
        }
        while let Some((first, _)) = self.early.range(range.clone()).next() {
            let first = *first;
            let (_, partial) = self.early.remove(&first).expect("just found");
            replaced(partial);
        }
        self.early.insert(range.start, (node, partial));
        while let Some(entry) = self.early.first_entry()
            && *entry.key() == self.next
        {
            let (node, partial) = entry.remove();
            self.next = self.tree.range(node).end;
            ready(partial);
        }
    }

    /// Whether `node` cannot be used any more: its tasks are here, or some of
    /// them have left with the prefix.
    #[must_use]
    pub fn covers(&self, node: Node) -> bool {
        let range = self.tree.range(node);
        let before = self.early.range(..=range.start).next_back();
        range.start < self.next || before.is_some_and(|(_, (held, _))| held.contains(node))
    }

    /// The first task that has not left with the prefix; `n` at the end.
    #[must_use]
    pub fn next_task(&self) -> u64 {
        self.next
    }

    /// How many partials wait for those before them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.early.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_order_gives_the_same_bytes(n in 1u64..120, seed in any::<u64>(), copies in 0usize..5) {
            let tree = Tree::new(n).unwrap();
            // Cut points by a multiplicative hash of the seed: any cover will do.
            let cut = seed % (n + 1);
            let mut nodes = tree.cover(0..cut);
            nodes.extend(tree.cover(cut..n));
            nodes.extend(nodes.clone().into_iter().take(copies));
            nodes.sort_by_key(|node| (node.first() ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut sequence = Sequence::new(tree);
            let mut out = Vec::new();
            for node in nodes {
                let text: Vec<u64> = tree.range(node).collect();
                out.extend(sequence.insert(node, text).into_iter().flatten());
            }
            prop_assert_eq!(out, (0..n).collect::<Vec<_>>());
            prop_assert_eq!(sequence.next_task(), n);
            prop_assert_eq!(sequence.waiting(), 0);
        }
    }

    #[test]
    fn it_goes_on_where_another_has_stopped() {
        let tree = Tree::new(5).unwrap();
        let mut sequence = Sequence::starting_at(tree, 3);
        assert_eq!(sequence.next_task(), 3);
        assert!(sequence.covers(Node::leaf(2)));
        assert!(sequence.covers(Node::new(1, 1).unwrap()), "2 has left");
        assert!(sequence.insert(Node::leaf(4), "4").is_empty());
        assert_eq!(sequence.insert(Node::leaf(3), "3"), ["3", "4"]);
        let mut whole = Sequence::starting_at(tree, 5);
        assert_eq!(whole.next_task(), 5);
        assert!(whole.insert(Node::leaf(4), "again").is_empty());
    }

    #[test]
    fn what_has_left_is_not_taken_again() {
        let mut sequence = Sequence::new(Tree::new(4).unwrap());
        assert_eq!(sequence.insert(Node::leaf(0), "0"), ["0"]);
        assert!(sequence.insert(Node::new(1, 0).unwrap(), "01").is_empty());
        assert_eq!(sequence.next_task(), 1);
        assert!(sequence.insert(Node::leaf(3), "3").is_empty());
        assert!(sequence.insert(Node::new(1, 1).unwrap(), "23").is_empty());
        assert_eq!(sequence.insert(Node::leaf(1), "1"), ["1", "23"]);
    }
}
