//! Seeds, each with its own mixture of machines, jobs and faults: everything
//! holds, and two runs of a seed are the same.

use manyhands_sim::{Tally, check, run};

/// How many each run of the tests looks at; `cargo xtask sim --minutes M` looks
/// at others.
const SEEDS: u64 = 300;

#[test]
fn everything_holds_whatever_a_seed_brings() {
    let mut faults = Tally::default();
    for seed in 0..SEEDS {
        match check(seed) {
            Ok(outcome) => faults.merge(&outcome.faults),
            Err(violation) => panic!("{violation}"),
        }
    }
    // So many seeds have seen something of everything that matters.
    for kind in [
        "coordinator killed",
        "power cut",
        "SIGTERM",
        "crash before a group is written",
        "crash after a group is written",
        "torn write",
        "disk full",
        "half-open connection",
        "all partitioned",
        "frame dropped or doubled",
        "frames swapped",
        "lie",
        "worker frozen",
        "clock leapt",
        "compute child died",
        "answer lost",
    ] {
        let seen = faults.iter().any(|(seen, count)| seen == kind && count > 0);
        assert!(seen, "no seed has seen: {kind}");
    }
}

#[test]
fn a_seed_decides_everything() {
    let (first, second, other) = (run(7, 50), run(7, 50), run(8, 50));
    assert_eq!(first.hash, second.hash);
    assert_eq!(first.lines, second.lines);
    assert!(!first.lines.is_empty());
    assert_ne!(first.hash, other.hash);
}
