//! Answers: whole, in parts, late, twice, of leases that are not the sender's.

use super::rig::{Granted, Rig, accepted, grants, node, reference, revoke, spec};
use crate::{Action, Config, Event, Micros, Phase, Reason};
use manyhands_protocol::{
    Failure, FailureKind, Incarnation, JobId, LeaseId, MergeMode, Node, Operand, Tree, WorkerId,
};

#[test]
fn a_job_without_tasks_is_done_at_once() {
    let mut rig = Rig::new();
    let (job, partial) = (JobId(1), None);
    let root = Action::Root { job, partial };
    assert_eq!(rig.submit(1, spec(0, MergeMode::Reduce)), [root]);
    let complete = Action::Complete { job: JobId(2) };
    assert_eq!(rig.submit(2, spec(0, MergeMode::Concat)), [complete]);
    assert_eq!(rig.join(1, 4), []);
    assert_eq!(
        rig.scheduler.job(Micros(0), job).unwrap().phase,
        Phase::Done
    );
}

#[test]
fn one_worker_does_a_reduce_job() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    let nodes: Vec<Node> = granted.iter().map(|granted| granted.node).collect();
    assert_eq!(nodes, [node(1, 0), node(1, 1)], "siblings go to one worker");
    let (left, right) = (granted[0], granted[1]);
    rig.pass(1000);
    assert_eq!(rig.answer(right), [accepted(right, right.node, true)]);
    let job = JobId(1);
    let merge = Action::Merge {
        job,
        node: node(2, 0),
        operands: Operand::two("(0 1)".to_string(), "(2 3)".to_string()),
    };
    let actions = rig.answer(left);
    assert_eq!(actions, [accepted(left, left.node, true), merge]);
    let partial = "((0 1) (2 3))".to_string();
    let merged = Event::Merged {
        job,
        node: node(2, 0),
        partial: partial.clone(),
        len: 1,
    };
    let root = Action::Root {
        job,
        partial: Some(partial),
    };
    let forget = Action::Forget {
        worker: WorkerId(1),
        job,
    };
    assert_eq!(rig.handle(merged), [root, forget]);
    assert_eq!(rig.tick(1_000_000), []);
}

#[test]
fn the_last_partial_does_not_wait_for_merges_under_way() {
    let mut rig = Rig::new();
    let granted = rig.start(8, MergeMode::Reduce, 8)[0];
    let job = JobId(1);
    let hands_in = |rig: &mut Rig, at: u64| {
        let mut actions = rig.handle(rig.partial(granted, node(1, at)));
        let receipt = accepted(granted, node(1, at), true);
        assert_eq!(actions.remove(0), receipt);
        actions
    };
    let merge = |node, operands| Action::Merge {
        job,
        node,
        operands,
    };
    let operand = |text: &str, merges| Operand::new(text.to_string(), merges);
    assert_eq!(hands_in(&mut rig, 1), []);
    let left = Operand::two("(0 1)".to_string(), "(2 3)".to_string());
    assert_eq!(hands_in(&mut rig, 0), [merge(node(2, 0), left)]);
    assert_eq!(hands_in(&mut rig, 3), []);
    // The first two are merged again: of them nobody has heard yet.
    let all = vec![
        operand("(0 1)", 0),
        operand("(2 3)", 1),
        operand("(4 5)", 0),
        operand("(6 7)", 2),
    ];
    let root = node(3, 0);
    assert_eq!(hands_in(&mut rig, 2), [merge(root, all)]);
    assert!(!rig.scheduler.merging(job, node(2, 0)));
    let merged = |node, partial: &str| Event::Merged {
        job,
        node,
        partial: partial.to_string(),
        len: partial.len() as u64,
    };
    assert_eq!(rig.handle(merged(node(2, 0), "late")), []);
    // Nor does it matter what becomes of it.
    let failure = Failure {
        kind: FailureKind::Crash,
        message: "killed".into(),
    };
    let node = node(2, 0);
    let failed = Event::MergeFailed { job, node, failure };
    assert_eq!(rig.handle(failed), []);
    let actions = rig.handle(merged(root, "all"));
    let partial = Some("all".to_string());
    assert_eq!(actions[0], Action::Root { job, partial });
}

#[test]
fn what_is_large_is_not_merged_twice() {
    let nodes = |chain_bytes| {
        let mut rig = Rig::with(Config {
            chain_bytes,
            ..Config::default()
        });
        let granted = rig.start(8, MergeMode::Reduce, 8)[0];
        let mut actions = Vec::new();
        for at in [1, 0, 3, 2] {
            actions.extend(rig.handle(rig.partial(granted, node(1, at))));
        }
        let nodes = actions.into_iter().filter_map(|action| match action {
            Action::Merge { node, .. } => Some(node),
            _ => None,
        });
        nodes.collect::<Vec<_>>()
    };
    // Four partials of five bytes each.
    assert_eq!(nodes(20), [node(2, 0), node(3, 0)]);
    assert_eq!(nodes(19), [node(2, 0), node(2, 1)]);
}

#[test]
fn a_concat_job_comes_out_in_order() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Concat, 2);
    let (left, right) = (granted[0], granted[1]);
    assert_eq!(rig.answer(right), [accepted(right, right.node, true)]);
    let job = JobId(1);
    let emit = |node, partial: &str| {
        let partial = partial.to_string();
        Action::Emit { job, node, partial }
    };
    // The left half in parts: the second ends the lease and the job.
    assert_eq!(
        rig.handle(rig.partial(left, Node::leaf(0))),
        [
            accepted(left, Node::leaf(0), true),
            emit(Node::leaf(0), "0,")
        ]
    );
    assert_eq!(rig.scheduler.job(rig.now, job).unwrap().prefix, 1);
    assert_eq!(
        rig.handle(rig.partial(left, Node::leaf(1))),
        [
            accepted(left, Node::leaf(1), true),
            emit(Node::leaf(1), "1,"),
            emit(right.node, "2,3,"),
            Action::Complete { job },
            Action::Forget {
                worker: WorkerId(1),
                job
            },
        ]
    );
    let given = rig.scheduler.contributions(job);
    assert_eq!((given[0].blocks, given[0].tasks), (3, 4));
}

#[test]
fn what_is_not_handed_in_is_free_again() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    let left = granted[0];
    rig.handle(rig.partial(left, Node::leaf(0)));
    let actions = rig.give_back(left);
    assert_eq!(actions, [], "a worker that gives back unasked rests");
    let freed = grants(&rig.tick(10_000_000));
    assert_eq!(freed.len(), 1);
    assert_eq!(freed[0].node, Node::leaf(1));
    assert_ne!(freed[0].lease, left.lease);
}

#[test]
fn what_was_handed_in_before_is_accepted_again_and_not_used() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    let left = granted[0];
    rig.answer(left);
    assert_eq!(rig.answer(left), [accepted(left, left.node, false)]);
    rig.handle(Event::JobCancelled { job: JobId(1) });
    assert_eq!(
        rig.answer(left),
        [accepted(left, left.node, false)],
        "whatever became of it: else its worker would keep it"
    );
}

#[test]
fn messages_for_leases_of_others_end_the_connection() {
    let mut rig = Rig::new();
    let granted = rig.start(1 << 20, MergeMode::Reduce, 2);
    for (liar, counter, incarnation) in [(2, 0, 1), (3, 1 << 40, 1), (4, 0, 2)] {
        rig.join(liar, 0);
        let worker = WorkerId(liar);
        let lease = LeaseId {
            incarnation: Incarnation(incarnation),
            counter,
        };
        let reason = Reason::ForeignLease(lease);
        let disconnect = Action::Disconnect { worker, reason };
        assert_eq!(rig.handle(Event::Returned { worker, lease }), [disconnect]);
        assert_eq!(
            rig.handle(Event::Returned { worker, lease }),
            [],
            "it is gone"
        );
        assert_eq!(rig.scheduler.worker(worker), None);
    }
    // The lease that was named is untouched.
    assert_eq!(
        rig.answer(granted[0])[0],
        accepted(granted[0], granted[0].node, true)
    );
}

#[test]
fn a_node_outside_the_lease_ends_the_connection_and_frees_it() {
    for outside in [node(1, 1), node(3, 0), node(40, 0), Node::leaf(1 << 61)] {
        let mut rig = Rig::new();
        let granted = rig.start(8, MergeMode::Reduce, 2)[0];
        assert_eq!(granted.node, node(1, 0));
        let Granted { worker, lease, .. } = granted;
        let event = Event::Progress {
            worker,
            lease,
            done: u64::MAX,
        };
        assert_eq!(rig.handle(event), []);
        let event = Event::Partial {
            worker,
            lease,
            node: outside,
            partial: "lie".into(),
            len: 3,
            busy_us: u64::MAX,
        };
        let reason = Reason::OutsideLease {
            lease,
            node: outside,
        };
        assert_eq!(rig.handle(event), [Action::Disconnect { worker, reason }]);
        assert_eq!(rig.scheduler.job(rig.now, JobId(1)).unwrap().running, 0);
        let again = grants(&rig.join(2, 2));
        assert_eq!(again[0].node, node(1, 0));
    }
}

#[test]
fn a_late_answer_is_used_and_relieves_who_has_the_block_now() {
    let mut rig = Rig::new();
    let first = rig.start(4, MergeMode::Reduce, 4)[0];
    assert_eq!(first.node, node(2, 0));
    rig.handle(Event::WorkerDisconnected {
        worker: WorkerId(1),
    });
    rig.tick(10_000_000);
    let second = grants(&rig.join(2, 4))[0];
    assert_eq!(second.node, node(2, 0));
    // It was on its way when the connection broke.
    let actions = rig.answer(first);
    let tree = Tree::new(4).unwrap();
    let partial = Some(reference(tree, MergeMode::Reduce, first.node));
    let job = JobId(1);
    assert_eq!(
        actions,
        [
            accepted(first, first.node, true),
            Action::Root { job, partial },
            Action::Forget {
                worker: WorkerId(2),
                job
            },
        ]
    );
}

#[test]
fn a_lease_others_have_done_is_revoked() {
    let mut rig = Rig::new();
    let first = rig.start(64, MergeMode::Reduce, 4);
    rig.handle(Event::WorkerDisconnected {
        worker: WorkerId(1),
    });
    rig.tick(10_000_000);
    let second = grants(&rig.join(2, 4))[0];
    assert_eq!(second.node, first[0].node);
    let actions = rig.answer(first[0]);
    assert_eq!(actions[0], accepted(first[0], first[0].node, true));
    assert_eq!(actions[1], revoke(second));
    // It had begun and answers all the same.
    assert_eq!(rig.answer(second)[0], accepted(second, second.node, false));
}

#[test]
fn a_failed_merge_fails_the_job() {
    let mut rig = Rig::new();
    let granted = rig.start(2, MergeMode::Reduce, 1);
    for granted in granted {
        rig.answer(granted);
    }
    let job = JobId(1);
    let failure = super::rig::failure(manyhands_protocol::FailureKind::Error);
    let event = Event::MergeFailed {
        job,
        node: node(1, 0),
        failure: failure.clone(),
    };
    let failed = Action::JobFailed {
        job,
        task: None,
        failure,
    };
    let forget = Action::Forget {
        worker: WorkerId(1),
        job,
    };
    assert_eq!(rig.handle(event.clone()), [failed, forget]);
    assert_eq!(rig.handle(event), []);
    assert_eq!(
        rig.scheduler.job(rig.now, job).unwrap().phase,
        Phase::Failed
    );
    assert_eq!(rig.handle(Event::JobRemoved { job }), []);
    assert_eq!(rig.scheduler.job(rig.now, job), None);
}
