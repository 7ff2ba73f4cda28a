//! Holding grants back.

use super::rig::{Rig, accepted, grants, node, spec};
use crate::{Action, Event};
use manyhands_protocol::{JobId, MergeMode, Node, WorkerId};

const SECOND: u64 = 1_000_000;

#[test]
fn answers_are_taken_in_and_nothing_is_granted() {
    let mut rig = Rig::new();
    let granted = rig.start(1 << 10, MergeMode::Reduce, 1);
    assert_eq!(rig.handle(Event::Hold { on: true }), []);
    rig.pass(1000);
    for granted in &granted {
        assert_eq!(
            rig.answer(*granted)[0],
            accepted(*granted, granted.node, true)
        );
    }
    assert_eq!(rig.join(2, 4), []);
    assert_eq!(rig.submit(2, spec(9, MergeMode::Concat)), []);
    for _ in 0..20 {
        assert_eq!(grants(&rig.tick(SECOND)), []);
    }
    let served = grants(&rig.handle(Event::Hold { on: false }));
    for worker in [WorkerId(1), WorkerId(2)] {
        assert!(served.iter().any(|granted| granted.worker == worker));
    }
    for job in [JobId(1), JobId(2)] {
        assert!(served.iter().any(|granted| granted.job == job));
    }
}

#[test]
fn stragglers_wait_too() {
    let mut rig = Rig::new();
    let slow = rig.start(2, MergeMode::Reduce, 1);
    assert_eq!((slow[0].node, slow[1].node), (Node::leaf(0), Node::leaf(1)));
    rig.handle(Event::Hold { on: true });
    // Without the hold the second lease would be asked back for it.
    assert_eq!(rig.join(2, 1), []);
    for _ in 0..20 {
        rig.handle(Event::Heard {
            worker: WorkerId(1),
        });
        assert_eq!(rig.tick(SECOND), []);
    }
    let actions = rig.handle(Event::Hold { on: false });
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert!(matches!(
        actions[0],
        Action::Revoke { .. } | Action::Grant { .. }
    ));
    assert_eq!(rig.handle(Event::Hold { on: false }), [], "it was off");
}

#[test]
fn a_merge_is_awaited_until_it_is_in_or_an_ancestor_is() {
    let mut rig = Rig::new();
    let granted = rig.start(16, MergeMode::Reduce, 16)[0];
    let job = JobId(1);
    let below = node(1, 0);
    assert!(!rig.scheduler.merging(job, below));
    rig.handle(rig.partial(granted, Node::leaf(0)));
    assert!(!rig.scheduler.merging(job, below));
    rig.handle(rig.partial(granted, Node::leaf(1)));
    assert!(rig.scheduler.merging(job, below));
    let merged = |node, partial: &str| Event::Merged {
        job,
        node,
        partial: partial.to_string(),
        len: partial.len() as u64,
    };
    rig.handle(merged(below, "(0 1)"));
    assert!(!rig.scheduler.merging(job, below));
    // A merge of 2 and 3, then of 0..2 and 2..4; then all of 0..4 comes.
    rig.handle(rig.partial(granted, node(1, 1)));
    rig.handle(rig.partial(granted, Node::leaf(4)));
    rig.handle(rig.partial(granted, Node::leaf(5)));
    assert!(rig.scheduler.merging(job, node(2, 0)));
    assert!(rig.scheduler.merging(job, node(1, 2)));
    rig.handle(rig.partial(granted, node(2, 1)));
    assert!(!rig.scheduler.merging(job, node(1, 2)), "4..8 is here");
    assert!(rig.scheduler.merging(job, node(2, 0)));
    assert_eq!(rig.handle(merged(node(1, 2), "late")), []);
    rig.handle(Event::JobCancelled { job });
    assert!(!rig.scheduler.merging(job, node(2, 0)));
    assert!(!rig.scheduler.merging(JobId(9), node(2, 0)));
}
