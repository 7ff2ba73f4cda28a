//! A scheduler of a later incarnation: stored jobs, and workers that still hold
//! leases of the earlier one.

use super::rig::{Granted, Rig, accepted, capacity, grants, node, reference, revoke, spec};
use crate::{Action, Config, Event, JobSpec, Phase, Reason};
use manyhands_protocol::{
    FailureKind, Incarnation, JobId, LeaseId, MergeMode, Node, Operand, WorkerId,
};

const SECOND: u64 = 1_000_000;

/// A scheduler started anew.
fn anew() -> Rig {
    Rig::with(Config {
        incarnation: Incarnation(7),
        ..Config::default()
    })
}

fn restored(job: u64, spec: JobSpec, prefix: u64, nodes: &[Node]) -> Event<String> {
    let partials = nodes.iter().map(|node| {
        let partial = reference(spec.tree, spec.merge, *node);
        let len = partial.len() as u64;
        (*node, partial, len)
    });
    Event::JobRestored {
        job: JobId(job),
        spec,
        prefix,
        partials: partials.collect(),
    }
}

/// A lease of the incarnation before.
fn old(worker: u64, counter: u64, job: u64, node: Node) -> Granted {
    Granted {
        worker: WorkerId(worker),
        lease: LeaseId {
            incarnation: Incarnation(6),
            counter,
        },
        job: JobId(job),
        node,
    }
}

fn joined(worker: u64, slots: u16, held: &[Granted]) -> Event<String> {
    let held = held.iter().map(|held| (held.lease, held.job, held.node));
    Event::WorkerJoined {
        worker: WorkerId(worker),
        capacity: capacity(slots),
        held: held.collect(),
    }
}

#[test]
fn a_reduce_job_goes_on_with_what_was_stored() {
    let mut rig = anew();
    let job = JobId(1);
    // Out of order; 0..2 and 2..4 meet, 6 waits for 7.
    let stored = [Node::leaf(6), node(1, 1), node(1, 0)];
    let event = restored(1, spec(8, MergeMode::Reduce), 0, &stored);
    let merge = Action::Merge {
        job,
        node: node(2, 0),
        operands: Operand::two("(0 1)".to_string(), "(2 3)".to_string()),
    };
    assert_eq!(rig.handle(event), [merge]);
    let progress = rig.scheduler.job(rig.now, job).unwrap();
    assert_eq!(
        (progress.done, progress.running, progress.retries),
        (5, 0, 0)
    );
    assert_eq!(rig.scheduler.contributions(job), []);
    let granted = grants(&rig.join(1, 1));
    let nodes: Vec<Node> = granted.iter().map(|granted| granted.node).collect();
    assert_eq!(nodes, [Node::leaf(4), Node::leaf(5)]);
    assert_eq!(granted[0].lease.incarnation, Incarnation(7));
}

#[test]
fn a_job_that_was_all_stored_ends_at_once() {
    let mut rig = anew();
    let job = JobId(1);
    let partial = Some("((0 1) 2)".to_string());
    let event = restored(1, spec(3, MergeMode::Reduce), 0, &[node(2, 0)]);
    assert_eq!(rig.handle(event), [Action::Root { job, partial }]);
    let job = JobId(2);
    let event = restored(2, spec(3, MergeMode::Concat), 3, &[]);
    assert_eq!(rig.handle(event), [Action::Complete { job }]);
    let job = JobId(3);
    let event = restored(
        3,
        spec(4, MergeMode::Concat),
        2,
        &[Node::leaf(3), Node::leaf(2)],
    );
    let emit = |task: u64| Action::Emit {
        job,
        node: Node::leaf(task),
        partial: format!("{task},"),
    };
    let complete = Action::Complete { job };
    assert_eq!(rig.handle(event), [emit(2), emit(3), complete]);
    let job = JobId(4);
    let root = Action::Root { job, partial: None };
    let event = restored(4, spec(0, MergeMode::Reduce), 0, &[]);
    assert_eq!(rig.handle(event), [root]);
    let event = restored(5, spec(0, MergeMode::Concat), 0, &[]);
    assert_eq!(rig.handle(event), [Action::Complete { job: JobId(5) }]);
    assert_eq!(rig.join(1, 4), []);
    for job in 1..=5 {
        let progress = rig.scheduler.job(rig.now, JobId(job)).unwrap();
        assert_eq!(
            (progress.phase, progress.done),
            (Phase::Done, progress.tasks)
        );
    }
}

#[test]
fn a_concat_job_goes_on_behind_its_prefix() {
    let mut rig = anew();
    let job = JobId(1);
    let event = restored(
        1,
        spec(8, MergeMode::Concat),
        3,
        &[node(1, 2), Node::leaf(7)],
    );
    assert_eq!(rig.handle(event), []);
    let progress = rig.scheduler.job(rig.now, job).unwrap();
    assert_eq!((progress.done, progress.prefix), (6, 3));
    let granted = grants(&rig.join(1, 1));
    let nodes: Vec<Node> = granted.iter().map(|granted| granted.node).collect();
    assert_eq!(nodes, [Node::leaf(3), Node::leaf(6)]);
    let emit = |node, partial: &str| {
        let partial = partial.to_string();
        Action::Emit { job, node, partial }
    };
    let actions = rig.answer(granted[0]);
    assert_eq!(
        actions[1..],
        [emit(Node::leaf(3), "3,"), emit(node(1, 2), "4,5,")]
    );
}

#[test]
#[should_panic(expected = "is there twice")]
fn stored_partials_are_disjoint() {
    let stored = [node(1, 0), Node::leaf(1)];
    anew().handle(restored(1, spec(4, MergeMode::Reduce), 0, &stored));
}

#[test]
#[should_panic(expected = "is there twice")]
fn stored_partials_lie_behind_the_prefix() {
    anew().handle(restored(1, spec(4, MergeMode::Concat), 1, &[Node::leaf(0)]));
}

#[test]
fn a_lease_of_an_earlier_incarnation_goes_on() {
    let mut rig = anew();
    rig.handle(restored(1, spec(8, MergeMode::Reduce), 0, &[node(1, 0)]));
    let held = [
        old(1, 90, 1, node(2, 0)),
        old(1, 80, 1, node(2, 1)),
        old(1, 70, 1, node(1, 0)),
    ];
    // The block of the last is done.
    assert_eq!(rig.handle(joined(1, 4, &held)), [revoke(held[2])]);
    let progress = rig.scheduler.job(rig.now, JobId(1)).unwrap();
    assert_eq!((progress.running, progress.retries), (6, 0));
    assert_eq!(rig.scheduler.worker(WorkerId(1)).unwrap().leases, 2);
    assert_eq!(grants(&rig.join(2, 4)), []);
    // In parts, revoked or not: all answers are welcome.
    let actions = rig.handle(rig.partial(held[0], node(1, 1)));
    assert_eq!(actions[0], accepted(held[0], node(1, 1), true));
    assert!(matches!(actions[1], Action::Merge { .. }));
    assert_eq!(
        rig.answer(held[2])[0],
        accepted(held[2], held[2].node, false)
    );
    assert_eq!(
        rig.answer(held[1])[0],
        accepted(held[1], held[1].node, true)
    );
    let progress = rig.scheduler.job(rig.now, JobId(1)).unwrap();
    assert_eq!((progress.done, progress.running), (8, 0));
    assert_eq!(
        rig.answer(held[1]),
        [accepted(held[1], held[1].node, false)]
    );
}

#[test]
fn a_claim_is_for_what_is_left_and_others_may_have_it_too() {
    let mut rig = anew();
    rig.handle(restored(1, spec(8, MergeMode::Reduce), 0, &[node(1, 0)]));
    let granted = grants(&rig.join(1, 8));
    assert_eq!(granted[0].node, node(1, 1));
    let held = old(2, 1, 1, node(3, 0));
    rig.handle(joined(2, 8, &[held]));
    let progress = rig.scheduler.job(rig.now, JobId(1)).unwrap();
    assert_eq!(progress.running, 6);
    let actions = rig.handle(rig.partial(held, node(3, 0)));
    assert_eq!(actions[0], accepted(held, node(3, 0), true));
    assert!(matches!(actions[1], Action::Root { .. }), "{actions:?}");
}

#[test]
fn claims_of_jobs_that_are_over_are_forgotten_and_harmless() {
    let mut rig = anew();
    rig.handle(restored(1, spec(1, MergeMode::Concat), 1, &[]));
    let over = [
        old(1, 4, 1, Node::leaf(0)),
        old(1, 5, 9, node(3, 0)),
        old(1, 6, 9, node(3, 1)),
    ];
    let worker = WorkerId(1);
    let forget = |job| Action::Forget {
        worker,
        job: JobId(job),
    };
    assert_eq!(rig.handle(joined(1, 4, &over)), [forget(1), forget(9)]);
    for held in over {
        let lease = held.lease;
        let event = Event::Partial {
            worker,
            lease,
            node: held.node,
            partial: String::new(),
            len: 0,
            busy_us: 0,
        };
        let forget_it = accepted(held, held.node, false);
        assert_eq!(rig.handle(event), [forget_it], "else it is kept for ever");
        assert_eq!(rig.fail(held, held.node, FailureKind::Trap), []);
        assert_eq!(rig.give_back(held), []);
    }
    assert!(rig.scheduler.worker(worker).is_some());
}

#[test]
fn claims_that_cannot_be_end_the_connection() {
    let mut rig = anew();
    rig.handle(restored(1, spec(5, MergeMode::Reduce), 0, &[]));
    let held = old(1, 1, 1, node(2, 0));
    rig.handle(joined(1, 4, &[held]));
    let mut future = old(2, 0, 1, node(2, 0));
    future.lease.incarnation = Incarnation(7);
    future.lease.counter = 1 << 40;
    let outside = old(2, 2, 1, node(2, 2));
    let twice = old(2, 3, 1, node(2, 0));
    for (claims, reason) in [
        (vec![held], Reason::LeaseHeld(held.lease)),
        (vec![twice, twice], Reason::LeaseHeld(twice.lease)),
        (vec![future], Reason::ForeignLease(future.lease)),
        (
            vec![twice, outside],
            Reason::OutsideLease {
                lease: outside.lease,
                node: outside.node,
            },
        ),
    ] {
        let worker = WorkerId(2);
        assert!(reason.ends_session());
        let actions = rig.handle(joined(2, 4, &claims));
        assert_eq!(actions, [Action::Disconnect { worker, reason }]);
        assert_eq!(rig.scheduler.worker(worker), None);
    }
    // One that was not claimed is over: of no use, and no offence.
    let stale = old(1, twice.lease.counter, 1, node(2, 0));
    assert_eq!(stale.lease, twice.lease);
    assert_eq!(rig.answer(stale), [accepted(stale, stale.node, false)]);
    assert_eq!(rig.give_back(stale), []);
    assert!(rig.scheduler.worker(WorkerId(1)).is_some());
}

#[test]
fn what_was_handed_in_and_lost_is_computed_again_by_the_same_worker() {
    let mut rig = anew();
    rig.handle(restored(1, spec(4, MergeMode::Concat), 0, &[]));
    let held = old(1, 1, 1, node(2, 0));
    assert_eq!(rig.handle(joined(1, 1, &[held])), []);
    // The first half had been accepted by the earlier incarnation.
    rig.pass(SECOND);
    rig.handle(rig.partial(held, node(1, 1)));
    for _ in 0..1000 {
        let worker = WorkerId(1);
        rig.handle(Event::Heard { worker });
        for again in grants(&rig.tick(SECOND)) {
            rig.pass(SECOND);
            let actions = rig.answer(again);
            if actions.contains(&Action::Complete { job: JobId(1) }) {
                return;
            }
        }
    }
    panic!("the lost half is missing");
}

#[test]
fn what_a_paused_worker_holds_is_overdue_some_day() {
    let mut rig = anew();
    rig.handle(restored(1, spec(1, MergeMode::Reduce), 0, &[]));
    let held = old(1, 1, 1, Node::leaf(0));
    rig.handle(joined(1, 0, &[held]));
    assert_eq!(rig.join(2, 1), [revoke(held)]);
    for _ in 0..1000 {
        rig.handle(Event::Heard {
            worker: WorkerId(1),
        });
        rig.handle(Event::Heard {
            worker: WorkerId(2),
        });
        if let [copy] = grants(&rig.tick(SECOND))[..] {
            assert_eq!((copy.worker, copy.node), (WorkerId(2), Node::leaf(0)));
            return;
        }
    }
    panic!("nobody else gets it");
}

#[test]
fn time_before_the_adoption_does_not_make_a_worker_fast() {
    let mut rig = anew();
    rig.handle(restored(1, spec(1 << 30, MergeMode::Reduce), 0, &[]));
    let held = old(1, 1, 1, node(20, 0));
    rig.handle(joined(1, 1, &[held]));
    // It had as good as done it: 2^20 tasks of 1 ms come 1 ms later.
    rig.pass(1000);
    let (
        Granted {
            worker,
            lease,
            node,
            ..
        },
        partial,
    ) = (held, String::new());
    let (len, busy_us) = (0, 1000 << 20);
    let event = Event::Partial {
        worker,
        lease,
        node,
        partial,
        len,
        busy_us,
    };
    let granted = grants(&rig.handle(event));
    assert_eq!(granted[0].node.level(), 0, "{granted:?}");
    let progress = rig.scheduler.job(rig.now, JobId(1)).unwrap();
    assert_eq!(progress.remaining_us, None);
}
