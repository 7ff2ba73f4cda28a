//! What a recorded block costs the core, by the number of workers: `cargo bench
//! --package manyhands-coordinator-core --bench core`.

use divan::Bencher;
use divan::counter::ItemsCount;
use manyhands_loads::core::Rig;

/// A thousand blocks: scheduled, recorded, committed in groups, acknowledged, and
/// the next ones granted; then what is in the result is forgotten.
#[divan::bench(args = [10, 100, 1000])]
fn block(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = Rig::new(workers);
    bencher
        .counter(ItemsCount::new(1000u32))
        .bench_local(move || {
            (0..1000).for_each(|_| rig.block());
            rig.sync();
        });
}

fn main() {
    divan::main();
}
