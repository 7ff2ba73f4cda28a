//! Which of a job's tasks are free, out, or done. Every task is exactly one of
//! these. Knows leases only as numbers.

use crate::buddy::{NodeSet, around};
use manyhands_protocol::{Node, Tree};
use std::collections::BTreeMap;

/// Counts the leases of one incarnation.
pub(crate) type LeaseNumber = u64;

/// A node that is leased out, as a whole, to each of its holders.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) node: Node,
    /// It, or a node around it, has failed somewhere: goes out alone.
    suspect: bool,
    /// At least one.
    pub(crate) holders: Vec<LeaseNumber>,
}

/// A job's tasks.
#[derive(Debug)]
pub(crate) struct Blocks {
    tree: Tree,
    free: NodeSet,
    /// Free too, but each goes out alone.
    suspects: NodeSet,
    /// By first task; disjoint.
    out: BTreeMap<u64, Piece>,
    out_tasks: u64,
    done: u64,
}

impl Blocks {
    /// All tasks are free.
    pub(crate) fn new(tree: Tree) -> Self {
        let mut free = NodeSet::new(tree);
        if let Some(root) = tree.root() {
            free.insert(root);
        }
        Self {
            tree,
            free,
            suspects: NodeSet::new(tree),
            out: BTreeMap::new(),
            out_tasks: 0,
            done: 0,
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    pub(crate) fn out_tasks(&self) -> u64 {
        self.out_tasks
    }

    pub(crate) fn out_pieces(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn free_tasks(&self) -> u64 {
        self.free.tasks() + self.suspects.tasks()
    }

    pub(crate) fn free(&self) -> &NodeSet {
        &self.free
    }

    pub(crate) fn suspects(&self) -> &NodeSet {
        &self.suspects
    }

    /// The first free task.
    pub(crate) fn first_free(&self) -> Option<u64> {
        let firsts = [self.free.first(), self.suspects.first()];
        firsts.into_iter().flatten().map(Node::first).min()
    }

    /// The pieces that share a task with `node`, left to right.
    pub(crate) fn pieces(&self, node: Node) -> impl Iterator<Item = &Piece> {
        let start = self.piece_around(node).unwrap_or(node.first());
        let end = self.tree.range(node).end;
        self.out.range(start..end).map(|(_, piece)| piece)
    }

    /// Whether some task of `node` is not done.
    pub(crate) fn lacks(&self, node: Node) -> bool {
        self.free.touches(node) || self.suspects.touches(node) || self.pieces(node).next().is_some()
    }

    /// Leases a free node out.
    pub(crate) fn lease(&mut self, node: Node, lease: LeaseNumber) {
        let suspect = self.suspects.covering(node).is_some();
        if suspect {
            self.suspects.take(node);
        } else {
            self.free.take(node);
        }
        self.put_out(node, suspect, vec![lease]);
        self.check();
    }

    /// Leases a node of a piece that is out to one more holder.
    pub(crate) fn duplicate(&mut self, node: Node, lease: LeaseNumber) {
        self.isolate(node);
        let piece = self.out.get_mut(&node.first()).expect("a node that is out");
        assert_eq!(piece.node, node, "a duplicate lies in one piece");
        piece.holders.push(lease);
    }

    /// Leases whatever of `node` is not done to `lease`, which does not hold it;
    /// gives the number of tasks.
    pub(crate) fn lease_again(&mut self, node: Node, lease: LeaseNumber) -> u64 {
        self.isolate(node);
        let mut tasks = 0;
        for (_, piece) in self.out.range_mut(self.tree.range(node)) {
            piece.holders.push(lease);
            tasks += self.tree.len(piece.node);
        }
        for suspect in [true, false] {
            let set = if suspect { &self.suspects } else { &self.free };
            let parts: Vec<Node> = match set.covering(node) {
                Some(_) => vec![node],
                None => set.iter_within(node).collect(),
            };
            for part in parts {
                tasks += self.tree.len(part);
                self.lease(part, lease);
            }
        }
        tasks
    }

    /// A holder gives up `node`; parts without another holder are free. Gives
    /// the number of tasks that were its, and of those that are free now.
    pub(crate) fn release(&mut self, node: Node, lease: LeaseNumber) -> (u64, u64) {
        self.give_up(node, lease, |blocks, piece| {
            if piece.suspect {
                blocks.suspects.insert_apart(piece.node);
            } else {
                blocks.free.insert(piece.node);
            }
        })
    }

    /// As [`release`](Self::release), but the node has failed: its halves go
    /// out alone from now on.
    pub(crate) fn release_failed(&mut self, node: Node, lease: LeaseNumber) -> (u64, u64) {
        let tree = self.tree;
        self.give_up(node, lease, |blocks, piece| {
            match tree.halves(narrow(tree, piece.node)) {
                Some((left, Some(right))) => {
                    blocks.suspects.insert_apart(left);
                    blocks.suspects.insert_apart(right);
                }
                _ => blocks.suspects.insert_apart(piece.node),
            }
        })
    }

    /// The tasks of `node` are done. Gives how many were not before, and which
    /// holders have how many tasks less to do.
    pub(crate) fn complete(&mut self, node: Node) -> (u64, Vec<(LeaseNumber, u64)>) {
        self.isolate(node);
        let mut fresh = self.free.take_within(node) + self.suspects.take_within(node);
        let mut relieved = Vec::new();
        while let Some(first) = self.first_piece_in(node) {
            let piece = self.out.remove(&first).expect("just found");
            let tasks = self.tree.len(piece.node);
            self.out_tasks -= tasks;
            fresh += tasks;
            relieved.extend(piece.holders.into_iter().map(|holder| (holder, tasks)));
        }
        self.done += fresh;
        self.check();
        (fresh, relieved)
    }

    /// Forgets what is free and out: the job is over.
    pub(crate) fn clear(&mut self) {
        self.free = NodeSet::new(self.tree);
        self.suspects = NodeSet::new(self.tree);
        self.out.clear();
        self.out_tasks = 0;
    }

    fn give_up(
        &mut self,
        node: Node,
        lease: LeaseNumber,
        mut put: impl FnMut(&mut Self, Piece),
    ) -> (u64, u64) {
        self.isolate(node);
        let (mut given, mut freed) = (0, 0);
        let firsts: Vec<u64> = self
            .out
            .range(self.tree.range(node))
            .map(|(first, _)| *first)
            .collect();
        for first in firsts {
            let piece = self.out.get_mut(&first).expect("just listed");
            let Some(at) = piece.holders.iter().position(|holder| *holder == lease) else {
                continue;
            };
            piece.holders.remove(at);
            let tasks = self.tree.len(piece.node);
            given += tasks;
            if piece.holders.is_empty() {
                let piece = self.out.remove(&first).expect("just seen");
                self.out_tasks -= tasks;
                freed += tasks;
                put(self, piece);
            }
        }
        self.check();
        (given, freed)
    }

    /// Splits the piece around `node`, if there is one, so that no piece
    /// reaches beyond it.
    fn isolate(&mut self, node: Node) {
        let Some(first) = self.piece_around(node) else {
            return;
        };
        let piece = self.out.remove(&first).expect("just found");
        self.out_tasks -= self.tree.len(piece.node);
        for part in around(self.tree, piece.node, node) {
            self.put_out(part, piece.suspect, piece.holders.clone());
        }
        self.put_out(node, piece.suspect, piece.holders);
    }

    fn put_out(&mut self, node: Node, suspect: bool, holders: Vec<LeaseNumber>) {
        let node = self.tree.canonical(node);
        self.out_tasks += self.tree.len(node);
        let piece = Piece {
            node,
            suspect,
            holders,
        };
        let before = self.out.insert(node.first(), piece);
        assert!(before.is_none(), "{node:?} was out already");
    }

    /// Where a piece begins that contains `node` and more.
    fn piece_around(&self, node: Node) -> Option<u64> {
        let (first, piece) = self.out.range(..=node.first()).next_back()?;
        let larger = self.tree.len(piece.node) > self.tree.len(node);
        (larger && piece.node.contains(node)).then_some(*first)
    }

    fn first_piece_in(&self, node: Node) -> Option<u64> {
        let (first, _) = self.out.range(self.tree.range(node)).next()?;
        Some(*first)
    }

    /// Every task is free, out or done: cheap enough for every change.
    fn check(&self) {
        let sum = self.free_tasks() + self.out_tasks + self.done;
        assert_eq!(sum, self.tree.tasks(), "tasks were lost or counted twice");
    }

    /// Walks through everything: for tests.
    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        let out = self.out.values().map(|piece| piece.node);
        let mut nodes: Vec<Node> = self
            .free
            .iter()
            .chain(self.suspects.iter())
            .chain(out)
            .collect();
        nodes.sort();
        for pair in nodes.windows(2) {
            assert!(!pair[0].overlaps(pair[1]), "{pair:?} overlap");
        }
        let tasks = |nodes: &mut dyn Iterator<Item = Node>| nodes.map(|n| self.tree.len(n)).sum();
        let out: u64 = tasks(&mut self.out.values().map(|piece| piece.node));
        assert_eq!(out, self.out_tasks);
        for set in [&self.free, &self.suspects] {
            let free: u64 = tasks(&mut set.iter());
            assert_eq!(free, set.tasks());
        }
        for piece in self.out.values() {
            assert!(!piece.holders.is_empty(), "{piece:?} has no holder");
        }
    }
}

/// The lowest node with the tasks of `node`: its halves are both present, or it
/// is a leaf.
fn narrow(tree: Tree, mut node: Node) -> Node {
    while let Some((left, None)) = tree.halves(node) {
        node = left;
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(level: u8, index: u64) -> Node {
        Node::new(level, index).unwrap()
    }

    #[test]
    fn a_part_of_a_lease_may_be_done_by_another() {
        let mut blocks = Blocks::new(Tree::new(11).unwrap());
        blocks.lease(node(3, 0), 1);
        blocks.duplicate(node(1, 1), 2);
        assert_eq!(blocks.complete(node(1, 1)), (2, vec![(1, 2), (2, 2)]));
        assert_eq!(blocks.complete(node(1, 1)), (0, vec![]));
        assert_eq!(blocks.release(node(3, 0), 1), (6, 6));
        assert_eq!(blocks.free_tasks(), 9);
        assert_eq!(blocks.lease_again(node(3, 0), 3), 6);
        assert_eq!(blocks.complete(node(3, 0)), (6, vec![(3, 2), (3, 4)]));
        blocks.assert_consistent();
    }

    #[test]
    fn a_failed_node_comes_back_as_halves_that_go_alone() {
        let tree = Tree::new(11).unwrap();
        let mut blocks = Blocks::new(tree);
        let last = tree.canonical(node(2, 2)); // 8..11
        blocks.lease(last, 1);
        assert_eq!(blocks.release_failed(last, 1), (3, 3));
        let suspects: Vec<u64> = blocks.suspects().iter().map(|n| tree.len(n)).collect();
        assert_eq!(suspects, [2, 1]);
        blocks.lease(tree.canonical(Node::leaf(10)), 2);
        assert_eq!(blocks.release(last, 2), (1, 1));
        assert_eq!(blocks.suspects().tasks(), 3);
        blocks.assert_consistent();
    }

    #[test]
    fn a_late_answer_makes_a_hole_in_what_is_free() {
        let mut blocks = Blocks::new(Tree::new(8).unwrap());
        assert!(blocks.lacks(node(1, 2)));
        assert_eq!(blocks.complete(node(1, 2)), (2, vec![]));
        assert!(!blocks.lacks(node(1, 2)));
        assert!(blocks.lacks(node(3, 0)));
        assert_eq!((blocks.free_tasks(), blocks.done()), (6, 2));
        blocks.assert_consistent();
    }
}
