//! The simulation can fail: what is broken on purpose is noticed.

use manyhands_sim::{Lie, Setup, run_setup};

/// What the first of some seeds finds that finds something.
fn found(setup: &Setup) -> String {
    let mut outcomes = (0..30).map(|seed| run_setup(setup.clone(), seed, 0));
    let violation = outcomes.find_map(|outcome| outcome.violation);
    violation.expect("what was broken is noticed")
}

fn crashing(concat: bool) -> Setup {
    let setup = Setup::quiet().only_concat(concat).with_work(100, 5_000);
    setup.with_faults(&["power cut"], 4, 60)
}

#[test]
fn a_disk_that_loses_groups_is_noticed() {
    let what = found(&crashing(false).with_lie(Lie::LosesGroups(5)));
    assert!(what.contains("durable") || what.contains("lost"), "{what}");
}

#[test]
fn a_disk_that_tears_groups_is_noticed() {
    let what = found(&crashing(false).with_lie(Lie::TearsGroups));
    assert!(what.contains("durable") || what.contains("lost"), "{what}");
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    let what = found(&crashing(true).with_lie(Lie::ForgetsSyncs));
    assert!(what.contains("prefix"), "{what}");
}

#[test]
fn merging_right_before_left_is_noticed() {
    let setup = Setup::quiet().only_concat(false).with_work(60, 5_000);
    let what = found(&setup.with_swapped_merges());
    assert!(what.contains("merged with"), "{what}");
}
