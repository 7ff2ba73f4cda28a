//! What the scheduler's events cost, by the number of workers: `cargo bench
//! --package manyhands-scheduler`. Nothing but the scheduler runs.

use divan::Bencher;
use divan::counter::ItemsCount;
use manyhands_loads::scheduler::{Rig, Scale};
use manyhands_protocol::MergeMode;

const WORKERS: [u64; 4] = [10, 100, 1000, 10_000];

fn rig(workers: u64, merge: MergeMode) -> Rig {
    Rig::new(Scale::workers(workers, merge))
}

/// Completed blocks, a thousand at a time: two events each, since there is nearly a
/// merge for every block.
#[divan::bench(args = WORKERS)]
fn block(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = rig(workers, MergeMode::Reduce);
    bencher
        .counter(ItemsCount::new(1000u32))
        .bench_local(move || (0..1000).for_each(|_| rig.block()));
}

/// The same, one event each.
#[divan::bench(args = WORKERS)]
fn concat(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = rig(workers, MergeMode::Concat);
    bencher
        .counter(ItemsCount::new(1000u32))
        .bench_local(move || (0..1000).for_each(|_| rig.block()));
}

/// A sign of life.
#[divan::bench(args = WORKERS)]
fn heard(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = rig(workers, MergeMode::Reduce);
    bencher
        .counter(ItemsCount::new(1u32))
        .bench_local(move || rig.heard());
}

/// A worker that joins, is given work, and leaves: two events.
#[divan::bench(args = WORKERS)]
fn come_and_go(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = rig(workers, MergeMode::Reduce);
    bencher
        .counter(ItemsCount::new(2u32))
        .bench_local(move || rig.come_and_go());
}

fn main() {
    divan::main();
}
