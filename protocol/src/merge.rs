//! The merge tree: partials of disjoint nodes in, merges of siblings out, the
//! root at last. One structure for the coordinator and the workers.

use crate::{Node, Tree};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

/// Partials of disjoint nodes of one tree on their way to its top.
///
/// Call [`insert`](Self::insert) for each partial; where it answers
/// [`Step::Merge`], have the guest merge the two and hand the outcome to
/// [`merged`](Self::merged), whose answer is of the same kind. What the outcome would
/// meet there can be merged along with the two: see [`take_above`](Self::take_above).
/// An ancestor replaces its descendants; a copy of what is here already is ignored.
///
/// `P` is whatever stands for a partial: its bytes, or a handle to them.
///
/// ```
/// use manyhands_protocol::{MergeTree, Node, Step, Tree};
/// let tree = Tree::new(3).unwrap();
/// let mut merging = MergeTree::new(tree, tree.root().unwrap());
/// assert_eq!(merging.insert(Node::leaf(2), "c".to_string()), Step::Held);
/// assert_eq!(merging.insert(Node::leaf(1), "b".to_string()), Step::Held);
/// let Step::Merge { node, left, right } = merging.insert(Node::leaf(0), "a".to_string()) else {
///     panic!("siblings meet");
/// };
/// let Step::Merge { node, left, right } = merging.merged(node, left + &right) else {
///     panic!("0..2 meets 2..3, which passed up");
/// };
/// assert_eq!(merging.merged(node, left + &right), Step::Top("abc".to_string()));
/// ```
#[derive(Clone, Debug)]
pub struct MergeTree<P> {
    tree: Tree,
    top: Node,
    /// Disjoint canonical nodes; `None` while the guest merges its halves.
    held: BTreeMap<Node, Option<P>>,
    done: bool,
}

/// A partial that what was merged so far meets on its way up, and on which side of it
/// that partial lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Beside<P> {
    /// It goes before what was merged so far.
    Left(P),
    /// It goes after that.
    Right(P),
}

impl<P> Beside<P> {
    /// The same of a partial that stays where it is.
    pub fn as_ref(&self) -> Beside<&P> {
        match self {
            Self::Left(partial) => Beside::Left(partial),
            Self::Right(partial) => Beside::Right(partial),
        }
    }

    /// The same without its side.
    pub fn into_partial(self) -> P {
        let (Self::Left(partial) | Self::Right(partial)) = self;
        partial
    }

    /// The same with something else in place of the partial.
    pub fn map<Q>(self, to: impl FnOnce(P) -> Q) -> Beside<Q> {
        match self {
            Self::Left(partial) => Beside::Left(to(partial)),
            Self::Right(partial) => Beside::Right(to(partial)),
        }
    }

    /// The two halves, left before right, where `so_far` is the other one.
    pub fn around(self, so_far: P) -> (P, P) {
        match self {
            Self::Left(partial) => (partial, so_far),
            Self::Right(partial) => (so_far, partial),
        }
    }
}

/// What comes next after a partial was handed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step<P> {
    /// It waits for its sibling.
    Held,
    /// Its tasks were covered already; nothing changed.
    Ignored,
    /// Merge these, left before right, and hand the outcome to
    /// [`MergeTree::merged`] for `node`.
    Merge {
        /// The parent.
        node: Node,
        /// The left half's partial.
        left: P,
        /// The right half's partial.
        right: P,
    },
    /// The top is complete.
    Top(P),
}

impl<P> MergeTree<P> {
    /// Collects what lies under `top`, a node of `tree` (its root for a whole
    /// job, a lease's node in a worker).
    ///
    /// # Panics
    /// When `top` is not in `tree`.
    #[must_use]
    pub fn new(tree: Tree, top: Node) -> Self {
        assert!(
            tree.has(top),
            "{top:?} is not in the tree over {}",
            tree.tasks()
        );
        Self {
            tree,
            top: tree.canonical(top),
            held: BTreeMap::new(),
            done: false,
        }
    }

    /// Takes in the partial of `node`.
    ///
    /// # Panics
    /// When `node` is not under the top: check what a peer sent before.
    pub fn insert(&mut self, node: Node, partial: P) -> Step<P> {
        self.insert_over(node, partial, |_, _| {})
    }

    /// As [`insert`](Self::insert); tells which descendants the node replaces, and
    /// gives their partials, where they are not being merged.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use manyhands_protocol::{MergeTree, Node, Step, Tree};
    /// let tree = Tree::new(2).unwrap();
    /// let root = tree.root().unwrap();
    /// let mut merging = MergeTree::new(tree, root);
    /// assert_eq!(merging.insert(Node::leaf(1), "b"), Step::Held);
    /// let mut replaced = Vec::new();
    /// let step = merging.insert_over(root, "ab", |node, partial| replaced.push((node, partial)));
    /// assert_eq!(step, Step::Top("ab"));
    /// assert_eq!(replaced, [(Node::leaf(1), Some("b"))]);
    /// ```
    pub fn insert_over(
        &mut self,
        node: Node,
        partial: P,
        mut replaced: impl FnMut(Node, Option<P>),
    ) -> Step<P> {
        assert!(self.tree.has(node), "{node:?} is not in the tree");
        let node = self.tree.canonical(node);
        assert!(
            self.top.contains(node),
            "{node:?} is not under {:?}",
            self.top
        );
        if self.done || self.covers(node) {
            return Step::Ignored;
        }
        while let Some(below) = self.below(node) {
            let partial = self.held.remove(&below).expect("just found");
            replaced(below, partial);
        }
        self.climb(node, partial)
    }

    /// Takes in what a [`Step::Merge`] came to. Ignored where an ancestor has
    /// come in meanwhile.
    pub fn merged(&mut self, node: Node, partial: P) -> Step<P> {
        match self.held.get(&node) {
            Some(None) => {
                self.held.remove(&node);
                self.climb(node, partial)
            }
            _ => Step::Ignored,
        }
    }

    /// Takes out what the outcome of a [`Step::Merge`] for `node` would meet on its way
    /// up, one partial after another: as many as are at rest there and as `fits` lets
    /// go. They are to be merged with it in that order, each on its side; what that
    /// comes to is of the node given here, and handed to [`merged`](Self::merged) for
    /// that in place of `node`.
    ///
    /// # Panics
    /// When the halves of `node` were not given out to be merged.
    ///
    /// ```
    /// use manyhands_protocol::{Beside, MergeTree, Node, Step, Tree};
    /// let tree = Tree::new(4).unwrap();
    /// let mut merging = MergeTree::new(tree, tree.root().unwrap());
    /// let _ = merging.insert(Node::new(1, 1).unwrap(), "cd");
    /// let _ = merging.insert(Node::leaf(0), "a");
    /// let Step::Merge { node, .. } = merging.insert(Node::leaf(1), "b") else {
    ///     panic!("siblings meet");
    /// };
    /// let (top, above) = merging.take_above(node, |_| true);
    /// assert_eq!((top, above), (tree.root().unwrap(), vec![Beside::Right("cd")]));
    /// assert_eq!(merging.merged(top, "abcd"), Step::Top("abcd"));
    /// ```
    pub fn take_above(
        &mut self,
        node: Node,
        mut fits: impl FnMut(&P) -> bool,
    ) -> (Node, Vec<Beside<P>>) {
        assert!(self.awaits(node), "{node:?} is not being merged");
        let (mut highest, mut above) = (node, Vec::new());
        while highest != self.top
            && let Entry::Occupied(held) = self.held.entry(highest.sibling())
            && held.get().as_ref().is_some_and(&mut fits)
        {
            let partial = held.remove().expect("just seen");
            above.push(if highest.is_left() {
                Beside::Right(partial)
            } else {
                Beside::Left(partial)
            });
            let parent = highest.parent().expect("below the top there is a parent");
            highest = self.tree.canonical(parent);
        }
        if highest != node {
            self.held.remove(&node);
            self.held.insert(highest, None);
        }
        (highest, above)
    }

    /// Whether all tasks of `node` are in already, or being merged.
    #[must_use]
    pub fn covers(&self, node: Node) -> bool {
        let before = self.held.range((Bound::Unbounded, Bound::Included(node)));
        // An entry that contains `node` sorts at or before it, and being
        // disjoint from the others it is the last that does.
        self.done || before.last().is_some_and(|(held, _)| held.contains(node))
    }

    /// Whether the halves of `node` were given out to be merged, and what they came
    /// to would be used.
    #[must_use]
    pub fn awaits(&self, node: Node) -> bool {
        matches!(self.held.get(&node), Some(None))
    }

    /// The nodes held or being merged, left to right: disjoint, canonical.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        self.held.keys().copied()
    }

    /// The same with their partials: `None` while their halves are being merged.
    pub fn entries(&self) -> impl Iterator<Item = (Node, Option<&P>)> {
        self.held
            .iter()
            .map(|(node, partial)| (*node, partial.as_ref()))
    }

    /// The partials at rest, left to right: what is left to hand in when the
    /// top will not be reached.
    pub fn drain(&mut self) -> Vec<(Node, P)> {
        let held = std::mem::take(&mut self.held);
        held.into_iter()
            .filter_map(|(node, partial)| Some((node, partial?)))
            .collect()
    }

    /// Whether the top was reached.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// A held node that lies under `node`, if any.
    fn below(&self, node: Node) -> Option<Node> {
        let mut after = self.held.range((Bound::Included(node), Bound::Unbounded));
        let (held, _) = after.next()?;
        node.contains(*held).then_some(*held)
    }

    fn climb(&mut self, node: Node, partial: P) -> Step<P> {
        let node = self.tree.canonical(node);
        if node == self.top {
            self.done = true;
            self.held.clear();
            return Step::Top(partial);
        }
        let sibling = node.sibling();
        match self.held.get_mut(&sibling).map(Option::take) {
            Some(Some(other)) => {
                self.held.remove(&sibling);
                let parent = node.parent().expect("below the top there is a parent");
                let parent = self.tree.canonical(parent);
                self.held.insert(parent, None);
                let (left, right) = if node.is_left() {
                    (partial, other)
                } else {
                    (other, partial)
                };
                Step::Merge {
                    node: parent,
                    left,
                    right,
                }
            }
            // The sibling is absent here, or is itself being merged.
            _ => {
                self.held.insert(node, Some(partial));
                Step::Held
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree's shape written out: what any cutting must come to.
    fn reference(tree: Tree, node: Node) -> String {
        match tree.halves(node) {
            None => node.first().to_string(),
            Some((left, None)) => reference(tree, left),
            Some((left, Some(right))) => {
                format!("({} {})", reference(tree, left), reference(tree, right))
            }
        }
    }

    fn drive(merging: &mut MergeTree<String>, mut step: Step<String>) -> Option<String> {
        loop {
            match step {
                Step::Merge { node, left, right } => {
                    step = merging.merged(node, format!("({left} {right})"));
                }
                Step::Top(text) => return Some(text),
                Step::Held | Step::Ignored => return None,
            }
        }
    }

    /// The same in chains: what lies above two siblings is merged along with them, as
    /// far as `lengths` let it go, each of which is that of one chain at most.
    fn drive_in_chains(
        merging: &mut MergeTree<String>,
        mut step: Step<String>,
        lengths: &mut impl Iterator<Item = usize>,
    ) -> Option<String> {
        loop {
            match step {
                Step::Merge { node, left, right } => {
                    let mut room = lengths.next().unwrap();
                    let (highest, above) = merging.take_above(node, |_| {
                        room = room.saturating_sub(1);
                        room > 0
                    });
                    assert!(merging.awaits(highest) && merging.covers(node));
                    let mut text = format!("({left} {right})");
                    for beside in above {
                        let (left, right) = beside.around(text);
                        text = format!("({left} {right})");
                    }
                    step = merging.merged(highest, text);
                }
                Step::Top(text) => return Some(text),
                Step::Held | Step::Ignored => return None,
            }
        }
    }

    /// Cuts the tree by coin tosses and shuffles the pieces, some twice.
    fn cutting(tree: Tree, coins: &[bool], order: &[u32]) -> Vec<Node> {
        let mut coins = coins.iter().copied().cycle();
        let mut open = vec![tree.root().unwrap()];
        let mut pieces = Vec::new();
        while let Some(node) = open.pop() {
            match tree.halves(node) {
                Some((left, right)) if coins.next().unwrap() => {
                    open.push(left);
                    open.extend(right);
                }
                _ => pieces.push(node),
            }
        }
        pieces.extend(pieces.clone().iter().step_by(3));
        let mut order = order.iter().cycle();
        pieces.sort_by_cached_key(|_| *order.next().unwrap());
        pieces
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_tree(
            n in 1u64..200,
            coins in proptest::collection::vec(any::<bool>(), 1..64),
            order in proptest::collection::vec(any::<u32>(), 1..64),
        ) {
            prop_assume!(coins.contains(&false));
            let tree = Tree::new(n).unwrap();
            let root = tree.root().unwrap();
            let mut merging = MergeTree::new(tree, root);
            let mut tops = Vec::new();
            for piece in cutting(tree, &coins, &order) {
                let step = merging.insert(piece, reference(tree, piece));
                tops.extend(drive(&mut merging, step));
            }
            prop_assert_eq!(tops, vec![reference(tree, root)]);
            prop_assert!(merging.is_done());
        }

        #[test]
        fn chains_of_any_lengths_give_the_same_tree(
            n in 1u64..200,
            coins in proptest::collection::vec(any::<bool>(), 1..64),
            order in proptest::collection::vec(any::<u32>(), 1..64),
            lengths in proptest::collection::vec(0usize..9, 1..16),
        ) {
            prop_assume!(coins.contains(&false));
            let tree = Tree::new(n).unwrap();
            let root = tree.root().unwrap();
            let mut merging = MergeTree::new(tree, root);
            let mut lengths = lengths.into_iter().cycle();
            let mut tops = Vec::new();
            for piece in cutting(tree, &coins, &order) {
                let step = merging.insert(piece, reference(tree, piece));
                tops.extend(drive_in_chains(&mut merging, step, &mut lengths));
            }
            prop_assert_eq!(tops, vec![reference(tree, root)]);
            prop_assert!(merging.is_done());
        }

        #[test]
        fn an_ancestor_replaces_its_descendants(n in 2u64..200, level in 1u8..6, at in 0u64..200) {
            let tree = Tree::new(n).unwrap();
            let root = tree.root().unwrap();
            let mut merging = MergeTree::new(tree, root);
            let leaf = Node::leaf(at % n);
            // A merge in flight under the ancestor must not come back to life.
            let _ = merging.insert(leaf, "x".into());
            let pending = tree.has(leaf.sibling()).then(|| merging.insert(leaf.sibling(), "y".into()));
            let mut ancestor = leaf;
            for _ in 0..level.min(root.level()) {
                ancestor = ancestor.parent().unwrap();
            }
            let step = merging.insert(ancestor, reference(tree, ancestor));
            let mut top = drive(&mut merging, step);
            if let Some(Step::Merge { node, .. }) = pending {
                if tree.canonical(ancestor) == node {
                    // What is being merged counts as here: the copy was ignored.
                    let step = merging.merged(node, reference(tree, node));
                    top = drive(&mut merging, step);
                } else {
                    prop_assert_eq!(merging.merged(node, "stale".into()), Step::Ignored);
                }
            }
            for task in 0..n {
                let step = merging.insert(Node::leaf(task), task.to_string());
                top = drive(&mut merging, step).or(top);
            }
            let text = top.unwrap();
            prop_assert!(!text.contains("stale"));
        }
    }

    #[test]
    fn what_a_chain_covers_is_being_merged() {
        let tree = Tree::new(16).unwrap();
        let mut merging = MergeTree::new(tree, tree.root().unwrap());
        // 0..1 meets 1..2, 2..4 and 4..8; of 8..16 nothing is here.
        for (node, text) in [
            (Node::new(2, 1).unwrap(), "4-7"),
            (Node::new(1, 1).unwrap(), "2-3"),
        ] {
            assert_eq!(merging.insert(node, text), Step::Held);
        }
        let _ = merging.insert(Node::leaf(1), "1");
        let Step::Merge { node, .. } = merging.insert(Node::leaf(0), "0") else {
            panic!("siblings meet");
        };
        let (highest, above) = merging.take_above(node, |_| true);
        assert_eq!(highest, Node::new(3, 0).unwrap());
        assert_eq!(above, [Beside::Right("2-3"), Beside::Right("4-7")]);
        assert_eq!(merging.nodes().collect::<Vec<_>>(), [highest]);
        for covered in [node, Node::leaf(5), Node::new(2, 0).unwrap(), highest] {
            assert_eq!(merging.insert(covered, "again"), Step::Ignored);
            assert!(!merging.awaits(covered) || covered == highest);
        }
        // What lies below is awaited no more; what lies above replaces all of it.
        assert_eq!(merging.merged(node, "0-1"), Step::Ignored);
        let step = merging.insert_over(tree.root().unwrap(), "0-15", |below, partial| {
            assert_eq!((below, partial), (highest, None));
        });
        assert_eq!(step, Step::Top("0-15"));
        assert_eq!(merging.merged(highest, "0-7"), Step::Ignored);
    }

    #[test]
    fn a_lease_ends_at_its_own_node() {
        let tree = Tree::new(100).unwrap();
        let top = Node::new(3, 12).unwrap(); // 96..104, cut off at 100
        let mut merging = MergeTree::new(tree, top);
        let pieces = [Node::new(1, 48).unwrap(), Node::new(1, 49).unwrap()];
        assert_eq!(merging.insert(pieces[0], 1), Step::Held);
        let Step::Merge { node, .. } = merging.insert(pieces[1], 2) else {
            panic!("siblings meet");
        };
        assert_eq!(merging.merged(node, 3), Step::Top(3));
    }
}
