//! Which of a job's tasks are free, out, or done. Every task is exactly one of
//! these. Knows leases only by their ids.

use crate::buddy::{NodeSet, around};
use crate::holders::Holders;
use manyhands_protocol::{LeaseId, Node, Tree};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A node that is leased out, as a whole, to each of its holders.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Its first task is its key.
    level: u8,
    /// It, or a node around it, has failed somewhere: goes out alone.
    suspect: bool,
    pub(crate) holders: Holders,
}

impl Piece {
    fn node(&self, first: u64) -> Node {
        Node::new(self.level, first >> self.level).expect("a node that is out")
    }
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
    /// The tasks before `prefix` are done, all others free.
    pub(crate) fn new(tree: Tree, prefix: u64) -> Self {
        let mut free = NodeSet::new(tree);
        for node in tree.cover(prefix..tree.tasks()) {
            free.insert(node);
        }
        Self {
            tree,
            free,
            suspects: NodeSet::new(tree),
            out: BTreeMap::new(),
            out_tasks: 0,
            done: prefix,
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
    pub(crate) fn pieces(&self, node: Node) -> impl Iterator<Item = (Node, &Piece)> {
        let start = self.piece_around(node).unwrap_or(node.first());
        let end = self.tree.range(node).end;
        self.out
            .range(start..end)
            .map(|(first, piece)| (piece.node(*first), piece))
    }

    /// Whether some task of `node` is not done.
    pub(crate) fn lacks(&self, node: Node) -> bool {
        // What is handed in is a piece, as a rule.
        let piece = self.out.get(&node.first());
        piece.is_some_and(|piece| piece.level == node.level())
            || self.free.touches(node)
            || self.suspects.touches(node)
            || self.pieces(node).next().is_some()
    }

    /// Leases a free node out.
    pub(crate) fn lease(&mut self, node: Node, lease: LeaseId) {
        let suspect = self.suspects.tasks() > 0 && self.suspects.covering(node).is_some();
        if suspect {
            self.suspects.take(node);
        } else {
            self.free.take(node);
        }
        self.put_out(node, suspect, Holders::One(lease));
        self.check();
    }

    /// Leases a node of a piece that is out to one more holder.
    pub(crate) fn duplicate(&mut self, node: Node, lease: LeaseId) {
        self.isolate(node);
        let piece = self.out.get_mut(&node.first()).expect("a node that is out");
        assert_eq!(piece.level, node.level(), "a duplicate lies in one piece");
        piece.holders.push(lease);
    }

    /// Leases whatever of `node` is not done to `lease`, which does not hold it;
    /// gives the number of tasks.
    pub(crate) fn lease_again(&mut self, node: Node, lease: LeaseId) -> u64 {
        self.isolate(node);
        let mut tasks = 0;
        for (first, piece) in self.out.range_mut(self.tree.range(node)) {
            piece.holders.push(lease);
            tasks += self.tree.len(piece.node(*first));
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
    pub(crate) fn release(&mut self, node: Node, lease: LeaseId) -> (u64, u64) {
        self.give_up(node, lease, |blocks, part, suspect| {
            if suspect {
                blocks.suspects.insert_apart(part);
            } else {
                blocks.free.insert(part);
            }
        })
    }

    /// As [`release`](Self::release), but the node has failed: its halves go
    /// out alone from now on.
    pub(crate) fn release_failed(&mut self, node: Node, lease: LeaseId) -> (u64, u64) {
        let tree = self.tree;
        self.give_up(node, lease, |blocks, part, _| {
            match tree.halves(narrow(tree, part)) {
                Some((left, Some(right))) => {
                    blocks.suspects.insert_apart(left);
                    blocks.suspects.insert_apart(right);
                }
                _ => blocks.suspects.insert_apart(part),
            }
        })
    }

    /// The tasks of `node`, canonical, are done. Gives how many were not before;
    /// appends which holders have how many tasks less to do.
    pub(crate) fn complete(&mut self, node: Node, relieved: &mut Vec<(LeaseId, u64)>) -> u64 {
        let fresh = self.complete_piece(node, relieved).unwrap_or_else(|| {
            self.isolate(node);
            let mut fresh = self.free.take_within(node) + self.suspects.take_within(node);
            while let Some(piece) = self.first_piece_in(node) {
                fresh += self.complete_piece(piece, relieved).expect("just found");
            }
            fresh
        });
        self.done += fresh;
        self.check();
        fresh
    }

    /// Takes a piece out that is just `node`, if there is one: then nothing else
    /// is in it. Gives its tasks.
    fn complete_piece(&mut self, node: Node, relieved: &mut Vec<(LeaseId, u64)>) -> Option<u64> {
        let Entry::Occupied(entry) = self.out.entry(node.first()) else {
            return None;
        };
        if entry.get().level != node.level() {
            return None;
        }
        let piece = entry.remove();
        let tasks = self.tree.len(node);
        self.out_tasks -= tasks;
        relieved.extend(piece.holders.iter().map(|holder| (*holder, tasks)));
        Some(tasks)
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
        lease: LeaseId,
        mut put: impl FnMut(&mut Self, Node, bool),
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
            if !piece.holders.contains(&lease) {
                continue;
            }
            let (part, suspect) = (piece.node(first), piece.suspect);
            let tasks = self.tree.len(part);
            given += tasks;
            if piece.holders.len() > 1 {
                piece.holders.remove(lease);
            } else {
                self.out.remove(&first);
                self.out_tasks -= tasks;
                freed += tasks;
                put(self, part, suspect);
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
        let whole = piece.node(first);
        self.out_tasks -= self.tree.len(whole);
        around(self.tree, whole, node, |part| {
            self.put_out(part, piece.suspect, piece.holders.clone());
        });
        self.put_out(node, piece.suspect, piece.holders);
    }

    fn put_out(&mut self, node: Node, suspect: bool, holders: Holders) {
        let node = self.tree.canonical(node);
        self.out_tasks += self.tree.len(node);
        let piece = Piece {
            level: node.level(),
            suspect,
            holders,
        };
        let before = self.out.insert(node.first(), piece);
        assert!(before.is_none(), "{node:?} was out already");
    }

    /// Where a piece begins that contains `node` and more.
    fn piece_around(&self, node: Node) -> Option<u64> {
        let (first, piece) = self.out.range(..=node.first()).next_back()?;
        let whole = piece.node(*first);
        let larger = self.tree.len(whole) > self.tree.len(node);
        (larger && whole.contains(node)).then_some(*first)
    }

    fn first_piece_in(&self, node: Node) -> Option<Node> {
        let (first, piece) = self.out.range(self.tree.range(node)).next()?;
        Some(piece.node(*first))
    }

    /// Every task is free, out or done: cheap enough for every change.
    fn check(&self) {
        let sum = self.free_tasks() + self.out_tasks + self.done;
        assert_eq!(sum, self.tree.tasks(), "tasks were lost or counted twice");
    }

    /// Walks through everything: for tests.
    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        let out = self.out.iter().map(|(first, piece)| piece.node(*first));
        let mut nodes: Vec<Node> = self
            .free
            .iter()
            .chain(self.suspects.iter())
            .chain(out.clone())
            .collect();
        nodes.sort();
        for pair in nodes.windows(2) {
            assert!(!pair[0].overlaps(pair[1]), "{pair:?} overlap");
        }
        let tasks = |nodes: &mut dyn Iterator<Item = Node>| nodes.map(|n| self.tree.len(n)).sum();
        let out: u64 = tasks(&mut out.clone());
        assert_eq!(out, self.out_tasks);
        for set in [&self.free, &self.suspects] {
            let free: u64 = tasks(&mut set.iter());
            assert_eq!(free, set.tasks());
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
    use manyhands_protocol::Incarnation;

    fn node(level: u8, index: u64) -> Node {
        Node::new(level, index).unwrap()
    }

    /// What is fresh, and who is relieved.
    fn complete(blocks: &mut Blocks, node: Node) -> (u64, Vec<(LeaseId, u64)>) {
        let mut relieved = Vec::new();
        (blocks.complete(node, &mut relieved), relieved)
    }

    fn lease(counter: u64) -> LeaseId {
        LeaseId {
            incarnation: Incarnation(1),
            counter,
        }
    }

    #[test]
    fn a_part_of_a_lease_may_be_done_by_another() {
        let mut blocks = Blocks::new(Tree::new(11).unwrap(), 0);
        blocks.lease(node(3, 0), lease(1));
        blocks.duplicate(node(1, 1), lease(2));
        let relieved = vec![(lease(1), 2), (lease(2), 2)];
        assert_eq!(complete(&mut blocks, node(1, 1)), (2, relieved));
        assert_eq!(complete(&mut blocks, node(1, 1)), (0, vec![]));
        assert_eq!(blocks.release(node(3, 0), lease(1)), (6, 6));
        assert_eq!(blocks.free_tasks(), 9);
        assert_eq!(blocks.lease_again(node(3, 0), lease(3)), 6);
        let relieved = vec![(lease(3), 2), (lease(3), 4)];
        assert_eq!(complete(&mut blocks, node(3, 0)), (6, relieved));
        blocks.assert_consistent();
    }

    #[test]
    fn a_failed_node_comes_back_as_halves_that_go_alone() {
        let tree = Tree::new(11).unwrap();
        let mut blocks = Blocks::new(tree, 0);
        let last = tree.canonical(node(2, 2)); // 8..11
        blocks.lease(last, lease(1));
        assert_eq!(blocks.release_failed(last, lease(1)), (3, 3));
        let suspects: Vec<u64> = blocks.suspects().iter().map(|n| tree.len(n)).collect();
        assert_eq!(suspects, [2, 1]);
        blocks.lease(tree.canonical(Node::leaf(10)), lease(2));
        assert_eq!(blocks.release(last, lease(2)), (1, 1));
        assert_eq!(blocks.suspects().tasks(), 3);
        blocks.assert_consistent();
    }

    #[test]
    fn a_late_answer_makes_a_hole_in_what_is_free() {
        let mut blocks = Blocks::new(Tree::new(8).unwrap(), 0);
        assert!(blocks.lacks(node(1, 2)));
        assert_eq!(complete(&mut blocks, node(1, 2)), (2, vec![]));
        assert!(!blocks.lacks(node(1, 2)));
        assert!(blocks.lacks(node(3, 0)));
        assert_eq!((blocks.free_tasks(), blocks.done()), (6, 2));
        blocks.assert_consistent();
    }
}
