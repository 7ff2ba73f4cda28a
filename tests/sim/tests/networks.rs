//! Far machines of unlike speed are used, and end together. A smaller fleet than
//! the bench's, with bounds that leave room for other ways of handing out.

use manyhands_sim::{Fleet, measure};

fn fleet(round_trip_ms: u64) -> Fleet {
    Fleet {
        machines: 12,
        job_s: 60,
        ..Fleet::behind(round_trip_ms)
    }
}

#[track_caller]
fn holds(round_trip_ms: u64, used: f64, end_ms: u64) {
    let mut ends = Vec::new();
    for seed in 0..5 {
        let measured = measure(fleet(round_trip_ms), seed);
        let measured = measured.unwrap_or_else(|fault| panic!("{fault}"));
        assert!(measured.used > used, "seed {seed}: {measured:?}");
        ends.push(measured.end_us);
    }
    ends.sort_unstable();
    assert!(ends[2] < end_ms * 1000, "{ends:?}");
}

#[test]
fn near_machines_are_used_and_end_together() {
    holds(1, 0.97, 8);
}

#[test]
fn far_machines_are_used_and_end_together() {
    holds(50, 0.96, 120);
}

#[test]
fn machines_beyond_an_ocean_are_used_and_end_together() {
    holds(300, 0.87, 1_000);
}

#[test]
fn a_seed_decides_what_is_measured() {
    assert_eq!(
        measure(fleet(50), 7).unwrap(),
        measure(fleet(50), 7).unwrap()
    );
}
