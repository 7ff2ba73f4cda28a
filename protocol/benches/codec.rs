//! What the codec and the tree cost: `cargo bench --package manyhands-protocol`.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use manyhands_loads::protocol;
use manyhands_protocol::limits::PIECE;

#[divan::bench]
fn encode_grant(bencher: Bencher<'_, '_>) {
    bencher.bench(protocol::encode_grant());
}

#[divan::bench]
fn decode_grant(bencher: Bencher<'_, '_>) {
    bencher.bench(protocol::decode_grant());
}

#[divan::bench(args = [8, 8192, PIECE])]
fn encode_partial(bencher: Bencher<'_, '_>, len: usize) {
    let counter = BytesCount::new(len);
    bencher
        .counter(counter)
        .bench(protocol::encode_partial(len));
}

/// As long for any length: the bulk is not copied.
#[divan::bench(args = [8, 8192, PIECE])]
fn decode_partial(bencher: Bencher<'_, '_>, len: usize) {
    let counter = BytesCount::new(len);
    bencher
        .counter(counter)
        .bench(protocol::decode_partial(len));
}

#[divan::bench(args = [1000, 1_000_000])]
fn merge_tree(bencher: Bencher<'_, '_>, tasks: u64) {
    let counter = ItemsCount::new(tasks);
    bencher
        .counter(counter)
        .bench(|| protocol::merge_tree(tasks));
}

#[divan::bench(args = [1000, 1_000_000])]
fn sequence(bencher: Bencher<'_, '_>, tasks: u64) {
    let counter = ItemsCount::new(tasks);
    bencher.counter(counter).bench(|| protocol::sequence(tasks));
}

fn main() {
    divan::main();
}
