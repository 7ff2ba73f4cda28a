//! What the codec and the tree cost: `cargo bench --package manyhands-protocol`.

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use manyhands_protocol::limits::PIECE;
use manyhands_protocol::message::{ToCoordinator, ToWorker};
use manyhands_protocol::{
    Incarnation, JobId, LeaseId, MergeTree, Node, Proof, Sequence, Step, Tree, codec,
};

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

#[divan::bench]
fn encode_grant(bencher: Bencher<'_, '_>) {
    let message = grant();
    bencher.bench(|| codec::encode(black_box(&message)));
}

#[divan::bench]
fn decode_grant(bencher: Bencher<'_, '_>) {
    let frame = Bytes::from(codec::encode(&grant()));
    bencher.bench(|| codec::decode::<ToWorker>(black_box(&frame).clone()));
}

#[divan::bench(args = [8, 8192, PIECE])]
fn encode_partial(bencher: Bencher<'_, '_>, len: usize) {
    let (message, bulk) = (partial(len), vec![1; len]);
    bencher
        .counter(BytesCount::new(len))
        .bench(|| codec::encode_with(black_box(&message), black_box(&bulk)));
}

/// As long for any length: the bulk is not copied.
#[divan::bench(args = [8, 8192, PIECE])]
fn decode_partial(bencher: Bencher<'_, '_>, len: usize) {
    let frame = Bytes::from(codec::encode_with(&partial(len), &vec![1; len]));
    bencher
        .counter(BytesCount::new(len))
        .bench(|| codec::decode::<ToCoordinator>(black_box(&frame).clone()));
}

/// All leaves of a tree, merged as they come.
#[divan::bench(args = [1000, 1_000_000])]
fn merge_tree(bencher: Bencher<'_, '_>, tasks: u64) {
    let tree = Tree::new(tasks).expect("fewer than 2^62 tasks");
    let root = tree.root().expect("some tasks");
    bencher.counter(ItemsCount::new(tasks)).bench(|| {
        let mut merging = MergeTree::new(tree, root);
        for task in 0..tasks {
            let mut step = merging.insert(Node::leaf(task), ());
            while let Step::Merge { node, .. } = step {
                step = merging.merged(node, ());
            }
        }
        merging
    });
}

/// All leaves of a tree in the order in which a thousand workers hand them in.
#[divan::bench(args = [1000, 1_000_000])]
fn sequence(bencher: Bencher<'_, '_>, tasks: u64) {
    let tree = Tree::new(tasks).expect("fewer than 2^62 tasks");
    bencher.counter(ItemsCount::new(tasks)).bench(|| {
        let mut sequence = Sequence::new(tree);
        for round in (0..tasks).step_by(1000) {
            for task in (round..tasks.min(round + 1000)).rev() {
                black_box(sequence.insert(Node::leaf(task), ()));
            }
        }
        sequence.next_task()
    });
}

fn main() {
    divan::main();
}
