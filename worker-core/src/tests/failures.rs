//! How the guilty are found, step by step.

use super::coordinator::Coordinator;
use super::world::{Fault, World};
use crate::{Input, Work};
use manyhands_protocol::message::{MergeMode, ToCoordinator};
use manyhands_protocol::{Failure, FailureKind, Node};
use std::ops::Range;

fn granted(slots: u16, tasks: u64) -> World {
    let mut world = World::welcomed(slots, Coordinator::new(tasks, MergeMode::Reduce));
    let root = world.coordinator.free.pop().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    world.load_all();
    world
}

/// The blocks begun so far, with whether they go task by task.
fn begun(world: &World) -> Vec<(Range<u64>, bool)> {
    let runs = world.runs.iter().filter_map(|(_, work)| match work {
        Work::Run {
            tasks, single_step, ..
        } => Some((tasks.clone(), *single_step)),
        Work::Merge { .. } => None,
    });
    runs.collect()
}

#[test]
fn an_overdue_slice_is_run_again_task_by_task() {
    let mut world = granted(1, 16);
    world.faults.insert(2, Fault::Endless);
    assert_eq!(
        begun(&world),
        [(0..4, false)],
        "a quarter, as nothing is known"
    );
    world.end_slot(0);
    world.end_slot(0);
    let expected = [(0..4, false), (0..4, true), (0..2, true)];
    assert_eq!(begun(&world), expected);
    world.run_dry();
    let named: Vec<_> = world.coordinator.failed.iter().collect();
    let failure = Failure {
        kind: FailureKind::Timeout,
        message: "no luck".into(),
    };
    assert_eq!(named, [(&Node::leaf(2), &failure)]);
    assert_eq!(world.coordinator.handed.len(), 4, "0..2, 3, 4..8, 8..16");
}

#[test]
fn a_trap_at_a_known_task_is_tried_alone() {
    let mut world = granted(1, 8);
    world.faults.insert(1, Fault::Trap { told: true });
    world.run_dry();
    let ranges: Vec<_> = begun(&world).into_iter().map(|(tasks, _)| tasks).collect();
    assert_eq!(ranges[..3], [0..2, 0..1, 1..2]);
    assert_eq!(world.coordinator.failed.len(), 1);
}

#[test]
fn a_failing_piece_is_halved() {
    let mut world = granted(1, 32);
    world.faults.insert(5, Fault::Trap { told: false });
    world.run_dry();
    let ranges: Vec<_> = begun(&world).into_iter().map(|(tasks, _)| tasks).collect();
    assert_eq!(ranges[..6], [0..8, 0..4, 4..8, 4..6, 4..5, 5..6]);
    let named: Vec<_> = world.coordinator.failed.keys().collect();
    assert_eq!(named, [&Node::leaf(5)]);
}

#[test]
fn what_died_with_others_is_run_again_alone() {
    let mut world = granted(3, 48);
    world.faults.insert(1, Fault::Crash);
    let first: Vec<_> = begun(&world);
    assert_eq!(first.len(), 3);
    world.crash();
    assert_eq!(world.slots.len(), 1, "one suspect at a time");
    let mut most = 1;
    while world.coordinator.failed.is_empty() {
        let slot = *world.slots.keys().next().expect("something runs");
        most = most.max(world.slots.len());
        world.end_slot(slot);
    }
    assert_eq!(most, 1, "nothing ran beside the suspects");
    world.run_dry();
    assert_eq!(
        world.coordinator.failed[&Node::leaf(1)].kind,
        FailureKind::Crash
    );
    assert_eq!(world.coordinator.failed.len(), 1);
    let alone = begun(&world)
        .iter()
        .filter(|(tasks, _)| *tasks == (1..2))
        .count();
    assert_eq!(alone, 2, "a single task is tried twice");
}

#[test]
fn a_suspect_waits_until_all_slots_are_idle() {
    let mut world = granted(2, 48);
    let suspect = world.slots.remove(&0).expect("both slots are busy");
    world.handle(Input::SlotCrashed {
        slot: 0,
        ticket: suspect.ticket,
        message: "signal 11".into(),
    });
    assert_eq!(world.slots.keys().collect::<Vec<_>>(), [&1], "nothing new");
    world.end_slot(1);
    let alone: Vec<_> = world.slots.values().map(|given| &given.work).collect();
    assert_eq!(alone, [&suspect.work]);
    world.end_slot(0);
    assert_eq!(world.slots.len(), 2, "it was innocent");
}

#[test]
fn a_failing_merge_blames_its_node() {
    let mut world = granted(2, 16);
    world.task_us = 1_000_000; // pieces of a task, merged by slots
    let bad = Node::new(2, 1).unwrap();
    world.bad_merges.insert(bad);
    world.run_dry();
    let named: Vec<_> = world.coordinator.failed.keys().collect();
    assert_eq!(named, [&bad]);
    let handed = world.coordinator.handed.iter().map(|(_, node, _)| *node);
    let handed: Vec<Node> = handed.collect();
    assert_eq!(handed, [Node::new(2, 0).unwrap(), Node::new(3, 1).unwrap()]);
}

#[test]
fn a_job_of_failures_is_given_back_soon() {
    let mut world = granted(2, 1 << 20);
    for task in 0..1000 {
        world.faults.insert(task, Fault::Trap { told: true });
    }
    world.run_dry();
    let failed = world.coordinator.failed.len();
    assert!((8..12).contains(&failed), "{failed} named");
    let returned = world.heard().into_iter();
    let returned = returned.filter(|m| matches!(m, ToCoordinator::Returned { .. }));
    assert_eq!(returned.count(), 1);
    let tree = world.coordinator.tree;
    let free = world.coordinator.free.iter();
    let free: u64 = free.map(|node| tree.len(*node)).sum();
    assert!(free > 0);
    let handed = world.coordinator.handed.iter();
    let handed: u64 = handed.map(|(_, node, _)| tree.len(*node)).sum();
    assert_eq!(free + handed + failed as u64, 1 << 20);
}

#[test]
fn a_job_that_cannot_run_here_says_so_and_gives_its_leases_back() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    let [left, right] = [Node::new(5, 0).unwrap(), Node::new(5, 1).unwrap()];
    let first = world.coordinator.grant(left);
    world.deliver_all();
    let failure = Failure {
        kind: FailureKind::Memory,
        message: "too large for this machine".into(),
    };
    let job = world.to_load.pop().expect("it is loaded");
    world.heard();
    let unusable = Input::JobUnusable {
        job,
        failure: failure.clone(),
    };
    world.handle(unusable);
    let said = |lease| {
        let failure = failure.clone();
        [
            ToCoordinator::Unusable { job, failure },
            ToCoordinator::Returned { lease },
        ]
    };
    assert_eq!(world.heard(), said(first));
    // A grant that crossed it on the way.
    let second = world.coordinator.grant(right);
    world.deliver_all();
    assert_eq!(world.heard(), said(second));
    assert!(world.coordinator.failed.is_empty(), "no block is to blame");
    assert!(world.runs.is_empty() && world.session.view().leases.is_empty());
}

#[test]
fn a_job_whose_module_is_gone_is_unusable() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    let module = world.coordinator.header.module;
    world.coordinator.store.remove(&module);
    let lease = world.coordinator.grant(Node::new(5, 0).unwrap());
    world.heard();
    world.deliver_all();
    let said = world.heard();
    let [ToCoordinator::Unusable { job, failure }, returned] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(*job, world.coordinator.header.job);
    assert!(failure.message.contains("no longer has blob"));
    assert_eq!(*returned, ToCoordinator::Returned { lease });
}

#[test]
fn as_many_guests_run_as_have_their_memory() {
    // The worker of these tests has 1 GiB.
    for (memory, at_once) in [(1 << 30, 1), (400 << 20, 2), (1 << 20, 4), (4 << 30, 1)] {
        let mut coordinator = Coordinator::new(64, MergeMode::Reduce);
        coordinator.header.memory = memory;
        let mut world = World::welcomed(4, coordinator);
        let root = world.coordinator.free.pop().unwrap();
        world.coordinator.grant(root);
        world.deliver_all();
        world.load_all();
        assert_eq!(world.slots.len(), at_once, "{memory} bytes each");
        while let Some(slot) = world.slots.keys().next().copied() {
            world.end_slot(slot);
            assert!(world.slots.len() <= at_once);
        }
        assert_eq!(world.coordinator.handed.len(), 1);
    }
}
