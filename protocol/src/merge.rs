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
/// meet there can be merged along with the two, and all there is at last: see
/// [`take_above`](Self::take_above) and [`take_whole`](Self::take_whole).
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
    /// Tasks that are in one of these.
    covered: u64,
    done: bool,
}

/// A partial among those that are merged in one go, in postfix order: they are taken up
/// from left to right, and after each the last two of what there is then are merged, so
/// many times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operand<P> {
    /// The partial, or what stands for it.
    pub partial: P,
    /// How many merges follow it.
    pub merges: u32,
}

impl<P> Operand<P> {
    /// A partial that so many merges follow.
    pub fn new(partial: P, merges: u32) -> Self {
        Self { partial, merges }
    }

    /// Two siblings, to be merged.
    pub fn two(left: P, right: P) -> Vec<Self> {
        vec![Self::new(left, 0), Self::new(right, 1)]
    }

    /// The same with something else in place of the partial.
    pub fn map<Q>(self, to: impl FnOnce(P) -> Q) -> Operand<Q> {
        Operand {
            partial: to(self.partial),
            merges: self.merges,
        }
    }
}

/// What operands come to, where `merge` merges two of them.
///
/// # Errors
/// The first of `merge`.
///
/// # Panics
/// When they do not come to one: their order is not a postfix one.
///
/// ```
/// use manyhands_protocol::{Operand, evaluate};
/// use std::convert::Infallible;
/// let operands = [("a", 0), ("b", 0), ("c", 2), ("d", 1)];
/// let operands = operands.map(|(text, merges)| Operand::new(text.to_owned(), merges));
/// let merge = |left, right| Ok::<_, Infallible>(format!("({left} {right})"));
/// assert_eq!(evaluate(operands, merge), Ok("((a (b c)) d)".to_owned()));
/// ```
pub fn evaluate<P, E>(
    operands: impl IntoIterator<Item = Operand<P>>,
    mut merge: impl FnMut(P, P) -> Result<P, E>,
) -> Result<P, E> {
    let mut stack = Vec::new();
    for operand in operands {
        let mut top = operand.partial;
        for _ in 0..operand.merges {
            let left = stack.pop().expect("as many partials as are merged");
            top = merge(left, top)?;
        }
        stack.push(top);
    }
    let one = stack.pop().filter(|_| stack.is_empty());
    Ok(one.expect("operands that come to one"))
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
            covered: 0,
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
            self.covered -= self.tree.len(below);
            replaced(below, partial);
        }
        self.covered += self.tree.len(node);
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
    /// up, one partial after another, as many as are at rest there and as `fits` lets
    /// go, and adds them to the two `operands`. What these come to is of the node given here,
    /// and handed to [`merged`](Self::merged) for that in place of `node`.
    ///
    /// # Panics
    /// When the halves of `node` were not given out to be merged.
    ///
    /// ```
    /// use manyhands_protocol::{MergeTree, Node, Operand, Step, Tree};
    /// let tree = Tree::new(4).unwrap();
    /// let mut merging = MergeTree::new(tree, tree.root().unwrap());
    /// let _ = merging.insert(Node::new(1, 1).unwrap(), "cd");
    /// let _ = merging.insert(Node::leaf(0), "a");
    /// let Step::Merge { node, left, right } = merging.insert(Node::leaf(1), "b") else {
    ///     panic!("siblings meet");
    /// };
    /// let mut operands = Operand::two(left, right);
    /// let top = merging.take_above(node, &mut operands, |_| true);
    /// assert_eq!(top, tree.root().unwrap());
    /// assert_eq!(operands, [("a", 0), ("b", 1), ("cd", 1)].map(|(text, n)| Operand::new(text, n)));
    /// assert_eq!(merging.merged(top, "abcd"), Step::Top("abcd"));
    /// ```
    pub fn take_above(
        &mut self,
        node: Node,
        operands: &mut Vec<Operand<P>>,
        mut fits: impl FnMut(&P) -> bool,
    ) -> Node {
        assert!(self.awaits(node), "{node:?} is not being merged");
        let mut highest = node;
        while highest != self.top
            && let Entry::Occupied(held) = self.held.entry(highest.sibling())
            && held.get().as_ref().is_some_and(&mut fits)
        {
            let partial = held.remove().expect("just seen");
            if highest.is_left() {
                operands.push(Operand::new(partial, 1));
            } else {
                operands.insert(0, Operand::new(partial, 0));
                operands.last_mut().expect("two at least").merges += 1;
            }
            let parent = highest.parent().expect("below the top there is a parent");
            highest = self.tree.canonical(parent);
        }
        if highest != node {
            self.held.remove(&node);
            self.held.insert(highest, None);
        }
        highest
    }

    /// Whether all tasks under the top are in, or being merged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.done || self.covered == self.tree.len(self.top)
    }

    /// Takes out all there is, once that is whole, so that it can be merged in one go:
    /// `awaited` gives the operands of a node that is being merged, which are merged again
    /// rather than waited for. What the operands given here come to is of the node given here, the
    /// top, and handed to [`merged`](Self::merged) for that.
    ///
    /// # Panics
    /// When it is not whole, or done.
    ///
    /// ```
    /// use manyhands_protocol::{MergeTree, Node, Operand, Step, Tree};
    /// let tree = Tree::new(3).unwrap();
    /// let root = tree.root().unwrap();
    /// let mut merging = MergeTree::new(tree, root);
    /// let _ = merging.insert(Node::leaf(0), "a");
    /// let Step::Merge { node, left, right } = merging.insert(Node::leaf(1), "b") else {
    ///     panic!("siblings meet");
    /// };
    /// assert_eq!(merging.insert(Node::leaf(2), "c"), Step::Held);
    /// assert!(merging.is_whole());
    /// let (top, operands) = merging.take_whole(|_| Operand::two(left, right));
    /// assert_eq!(top, root);
    /// assert_eq!(operands, [("a", 0), ("b", 1), ("c", 1)].map(|(text, n)| Operand::new(text, n)));
    /// assert_eq!(merging.merged(node, "ab"), Step::Ignored);
    /// assert_eq!(merging.merged(root, "abc"), Step::Top("abc"));
    /// ```
    pub fn take_whole(
        &mut self,
        mut awaited: impl FnMut(Node) -> Vec<Operand<P>>,
    ) -> (Node, Vec<Operand<P>>) {
        assert!(self.is_whole() && !self.done, "something is missing");
        let mut operands = Vec::new();
        for (node, partial) in std::mem::take(&mut self.held) {
            match partial {
                Some(partial) => operands.push(Operand::new(partial, 0)),
                None => operands.extend(awaited(node)),
            }
            let last = operands.last_mut().expect("what is merged has operands");
            last.merges += self.completed_by(node);
        }
        self.held.insert(self.top, None);
        (self.top, operands)
    }

    /// How many nodes above it, up to the top, end with this one.
    fn completed_by(&self, node: Node) -> u32 {
        let (mut at, mut completed) = (node, 0);
        while at != self.top && !at.is_left() {
            let parent = at.parent().expect("below the top there is a parent");
            at = self.tree.canonical(parent);
            completed += 1;
        }
        completed
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
        self.covered = 0;
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

    fn text_of(operands: Vec<Operand<String>>) -> String {
        let merge = |left, right| Ok::<_, std::convert::Infallible>(format!("({left} {right})"));
        evaluate(operands, merge).unwrap()
    }

    /// Merges that were given out, and come back in any order: what lies above two siblings
    /// is merged along with them, as far as the lengths let it go, and at last all there is.
    struct InOneGo {
        merging: MergeTree<String>,
        under_way: Vec<(Node, Vec<Operand<String>>)>,
        /// Of chains at most, in turn; of what is merged at last, the next one.
        lengths: std::iter::Cycle<std::vec::IntoIter<usize>>,
        /// Where the whole was given out.
        whole: bool,
        top: Option<String>,
    }

    impl InOneGo {
        fn take(&mut self, step: Step<String>) {
            let merging = &mut self.merging;
            match step {
                Step::Merge { node, left, right } => {
                    let mut operands = Operand::two(left, right);
                    let mut room = self.lengths.next().unwrap();
                    let highest = merging.take_above(node, &mut operands, |_| {
                        room = room.saturating_sub(1);
                        room > 0
                    });
                    assert!(merging.awaits(highest) && merging.covers(node));
                    self.under_way.push((highest, operands));
                }
                Step::Top(text) => assert_eq!(self.top.replace(text), None),
                Step::Held | Step::Ignored => {}
            }
            let covered: u64 = merging.nodes().map(|node| merging.tree.len(node)).sum();
            assert_eq!(
                merging.is_whole(),
                merging.is_done() || covered == merging.tree.tasks()
            );
            if merging.is_whole()
                && !merging.is_done()
                && !self.whole
                && self.lengths.next().unwrap() > 4
            {
                self.whole = true;
                let under_way = &self.under_way;
                let whole = merging.take_whole(|node| {
                    let of = |(awaited, _): &&(Node, _)| *awaited == node;
                    under_way.iter().find(of).unwrap().1.clone()
                });
                self.under_way.push(whole);
            }
        }

        fn answer(&mut self, at: usize) {
            if !self.under_way.is_empty() {
                let (node, operands) = self.under_way.swap_remove(at % self.under_way.len());
                let step = self.merging.merged(node, text_of(operands));
                self.take(step);
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
        fn whatever_is_merged_in_one_go_gives_the_same_tree(
            n in 1u64..200,
            coins in proptest::collection::vec(any::<bool>(), 1..64),
            order in proptest::collection::vec(any::<u32>(), 1..64),
            lengths in proptest::collection::vec(0usize..9, 1..16),
            answers in proptest::collection::vec(0usize..9, 1..16),
        ) {
            prop_assume!(coins.contains(&false));
            let tree = Tree::new(n).unwrap();
            let root = tree.root().unwrap();
            let mut rig = InOneGo {
                merging: MergeTree::new(tree, root),
                under_way: Vec::new(),
                lengths: lengths.into_iter().cycle(),
                whole: false,
                top: None,
            };
            let mut answers = answers.into_iter().cycle();
            for piece in cutting(tree, &coins, &order) {
                let step = rig.merging.insert(piece, reference(tree, piece));
                rig.take(step);
                let at = answers.next().unwrap();
                if at < 5 {
                    rig.answer(at);
                }
            }
            while !rig.under_way.is_empty() {
                rig.answer(answers.next().unwrap());
            }
            prop_assert_eq!(rig.top, Some(reference(tree, root)));
            prop_assert!(rig.merging.is_done());
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
        let Step::Merge { node, left, right } = merging.insert(Node::leaf(0), "0") else {
            panic!("siblings meet");
        };
        let mut operands = Operand::two(left, right);
        let highest = merging.take_above(node, &mut operands, |_| true);
        assert_eq!(highest, Node::new(3, 0).unwrap());
        let expected = [("0", 0), ("1", 1), ("2-3", 1), ("4-7", 1)];
        let expected = expected.map(|(text, merges)| Operand::new(text, merges));
        assert_eq!(operands, expected);
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
