//! The end of jobs, windows, and how little a huge job takes.

use super::rig::{Granted, Rig, grants, node, revoke, spec};
use crate::{Action, Config, Event};
use manyhands_protocol::{JobId, MergeMode, Node, Tree, WorkerId};
use std::collections::VecDeque;

#[test]
fn leases_that_have_not_begun_are_taken_back_for_an_idle_worker() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    assert_eq!(rig.join(2, 2), [revoke(granted[1])]);
    assert_eq!(rig.tick(1000), [], "asked once");
    let again = grants(&rig.give_back(granted[1]));
    // What is left is shared between the two.
    assert_eq!(again[0].worker, WorkerId(2));
    assert!(granted[1].node.contains(again[0].node));
}

#[test]
fn no_block_has_more_tasks_than_the_settings_allow() {
    let mut rig = Rig::with(Config {
        block_tasks: 4,
        ..Config::default()
    });
    rig.submit(1, spec(1 << 20, MergeMode::Concat));
    let mut queue: VecDeque<Granted> = grants(&rig.join(1, 8)).into();
    let (mut sizes, tree) = (Vec::new(), Tree::new(1 << 20).unwrap());
    for _ in 0..1000 {
        let next = queue.pop_front().unwrap();
        sizes.push(tree.len(next.node));
        // As fast as can be.
        queue.extend(grants(&rig.answer(next)));
    }
    assert_eq!(sizes.iter().max(), Some(&4));
}

#[test]
fn the_last_block_is_duplicated_where_it_ends_sooner() {
    let mut rig = Rig::new();
    let mut bounded = spec(6, MergeMode::Reduce);
    bounded.max_block = 1;
    rig.submit(1, bounded);
    let slow = grants(&rig.join(1, 1));
    let fast = grants(&rig.join(2, 1));
    assert_eq!((slow.len(), fast.len()), (2, 2));
    let mut queue: VecDeque<Granted> = fast.into();
    let mut seen = Vec::new();
    // The fast one does all it gets in a tenth of a second each; the slow one
    // never answers but gives back what it has not begun.
    for _ in 0..100 {
        let Some(next) = queue.pop_front() else {
            let actions = rig.tick(100_000);
            queue.extend(grants(&actions));
            if actions.contains(&revoke(slow[1])) {
                let actions = rig.give_back(slow[1]);
                queue.extend(grants(&actions).iter().filter(|g| g.worker == WorkerId(2)));
            }
            continue;
        };
        rig.pass(100_000);
        let actions = rig.answer(next);
        seen.push(next.node);
        if actions.contains(&revoke(slow[1])) {
            let actions = rig.give_back(slow[1]);
            queue.extend(grants(&actions).iter().filter(|g| g.worker == WorkerId(2)));
        }
        queue.extend(grants(&actions).iter().filter(|g| g.worker == WorkerId(2)));
        if next.node == slow[0].node {
            assert!(
                actions.contains(&revoke(slow[0])) || seen.len() >= 5,
                "{actions:?}"
            );
            return;
        }
    }
    panic!("the straggler was not relieved: {seen:?}");
}

#[test]
fn equal_workers_do_not_duplicate_each_others_blocks() {
    let mut rig = Rig::new();
    let mut bounded = spec(3, MergeMode::Reduce);
    bounded.max_block = 1;
    rig.submit(1, bounded);
    let first = grants(&rig.join(1, 1));
    assert_eq!(first.len(), 2);
    let second = grants(&rig.join(2, 1));
    rig.pass(1_000_000);
    rig.answer(second[0]);
    rig.pass(1000);
    // Its last block is as good as done.
    let actions = rig.answer(first[0]);
    assert_eq!(grants(&actions), []);
    rig.pass(999_000);
    assert_eq!(grants(&rig.handle(Event::Tick)), []);
}

#[test]
fn a_window_holds_a_concat_job_back_and_its_prefix_goes_first() {
    let config = Config {
        window_blocks: 4,
        ..Config::default()
    };
    let mut rig = Rig::with(config);
    let mut bounded = spec(100, MergeMode::Concat);
    bounded.max_block = 1;
    rig.submit(1, bounded);
    let slow = grants(&rig.join(1, 1));
    assert_eq!(slow[0].node, Node::leaf(0));
    let mut fast: VecDeque<Granted> = grants(&rig.join(2, 1)).into();
    let mut early = slow.len() + fast.len();
    assert_eq!(early, 4, "the window is full");
    while let Some(next) = fast.pop_front() {
        rig.pass(1000);
        let more = grants(&rig.answer(next));
        if next.node == Node::leaf(0) {
            // A copy of the block that holds all others back.
            assert_eq!(early, 4);
            assert_eq!(rig.scheduler.job(rig.now, JobId(1)).unwrap().done, 3);
            return;
        }
        early += more
            .iter()
            .filter(|granted| granted.node.first() > 3)
            .count();
        fast.extend(more.iter().filter(|granted| granted.worker == WorkerId(2)));
        if fast.is_empty() {
            fast.extend(grants(&rig.tick(1_000_000)));
        }
    }
    panic!("the prefix was not relieved");
}

#[test]
fn bytes_ahead_of_the_prefix_are_bounded() {
    let mut rig = Rig::new();
    rig.submit(1, spec(1 << 20, MergeMode::Concat));
    let slow = grants(&rig.join(1, 1));
    let mut fast: VecDeque<Granted> = grants(&rig.join(2, 1)).into();
    let mut bytes = 0_u64;
    while let Some(next) = fast.pop_front() {
        assert_ne!(next.node, slow[0].node);
        let len = 1 << 20 << next.node.level();
        bytes += len;
        rig.pass(10);
        let event = Event::Partial {
            worker: next.worker,
            lease: next.lease,
            node: next.node,
            partial: String::new(),
            len,
            busy_us: 10,
        };
        let more = grants(&rig.handle(event));
        fast.extend(
            more.iter()
                .filter(|granted| !granted.node.overlaps(slow[0].node)),
        );
    }
    // The slow one holds 0 and 1; all else is early.
    assert!((48 << 20..=80 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn a_job_of_two_to_the_62_tasks_takes_little() {
    let mut rig = Rig::new();
    rig.submit(1, spec(1 << 62, MergeMode::Reduce));
    let mut queue: VecDeque<Granted> = VecDeque::new();
    for worker in 0..4 {
        queue.extend(grants(&rig.join(worker, 4)));
    }
    for round in 0..3000_u64 {
        // Some come back out of order, some not at all.
        let at = (round * 7) as usize % queue.len();
        let next = queue.remove(at).unwrap();
        rig.pass(1 + (1 << next.node.level()) / 50_000);
        let actions = if round % 50 == 49 {
            let mut actions = rig.give_back(next);
            rig.pass(1_000_000);
            actions.extend(rig.handle(Event::Tick));
            actions
        } else {
            let partial = Event::Partial {
                worker: next.worker,
                lease: next.lease,
                node: next.node,
                partial: String::new(),
                len: 0,
                busy_us: 0,
            };
            rig.handle(partial)
        };
        let mut merges: VecDeque<(JobId, Node)> = VecDeque::new();
        let note = |actions: &[Action<String>], merges: &mut VecDeque<(JobId, Node)>| {
            for action in actions {
                if let Action::Merge { job, node, .. } = action {
                    merges.push_back((*job, *node));
                }
            }
        };
        note(&actions, &mut merges);
        queue.extend(grants(&actions));
        while let Some((job, node)) = merges.pop_front() {
            let partial = String::new();
            let actions = rig.handle(Event::Merged {
                job,
                node,
                partial,
                len: 0,
            });
            note(&actions, &mut merges);
            queue.extend(grants(&actions));
        }
    }
    let job = &rig.scheduler.jobs[&JobId(1)];
    let free = job.blocks.free().iter().count();
    assert!(free < 300, "{free} free nodes");
    assert!(job.blocks.out_pieces() <= 64 && job.ends.len() + job.former.len() <= 64);
    assert!(job.blocks.done() > 1 << 30, "{}", job.blocks.done());
    let crate::assembly::Assembly::Reduce {
        tree: Some(merging),
        ..
    } = &job.assembly
    else {
        panic!("a reduce job");
    };
    assert!(merging.nodes().count() < 300);
}

#[test]
fn input_bytes_bound_blocks() {
    let mut rig = Rig::new();
    let mut inputs = spec(1 << 20, MergeMode::Reduce);
    inputs.bytes_per_task = 4 << 20;
    rig.submit(1, inputs);
    let mut queue: VecDeque<Granted> = grants(&rig.join(1, 2)).into();
    for _ in 0..50 {
        let next = queue.pop_front().unwrap();
        assert!(
            next.node.level() <= 3,
            "{:?} has more than 32 MiB",
            next.node
        );
        rig.pass(10);
        queue.extend(grants(&rig.answer(next)));
        let held: u64 = queue.iter().map(|held| 4 << held.node.level()).sum();
        assert!(held <= 96, "{held} MiB of inputs wait");
    }
    assert_eq!(queue[0].node.level(), node(3, 0).level());
}
