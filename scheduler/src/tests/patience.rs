//! What is not counted twice, and what is not waited for without end.

use super::rig::{Granted, Rig, accepted, capacity, grants, node, spec};
use crate::{Action, Config, Event, JobSpec};
use manyhands_protocol::{FailureKind, JobId, LeaseId, MergeMode, Node, WorkerId};
use std::collections::VecDeque;

const JOB: JobId = JobId(1);
const SECOND: u64 = 1_000_000;
const A: WorkerId = WorkerId(1);
const B: WorkerId = WorkerId(2);

fn single(tasks: u64, merge: MergeMode) -> JobSpec {
    JobSpec {
        max_block: 1,
        ..spec(tasks, merge)
    }
}

/// Lets time pass; both say that they live. Gives the grants.
fn alive(rig: &mut Rig, micros: u64) -> Vec<Granted> {
    let until = rig.now + micros;
    let mut seen = Vec::new();
    while rig.now < until {
        seen.extend(grants(&rig.tick(until.since(rig.now))));
        for worker in [A, B] {
            seen.extend(grants(&rig.handle(Event::Heard { worker })));
        }
    }
    seen
}

#[test]
fn a_failure_said_again_counts_once() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Concat, 4)[0];
    assert_eq!(granted.node, node(2, 0));
    for _ in 0..5 {
        // Open leases' failures come again with every resumed session.
        let actions = rig.fail(granted, Node::leaf(1), FailureKind::Trap);
        assert!(
            !actions
                .iter()
                .any(|a| matches!(a, Action::JobFailed { .. }))
        );
        rig.handle(Event::WorkerDisconnected { worker: A });
        rig.handle(Event::WorkerResumed {
            worker: A,
            capacity: capacity(4),
            held: vec![granted.lease],
        });
    }
    assert_eq!(rig.scheduler.jobs[&JOB].attempts[&1].failures, 1);
}

#[test]
fn who_failed_tries_again_when_the_other_does_not_answer() {
    let mut rig = Rig::new();
    let first = rig.start(1, MergeMode::Concat, 1)[0];
    rig.join(B.0, 1);
    let other = grants(&rig.fail(first, Node::leaf(0), FailureKind::Memory));
    assert_eq!(other[0].worker, B);
    // It lives, and that is all.
    assert_eq!(alive(&mut rig, 9 * SECOND), []);
    let again = alive(&mut rig, 30 * SECOND);
    assert_eq!((again[0].worker, again[0].node), (A, Node::leaf(0)));
    let actions = rig.answer(again[0]);
    assert!(actions.contains(&Action::Complete { job: JOB }));
}

#[test]
fn who_failed_tries_again_when_the_other_has_no_room() {
    let mut rig = Rig::new();
    rig.submit(1, single(3, MergeMode::Concat));
    let others = grants(&rig.join(B.0, 1));
    let first = grants(&rig.join(A.0, 1));
    assert_eq!((others.len(), first.len()), (2, 1));
    assert_eq!(
        grants(&rig.fail(first[0], first[0].node, FailureKind::Memory)),
        []
    );
    assert_eq!(alive(&mut rig, 9 * SECOND), [], "the other may take it yet");
    let again = alive(&mut rig, 30 * SECOND);
    assert!(
        again
            .iter()
            .any(|g| (g.worker, g.node) == (A, first[0].node)),
        "{again:?}"
    );
}

#[test]
fn the_time_to_go_is_not_counted_down_by_silence() {
    let mut rig = Rig::new();
    let mut granted: VecDeque<Granted> = rig.start(10_000, MergeMode::Reduce, 1).into();
    for _ in 0..20 {
        let next = granted.pop_front().unwrap();
        let tasks = 1 << next.node.level();
        rig.pass(100_000 * tasks);
        granted.extend(grants(&rig.answer(next)));
    }
    let remaining = |rig: &Rig| rig.scheduler.job(rig.now, JOB).unwrap().remaining_us;
    let at_first = remaining(&rig).unwrap();
    assert!(at_first > 800 * SECOND, "{at_first}");
    let out = rig.scheduler.job(rig.now, JOB).unwrap().running * 100_000;
    rig.pass(out / 2);
    let later = remaining(&rig).unwrap();
    assert!(at_first - later <= out / 2 + 1, "{at_first} {later}");
    rig.pass(out);
    assert!(at_first - remaining(&rig).unwrap() <= out + out / 10);
    rig.pass(80 * SECOND);
    assert_eq!(remaining(&rig), None, "nobody knows");
}

#[test]
fn late_words_of_ended_leases_are_no_offence_however_many() {
    let mut rig = Rig::new();
    rig.submit(1, single(1 << 20, MergeMode::Reduce));
    let mut queue: VecDeque<Granted> = grants(&rig.join(1, 256)).into();
    let mut seen = Vec::new();
    while seen.len() < 1500 {
        let next = queue.pop_front().unwrap();
        rig.pass(10);
        queue.extend(grants(&rig.answer(next)));
        seen.push(next);
    }
    // All of it is sent again.
    for sent in seen {
        assert_eq!(rig.answer(sent), [accepted(sent, sent.node, false)]);
        assert_eq!(rig.give_back(sent), []);
    }
    // Of an earlier incarnation, and never claimed: it may be forgotten.
    let mut old = queue[0];
    old.lease.incarnation.0 -= 1;
    assert_eq!(rig.answer(old), [accepted(old, old.node, false)]);
    // What was never granted is an offence as ever.
    old.lease = LeaseId {
        counter: 1 << 40,
        ..queue[0].lease
    };
    assert!(matches!(rig.answer(old)[..], [Action::Disconnect { .. }]));
}

#[test]
fn a_hint_is_not_eaten_by_what_came_in_before() {
    let mut rig = Rig::new();
    let granted = rig.start(16, MergeMode::Reduce, 16)[0];
    assert_eq!(granted.node, node(4, 0));
    let (worker, lease) = (granted.worker, granted.lease);
    let left = |rig: &Rig| rig.scheduler.leases[&lease].left();
    rig.handle(rig.partial(granted, node(2, 0)));
    let done = 12;
    rig.handle(Event::Progress {
        worker,
        lease,
        done,
    });
    assert_eq!(left(&rig), 4);
    rig.handle(rig.partial(granted, node(2, 1)));
    assert_eq!(left(&rig), 4, "four of the eight hinted have come");
    rig.handle(rig.partial(granted, node(2, 2)));
    assert_eq!(left(&rig), 4);
}

#[test]
fn bytes_held_for_merges_are_bounded_and_the_block_they_wait_for_goes_out() {
    let mut rig = Rig::new();
    rig.submit(1, single(64, MergeMode::Reduce));
    let slow = grants(&rig.join(1, 1));
    assert_eq!(slow[0].node, Node::leaf(0));
    let mut fast: VecDeque<Granted> = grants(&rig.join(2, 1)).into();
    let mut answers = 0;
    let left = |rig: &mut Rig, held: Granted| {
        rig.pass(20_000);
        let Event::Partial {
            worker,
            lease,
            node,
            partial,
            ..
        } = rig.partial(held, held.node)
        else {
            unreachable!();
        };
        let (len, busy_us) = (16 << 20, 18_000);
        // No merge ever ends: its halves are held.
        rig.handle(Event::Partial {
            worker,
            lease,
            node,
            partial,
            len,
            busy_us,
        })
    };
    while let Some(next) = fast.pop_front() {
        assert!(answers < 20, "nothing bounds them");
        answers += 1;
        let actions = left(&mut rig, next);
        fast.extend(
            grants(&actions)
                .into_iter()
                .filter(|g| g.worker == B && g.node != Node::leaf(0)),
        );
    }
    // 64 MiB, and what was at work when they were full.
    assert!((4..=6).contains(&answers), "{answers}");
    // The slow one gives its block back: that, and no other, may go out.
    rig.give_back(slow[1]);
    let again = grants(&rig.give_back(slow[0]));
    let mut again = again;
    again.extend(alive(&mut rig, SECOND));
    let nodes: Vec<Node> = again.iter().map(|granted| granted.node).collect();
    assert!(nodes.contains(&Node::leaf(0)), "{nodes:?}");
    assert!(nodes.iter().all(|node| node.first() < 2), "{nodes:?}");
}

#[test]
fn a_worker_runs_as_many_guests_as_it_has_memory_for() {
    for (memory, slots) in [(4 << 30, 1), (1 << 30, 4), (1 << 20, 8)] {
        let mut rig = Rig::new();
        let mut large = spec(1 << 20, MergeMode::Reduce);
        large.memory = memory;
        rig.submit(1, large);
        let mut capacity = capacity(8);
        capacity.memory = 4 << 30;
        let granted = grants(&rig.handle(Event::WorkerJoined {
            worker: A,
            capacity,
            held: Vec::new(),
        }));
        // One block for its slots, one more behind it.
        let tasks: Vec<u64> = granted.iter().map(|g| 1 << g.node.level()).collect();
        assert_eq!(tasks, [slots, slots], "{memory} bytes each");
        let scheduler = &rig.scheduler;
        assert_eq!(scheduler.slots_of(&scheduler.jobs[&JOB]), slots);
    }
    let mut rig = Rig::with(Config::default());
    let mut none = spec(8, MergeMode::Reduce);
    none.memory = 0;
    rig.submit(1, none);
    assert_eq!(grants(&rig.join(1, 8)).len(), 1, "no division by zero");
}
