//! Situations that chance alone brings too rarely.

use manyhands_sim::{Outcome, Setup, check_setup, run_setup};

#[track_caller]
fn holds(setup: &Setup, seed: u64) -> Outcome {
    match check_setup(setup, seed) {
        Ok(outcome) => outcome,
        Err(violation) => panic!("{setup:?}\n{violation}"),
    }
}

fn count(outcome: &Outcome, kind: &str) -> u64 {
    let found = outcome.faults.iter().find(|(name, _)| *name == kind);
    found.map_or(0, |(_, count)| count)
}

fn crash_at_each_boundary(setup: &Setup, seed: u64) {
    let whole = run_setup(setup.clone(), seed, 0);
    assert_eq!(whole.violation, None);
    assert!(whole.boundaries >= 20, "{} boundaries", whole.boundaries);
    for boundary in 1..=whole.boundaries {
        let outcome = run_setup(setup.clone().crashing_at(boundary), seed, 200);
        let lines = outcome.lines.join("\n");
        assert_eq!(outcome.violation, None, "boundary {boundary}:\n{lines}");
        assert_eq!(outcome.starts, whole.starts + 1, "it crashed once more");
    }
}

#[test]
fn a_coordinator_may_die_at_every_boundary_of_a_commit_of_a_reduce_job() {
    crash_at_each_boundary(&Setup::quiet().only_concat(false).with_work(4, 300), 3);
}

#[test]
fn a_coordinator_may_die_at_every_boundary_of_a_commit_of_a_concat_job() {
    crash_at_each_boundary(&Setup::quiet().only_concat(true).with_work(4, 300), 3);
}

#[test]
fn torn_writes_of_growing_results_are_cut_off() {
    let setup = Setup::quiet().only_concat(true).with_work(200, 5_000);
    let setup = setup.with_faults(&["power cut"], 3, 60);
    let torn: u64 = (0..5)
        .map(|seed| count(&holds(&setup, seed), "torn write"))
        .sum();
    assert!(torn >= 3, "{torn} torn writes");
}

#[test]
fn thousands_of_workers_come_at_once_and_come_back_at_once() {
    let setup = Setup::quiet().with_workers(3_000).with_authors(3);
    let setup = setup.with_work(3_000, 100_000);
    let setup = setup.with_faults(&["coordinator killed", "connection cut"], 1, 5);
    let outcome = run_setup(setup, 1, 100);
    assert_eq!(outcome.violation, None, "{}", outcome.lines.join("\n"));
    assert!(outcome.starts >= 3, "{} starts", outcome.starts);
}

#[test]
fn liars_harm_nobody_but_themselves() {
    let setup = Setup::quiet()
        .with_workers(2)
        .with_liars(12)
        .with_authors(4);
    let setup = setup
        .with_work(300, 5_000)
        .with_faults(&["coordinator killed"], 20, 120);
    for seed in 0..5 {
        let outcome = holds(&setup, seed);
        assert!(count(&outcome, "lie") > 50);
    }
}

#[test]
fn nothing_is_lost_while_the_disk_is_full() {
    let setup = Setup::quiet().with_authors(6).with_work(300, 50_000);
    let setup = setup.with_faults(&["disk full", "power cut"], 10, 300);
    for seed in 0..5 {
        holds(&setup, seed);
    }
}

#[test]
fn workers_come_back_after_an_hour_behind_a_partition() {
    let setup = Setup::quiet().with_authors(3).with_work(20_000, 100_000);
    let setup = setup.with_faults(&["worker partitioned", "all partitioned"], 300, 7_200);
    for seed in 0..5 {
        let outcome = holds(&setup, seed);
        let partitions = count(&outcome, "worker partitioned");
        assert!(partitions >= 3, "{partitions} of {:?}", outcome.faults);
    }
}
