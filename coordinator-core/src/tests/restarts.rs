//! A coordinator dies at any commit; what its successor knows, and whom it
//! believes.

use super::rig::{Rig, job};
use crate::{Damaged, Input, Output};
use manyhands_protocol::message::{Claim, ToWorker};
use manyhands_protocol::{JobId, MergeMode, Node, Proof, SessionToken};

const WORTH: u64 = 1_000_000;

fn welcome(frames: &[ToWorker]) -> (bool, SessionToken) {
    match frames.first() {
        Some(ToWorker::Welcome {
            resumed, session, ..
        }) => (*resumed, *session),
        other => panic!("instead of a welcome: {other:?}"),
    }
}

#[test]
fn a_worker_goes_on_with_its_leases_and_its_results_at_the_successor() {
    let mut rig = Rig::new();
    rig.submit(job(1, 2, MergeMode::Concat));
    let worker = rig.worker();
    let frames = rig.frames(worker);
    let (resumed, session) = welcome(&frames);
    assert!(!resumed);
    let claims: Vec<Claim> = frames
        .iter()
        .filter_map(|frame| match *frame {
            ToWorker::Grant {
                lease,
                job,
                node,
                proof,
                ..
            } => Some(Claim {
                lease,
                job,
                node,
                proof,
            }),
            _ => None,
        })
        .collect();
    assert_eq!(claims.len(), 2, "{frames:?}");
    // The first result reaches the old coordinator, which dies before it can
    // keep it.
    rig.hands_in(worker, (claims[0].lease, claims[0].node), b"a", WORTH);
    let mut rig = rig.crash(2);
    let hello = rig.hello(claims.clone(), Some(session));
    let worker = rig.connect(hello);
    assert_eq!(welcome(&rig.frames(worker)), (true, session));
    for (claim, bytes) in claims.iter().zip([b"a", b"b"]) {
        rig.hands_in(worker, (claim.lease, claim.node), bytes, WORTH);
    }
    let appended = rig.rest().into_iter().filter_map(|output| match output {
        Output::Append { partial, .. } => Some(partial),
        _ => None,
    });
    assert_eq!(appended.collect::<Vec<_>>().concat(), b"ab");
}

#[test]
fn claims_that_are_not_proven_open_no_door() {
    let mut rig = Rig::new();
    rig.submit(job(1, 64, MergeMode::Concat));
    let worker = rig.worker();
    let frames = rig.frames(worker);
    let (_, session) = welcome(&frames);
    let mut rig = rig.crash(2);
    let forged = Claim {
        lease: manyhands_protocol::LeaseId {
            incarnation: manyhands_protocol::Incarnation(1),
            counter: 0,
        },
        job: JobId(1),
        node: Node::new(6, 0).unwrap(),
        proof: Proof([0; 16]),
    };
    let hello = rig.hello(vec![forged], Some(session));
    let worker = rig.connect(hello);
    let (resumed, token) = welcome(&rig.frames(worker));
    assert!(!resumed);
    assert_ne!(token, session);
}

#[test]
fn what_was_recorded_is_not_computed_again() {
    let mut rig = Rig::new();
    rig.submit(job(1, 64, MergeMode::Reduce));
    let worker = rig.worker();
    let grants = rig.grants(worker);
    rig.hands_in(worker, grants[0].names(), b"kept", WORTH);
    rig.commit_all();
    let done = rig.core.view(rig.now, JobId(1)).unwrap().done;
    assert!(done > 0);
    let rig = rig.crash(2);
    let view = rig.core.view(rig.now, JobId(1)).unwrap();
    assert_eq!(view.done, done);
    // Submitted at 1,000 s of the epoch, taken up at 1,060 s.
    assert_eq!(view.elapsed_ms, 60_000);
}

#[test]
fn a_result_that_waited_for_its_end_is_finished_by_the_successor() {
    let mut rig = Rig::new();
    rig.submit(job(1, 1, MergeMode::Reduce));
    let worker = rig.worker();
    let grants = rig.grants(worker);
    rig.hands_in(worker, grants[0].names(), b"root", WORTH);
    rig.commit_all();
    assert!(matches!(&rig.rest()[1..], [Output::Finish { .. }]));
    let mut rig = rig.crash(2);
    assert!(matches!(&rig.rest()[..], [Output::Finish { partial, .. }] if partial == "root"));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let mut rig = Rig::new();
    rig.submit(job(1, 4, MergeMode::Concat));
    let stored = rig.disk.stored().remove(0);
    let leaf = |task| (Node::leaf(task), "x".into(), 1);
    let mut changed = Vec::new();
    for (partials, prefix) in [
        (vec![leaf(4)], (0, 0)),
        (vec![leaf(1), leaf(1)], (0, 0)),
        (vec![leaf(2), leaf(1)], (0, 0)),
        (vec![leaf(0)], (1, 5)),
        (vec![], (5, 5)),
    ] {
        let mut other = stored.clone();
        (other.partials, other.prefix) = (partials, prefix);
        changed.push(other);
    }
    let mut other = stored.clone();
    other.view = super::rig::job(2, 4, MergeMode::Concat).view.into();
    changed.push(other);
    for stored in changed {
        let job = stored.view.id;
        let refused = super::rig::core(2, 1).restore(rig.now, 0, stored);
        assert!(matches!(refused, Err(Damaged { job: of, .. }) if of == job));
    }
    // As it is, it is taken.
    let mut core = super::rig::core(2, 1);
    core.restore(rig.now, 0, stored).unwrap();
    core.handle(rig.now, Input::Tick);
}
