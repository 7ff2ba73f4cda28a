//! Frames, the merge tree and the prefix.

use bytes::Bytes;
use manyhands_protocol::message::{ToCoordinator, ToWorker};
use manyhands_protocol::{
    Incarnation, JobId, LeaseId, MergeTree, Node, Proof, Sequence, Step, Tree, codec,
};
use std::hint::black_box;

const LEASE: LeaseId = LeaseId {
    incarnation: Incarnation(7),
    counter: 1 << 20,
};

fn grant() -> ToWorker {
    ToWorker::Grant {
        lease: LEASE,
        job: JobId(3),
        node: Node::leaf(1 << 30),
        inputs: Vec::new(),
        proof: Proof([5; 16]),
    }
}

fn partial(len: usize) -> ToCoordinator {
    ToCoordinator::Partial {
        lease: LEASE,
        node: Node::leaf(1 << 30),
        offset: 0,
        total: len as u64,
        busy_us: 50_000,
    }
}

/// Encodes a grant at each call.
pub fn encode_grant() -> impl Fn() {
    let message = grant();
    move || drop(black_box(codec::encode(black_box(&message))))
}

/// Decodes a grant at each call.
pub fn decode_grant() -> impl Fn() {
    let frame = Bytes::from(codec::encode(&grant()));
    move || drop(black_box(codec::decode::<ToWorker>(frame.clone())))
}

/// Encodes a partial of `len` bytes at each call.
pub fn encode_partial(len: usize) -> impl Fn() {
    let (message, bulk) = (partial(len), vec![1; len]);
    move || {
        let frame = codec::encode_with(black_box(&message), black_box(&bulk));
        drop(black_box(frame));
    }
}

/// Decodes a partial of `len` bytes at each call.
pub fn decode_partial(len: usize) -> impl Fn() {
    let frame = Bytes::from(codec::encode_with(&partial(len), &vec![1; len]));
    move || drop(black_box(codec::decode::<ToCoordinator>(frame.clone())))
}

/// All leaves of a tree, merged as they come.
///
/// # Panics
/// When a tree has no room for the tasks, or there are none.
#[must_use]
pub fn merge_tree(tasks: u64) -> MergeTree<()> {
    let tree = Tree::new(tasks).expect("fewer than 2^62 tasks");
    let mut merging = MergeTree::new(tree, tree.root().expect("some tasks"));
    for task in 0..tasks {
        let mut step = merging.insert(Node::leaf(task), ());
        while let Step::Merge { node, .. } = step {
            step = merging.merged(node, ());
        }
    }
    merging
}

/// All leaves of a tree in the order in which a thousand workers hand them in;
/// the tasks that left with the prefix.
///
/// # Panics
/// When a tree has no room for the tasks.
#[must_use]
pub fn sequence(tasks: u64) -> u64 {
    let tree = Tree::new(tasks).expect("fewer than 2^62 tasks");
    let mut sequence = Sequence::new(tree);
    for round in (0..tasks).step_by(1000) {
        for task in (round..tasks.min(round + 1000)).rev() {
            black_box(sequence.insert(Node::leaf(task), ()));
        }
    }
    sequence.next_task()
}
