//! How a lease's block is cut into the pieces that slots run: as late as
//! possible, so that the size follows what was measured last, and smaller
//! towards the end, so that all slots end together.

use crate::jobs::Speed;
use manyhands_protocol::{Node, Tree};

/// A piece takes at most this, in microseconds of slot time …
const LONGEST_US: f64 = 500_000.0;
/// … and is not cut below this to please idle slots: a fresh instance and a
/// merge have to be worth it.
const SHORTEST_US: f64 = 300.0;
/// A piece takes at least so many times what it takes to merge it with the next.
const MERGES: f64 = 16.0;
/// Pieces a slot while nothing was measured.
const FIRST_PIECES: u64 = 4;
/// Pieces a slot that the work at hand is cut into at least.
const SHARES: f64 = 2.0;

/// A part of a lease's block that one slot runs at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) node: Node,
    /// Run it one task a slice.
    pub(crate) single_step: bool,
    /// It was cut to find a guilty task: it is not joined with what is beside
    /// it, nor measured.
    pub(crate) suspect: bool,
    /// How often it died while it ran alone.
    pub(crate) crashes: u8,
}

impl Piece {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            single_step: false,
            suspect: false,
            crashes: 0,
        }
    }

    /// The same treatment for a part of it.
    pub(crate) fn part(self, node: Node) -> Self {
        Self {
            node,
            single_step: self.single_step,
            suspect: true,
            crashes: 0,
        }
    }

    /// Its parts without `task`, and `task` by itself; left to right.
    pub(crate) fn around(self, tree: Tree, task: u64) -> Vec<Self> {
        let range = tree.range(self.node);
        assert!(range.contains(&task), "task {task} is not in {}", self.node);
        let before = tree.cover(range.start..task);
        let after = tree.cover(task + 1..range.end);
        let nodes = before.into_iter().chain([Node::leaf(task)]).chain(after);
        nodes.map(|node| self.part(node)).collect()
    }

    /// Its two halves, left to right; `None` for a single task.
    pub(crate) fn halves(self, tree: Tree) -> Option<[Self; 2]> {
        let (left, right) = present_halves(tree, self.node)?;
        Some([self.part(left), self.part(right)])
    }
}

/// The two halves of the node, past levels where the right one is absent;
/// `None` for a single task.
pub(crate) fn present_halves(tree: Tree, mut node: Node) -> Option<(Node, Node)> {
    loop {
        match tree.halves(node)? {
            (left, Some(right)) => return Some((left, right)),
            (left, None) => node = left,
        }
    }
}

/// What the next piece's size depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) speed: Speed,
    /// Slots that may be used: at least one.
    pub(crate) slots: u16,
    /// Tasks of the whole lease.
    pub(crate) lease_tasks: u64,
    /// Slot time of all work that could begin now, in microseconds.
    pub(crate) backlog_us: f64,
}

impl Load {
    /// The most tasks the next piece should have: at least one.
    pub(crate) fn tasks(&self) -> u64 {
        let slots = u64::from(self.slots);
        let Some(task_us) = self.speed.task_us() else {
            return (self.lease_tasks / (slots * FIRST_PIECES)).max(1);
        };
        let shortest = SHORTEST_US.max(MERGES * self.speed.least_merge_us());
        let longest = LONGEST_US.max(shortest);
        let share = self.backlog_us / (SHARES * slots as f64);
        let piece_us = share.clamp(shortest, longest);
        ((piece_us / task_us) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(task_us: u64, lease_tasks: u64, backlog_us: f64) -> Load {
        let mut speed = Speed::default();
        speed.ran(1, 8, task_us);
        Load {
            speed,
            slots: 4,
            lease_tasks,
            backlog_us,
        }
    }

    #[test]
    fn size_follows_time_and_shrinks_at_the_end() {
        assert_eq!(load(10, 1 << 20, 1e9).tasks(), 50_000, "half a second");
        assert_eq!(load(10, 1 << 20, 80_000.0).tasks(), 1_000, "an eighth");
        assert_eq!(load(10, 1 << 20, 100.0).tasks(), 30, "no less than 0.3 ms");
        assert_eq!(load(10_000_000, 64, 1e9).tasks(), 1);
        let unknown = Load {
            speed: Speed::default(),
            ..load(1, 1 << 10, 0.0)
        };
        assert_eq!(unknown.tasks(), 64);
        let mut merging = load(10, 1 << 20, 100.0);
        merging.speed.merged(16, 1_000);
        assert_eq!(merging.tasks(), 1_600, "16 merges");
        let mut growing = load(10, 1 << 20, 100.0);
        growing.speed.ran(1, 96 << 10, 10);
        growing.speed.merged(1_000 << 10, 3_000);
        assert!(
            growing.tasks() < 1_000,
            "merges of two pieces, not of what many came to: {}",
            growing.tasks()
        );
    }

    #[test]
    fn around_a_task_are_the_largest_nodes() {
        let tree = Tree::new(11).unwrap();
        let piece = Piece::new(tree.root().unwrap());
        let parts = piece.around(tree, 5);
        let ranges: Vec<_> = parts.iter().map(|part| tree.range(part.node)).collect();
        assert_eq!(ranges, [0..4, 4..5, 5..6, 6..8, 8..11]);
        assert!(parts.iter().all(|part| part.suspect));
    }
}
