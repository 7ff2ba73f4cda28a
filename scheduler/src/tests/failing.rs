//! Failing guests and tasks that work elsewhere.

use super::rig::{Granted, Rig, failure, grants, node, spec};
use crate::{Action, Micros};
use manyhands_protocol::{FailureKind, JobId, MergeMode, Node, WorkerId};

fn nodes(granted: &[Granted]) -> Vec<Node> {
    granted.iter().map(|granted| granted.node).collect()
}

#[test]
fn a_failing_task_goes_to_another_worker_and_then_fails_the_job() {
    let mut rig = Rig::new();
    let first = rig.start(1, MergeMode::Reduce, 1)[0];
    assert_eq!(rig.join(2, 1), []);
    let again = grants(&rig.fail(first, Node::leaf(0), FailureKind::Error));
    assert_eq!((again[0].worker, again.len()), (WorkerId(2), 1));
    let job = JobId(1);
    assert_eq!(
        rig.fail(again[0], Node::leaf(0), FailureKind::Trap),
        [
            Action::JobFailed {
                job,
                task: Some(0),
                failure: failure(FailureKind::Trap)
            },
            Action::Forget {
                worker: WorkerId(1),
                job
            },
            Action::Forget {
                worker: WorkerId(2),
                job
            },
        ]
    );
    assert_eq!(rig.tick(1_000_000), []);
}

#[test]
fn machines_get_three_attempts_and_alone_one_worker_makes_them_all() {
    let mut rig = Rig::new();
    let mut granted = rig.start(1, MergeMode::Concat, 1)[0];
    for kind in [FailureKind::Memory, FailureKind::Timeout] {
        let again = grants(&rig.fail(granted, Node::leaf(0), kind));
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].worker, WorkerId(1));
        granted = again[0];
    }
    let actions = rig.fail(granted, Node::leaf(0), FailureKind::Crash);
    let failed = matches!(actions[0], Action::JobFailed { task: Some(0), .. });
    assert!(failed, "{actions:?}");
}

#[test]
fn a_task_that_failed_once_may_work_elsewhere() {
    let mut rig = Rig::new();
    let first = rig.start(1, MergeMode::Concat, 1)[0];
    rig.join(2, 1);
    let again = grants(&rig.fail(first, Node::leaf(0), FailureKind::Stack))[0];
    let actions = rig.answer(again);
    assert!(actions.contains(&Action::Complete { job: JobId(1) }));
    assert_eq!(rig.scheduler.job(Micros(0), JobId(1)).unwrap().retries, 1);
}

#[test]
fn when_the_other_worker_leaves_the_first_tries_again() {
    let mut rig = Rig::new();
    let first = rig.start(2, MergeMode::Concat, 1);
    assert_eq!(nodes(&first), [Node::leaf(0), Node::leaf(1)]);
    rig.join(2, 1);
    let actions = rig.fail(first[0], Node::leaf(0), FailureKind::Memory);
    let elsewhere = grants(&actions);
    assert_eq!(
        (elsewhere[0].worker, elsewhere[0].node),
        (WorkerId(2), Node::leaf(0))
    );
    let left = crate::Event::WorkerLeft {
        worker: WorkerId(2),
    };
    let back = grants(&rig.handle(left));
    assert_eq!((back[0].worker, back[0].node), (WorkerId(1), Node::leaf(0)));
}

#[test]
fn a_failing_block_is_halved_until_one_task_is_named() {
    let mut rig = Rig::new();
    assert_eq!(rig.submit(1, spec(8, MergeMode::Reduce)), []);
    let guilty = Node::leaf(5);
    let mut pending = grants(&rig.join(1, 8));
    assert_eq!(nodes(&pending), [node(3, 0)]);
    let mut failed = 0;
    while let Some(granted) = pending.pop() {
        let actions = if granted.node.contains(guilty) {
            failed += 1;
            rig.fail(granted, granted.node, FailureKind::Trap)
        } else {
            rig.answer(granted)
        };
        if let Some(Action::JobFailed { task, .. }) = actions.first() {
            assert_eq!((*task, failed), (Some(5), 5), "8, 4, 2, 1, 1");
            return;
        }
        for again in grants(&actions) {
            assert!(granted.node.contains(again.node) || again.node != granted.node);
            pending.push(again);
        }
    }
    panic!("the job did not fail");
}

#[test]
fn the_tasks_around_a_guilty_one_are_kept() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Concat, 4)[0];
    assert_eq!(granted.node, node(2, 0));
    rig.handle(rig.partial(granted, Node::leaf(0)));
    rig.handle(rig.partial(granted, node(1, 1)));
    let again = grants(&rig.fail(granted, Node::leaf(1), FailureKind::Timeout));
    assert_eq!(nodes(&again), [Node::leaf(1)]);
    let progress = rig.scheduler.job(rig.now, JobId(1)).unwrap();
    assert_eq!((progress.done, progress.running), (3, 1));
    let actions = rig.answer(again[0]);
    assert!(actions.contains(&Action::Complete { job: JobId(1) }));
}
