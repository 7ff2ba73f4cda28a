//! What waits for which commit.

use super::rig::{MS, Rig, job};
use crate::{Input, Output, Request};
use bytes::Bytes;
use manyhands_protocol::api::{BlobView, JobState};
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{BlobHash, JobId, MergeMode, Node, Operand};
use std::sync::Arc;

const WORTH: u64 = 50 * MS;

fn node(level: u8, index: u64) -> Node {
    Node::new(level, index).unwrap()
}

#[test]
fn a_submission_is_answered_once_it_is_durable() {
    let mut rig = Rig::new();
    let request = rig.request();
    let new = Box::new(job(1, 4, MergeMode::Reduce));
    rig.handle(Input::Submit { request, job: new });
    assert!(rig.rest().is_empty(), "nobody is told yet");
    rig.commit();
    assert_eq!(rig.disk.jobs.len(), 1);
    match &rig.rest()[..] {
        [Output::Submitted { request: to, view }] => {
            assert_eq!((*to, view.id), (request, JobId(1)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn workers_begin_before_the_submission_is_durable_where_its_id_is_set_aside() {
    let mut rig = Rig::new();
    let worker = rig.worker();
    let session = match rig.frames(worker)[..] {
        [ToWorker::Welcome { session, .. }, ..] => session,
        ref other => panic!("{other:?}"),
    };
    let submit = |rig: &mut Rig, id| {
        let (request, job) = (rig.request(), Box::new(job(id, 4, MergeMode::Concat)));
        rig.handle(Input::Submit { request, job });
    };
    submit(&mut rig, 1);
    assert!(
        rig.grants(worker).is_empty(),
        "another could have this id after a crash"
    );
    rig.commit();
    assert!(!rig.grants(worker).is_empty());
    rig.handle(Input::Cancel {
        request: Request(99),
        job: JobId(1),
    });
    rig.commit_all();
    rig.rest();
    submit(&mut rig, 2);
    let grants = rig.grants(worker);
    assert!(!grants.is_empty());
    // A crash undoes the job: the successor knows of none, and no other has its id.
    assert!(!rig.disk.jobs.contains_key(&JobId(2)) && rig.disk.next_job > 2);
    let hello = rig.hello(vec![grants[0].claim], Some(session));
    let mut rig = rig.crash(2);
    let worker = rig.connect(hello);
    let frames = rig.frames(worker);
    assert!(
        matches!(
            frames[..],
            [
                ToWorker::Welcome { resumed: true, .. },
                ..,
                ToWorker::Forget { job: JobId(2) }
            ]
        ),
        "{frames:?}"
    );
}

#[test]
fn ids_are_set_aside_by_the_dozen_and_given_back_in_the_end() {
    let mut rig = Rig::new();
    let mut seen = vec![rig.disk.next_job];
    for id in 1..=60 {
        rig.submit(job(id, 4, MergeMode::Concat));
        assert!(rig.disk.next_job > id);
        if seen.last() != Some(&rig.disk.next_job) {
            seen.push(rig.disk.next_job);
        }
    }
    assert_eq!(seen, [0, 34, 51, 68, 85]);
    rig.handle(Input::Drain);
    rig.commit_all();
    assert_eq!(rig.disk.next_job, 61);
}

#[test]
fn a_small_result_waits_for_its_jobs_submission() {
    let mut rig = Rig::new();
    rig.submit(job(1, 1, MergeMode::Reduce));
    rig.rest();
    let request = rig.request();
    let new = Box::new(job(2, 0, MergeMode::Reduce));
    rig.handle(Input::Submit { request, job: new });
    assert!(matches!(&rig.rest()[..], [Output::Finish { .. }]));
    rig.handle(Input::Result {
        job: JobId(2),
        bytes: Bytes::from("xy"),
        told: true,
    });
    assert!(rig.rest().is_empty(), "a crash would undo the job");
    rig.commit();
    let outputs = rig.rest();
    assert!(
        matches!(
            &outputs[..],
            [Output::Submitted { .. }, Output::Result { .. }]
        ),
        "{outputs:?}"
    );
    assert_eq!(
        rig.disk.stored().len(),
        2,
        "that it ended is not recorded yet"
    );
    rig.commit_all();
    assert!(matches!(&rig.rest()[..], [Output::Over { .. }]));
}

#[test]
fn a_submission_that_comes_twice_is_one_job() {
    let mut rig = Rig::new();
    for id in [1, 2] {
        let mut new = job(id, 4, MergeMode::Reduce);
        let mut plan = new.plan.as_ref().clone();
        plan.key = Some("once".into());
        new.plan = plan.into();
        rig.submit(new);
        match &rig.rest()[..] {
            [Output::Submitted { view, .. }] => assert_eq!(view.id, JobId(1)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rig.disk.jobs.len(), 1);
}

#[test]
fn a_receipt_waits_for_the_record_and_a_cheap_partial_for_nothing() {
    let mut rig = Rig::new();
    rig.submit(job(1, 1000, MergeMode::Concat));
    let worker = rig.worker();
    let grants = rig.grants(worker);
    rig.hands_in(worker, grants[0].names(), b"cheap", 3);
    let receipt = ToWorker::Accepted {
        lease: grants[0].claim.lease,
        node: grants[0].claim.node,
    };
    assert!(rig.frames(worker).contains(&receipt));
    assert!(rig.committing.is_none() && rig.core.is_settled());
    rig.hands_in(worker, grants[1].names(), b"dear", WORTH);
    let (lease, node) = grants[1].names();
    let receipt = ToWorker::Accepted { lease, node };
    assert!(!rig.frames(worker).contains(&receipt));
    rig.wait(2 * MS);
    assert!(
        !rig.frames(worker).contains(&receipt),
        "it is only being written"
    );
    rig.commit();
    assert!(rig.frames(worker).contains(&receipt));
    let stored = &rig.disk.jobs[&JobId(1)].partials;
    let bytes: Vec<_> = stored.values().map(|row| &row.2[..]).collect();
    assert_eq!(bytes, [b"dear"]);
}

#[test]
fn a_merged_partial_takes_the_place_of_its_halves() {
    let mut rig = Rig::new();
    rig.submit(job(1, 2, MergeMode::Reduce));
    let worker = rig.worker();
    let mut grants = rig.grants(worker);
    grants.extend(rig.grants(worker));
    for (grant, bytes) in grants.iter().zip([b"l", b"r"]) {
        rig.hands_in(worker, grant.names(), bytes, WORTH);
    }
    let merges = rig.rest();
    let [_, Output::Merge { operands, .. }] = &merges[..] else {
        panic!("they meet: {merges:?}");
    };
    let (left, right) = (Bytes::from_static(b"l"), Bytes::from_static(b"r"));
    assert_eq!(*operands, Operand::two(left, right));
    rig.commit_all();
    assert_eq!(rig.disk.jobs[&JobId(1)].partials.len(), 2);
    rig.handle(Input::Merged {
        job: JobId(1),
        node: node(1, 0),
        outcome: Ok(Bytes::from("lr")),
    });
    rig.commit_all();
    let rows: Vec<_> = rig.disk.jobs[&JobId(1)].partials.values().collect();
    assert_eq!(rows, [&(node(1, 0), 2, Bytes::from("lr"), 2 * WORTH)]);
    assert!(matches!(&rig.rest()[..], [Output::Finish { partial, .. }] if partial == "lr"));
}

#[test]
fn merges_within_a_group_leave_one_record() {
    let mut rig = Rig::new();
    rig.submit(job(1, 2, MergeMode::Reduce));
    let worker = rig.worker();
    let grants = rig.grants(worker);
    for grant in &grants {
        rig.hands_in(worker, grant.names(), b"x", WORTH);
    }
    rig.handle(Input::Merged {
        job: JobId(1),
        node: node(1, 0),
        outcome: Ok(Bytes::from("xx")),
    });
    rig.wait(2 * MS);
    let group = rig.committing.as_ref().expect("a group");
    assert_eq!(group.records.len(), 1, "{group:?}");
}

#[test]
fn what_is_large_and_soon_in_the_results_file_is_not_recorded_besides() {
    let large = vec![1; 2000];
    let mut rig = Rig::new();
    rig.submit(job(1, 1000, MergeMode::Concat));
    let worker = rig.worker();
    let grants = rig.grants(worker);
    let [first, second] = [0, 1].map(|at| grants[at].names());
    rig.hands_in(worker, second, &large, WORTH);
    rig.wait(4_999 * MS);
    assert!(rig.committing.is_none(), "it waits for the first");
    rig.hands_in(worker, first, &large, WORTH);
    rig.wait(MS);
    // The second has waited long enough, wherever it is by now; the first goes on waiting.
    rig.commit();
    assert_eq!(rig.receipts(worker), [second.0]);
    rig.wait(500 * MS);
    assert!(rig.committing.is_none(), "the file has it soon");
    rig.handle(Input::Synced {
        job: JobId(1),
        task: 2,
        len: 4000,
    });
    rig.commit();
    assert_eq!(rig.receipts(worker), [first.0]);
    assert_eq!(rig.core.counts().journaled_bytes, 2000);
    let stored = &rig.disk.stored()[0];
    assert_eq!((stored.prefix, stored.partials.len()), ((2, 4000), 0));
}

#[test]
fn the_end_is_told_once_it_is_durable_and_leaves_only_the_view() {
    let mut rig = Rig::new();
    rig.submit(job(1, 2, MergeMode::Concat));
    let worker = rig.worker();
    for grant in rig.grants(worker) {
        rig.hands_in(worker, grant.names(), b"y", WORTH);
    }
    let outputs = rig.rest();
    assert!(matches!(
        &outputs[1..],
        [
            Output::Append { task: 1, .. },
            Output::Append { task: 2, .. },
            Output::Complete { .. }
        ]
    ));
    rig.handle(Input::Synced {
        job: JobId(1),
        task: 1,
        len: 1,
    });
    rig.commit_all();
    assert_eq!(
        rig.disk.jobs[&JobId(1)].partials.len(),
        1,
        "one is in the file"
    );
    rig.frames(worker);
    let (hash, len) = (BlobHash::of(b"yy"), 2);
    rig.handle(Input::Finished {
        job: JobId(1),
        outcome: Ok(BlobView { hash, len }),
    });
    assert!(rig.rest().is_empty() && rig.core.view(rig.now, JobId(1)).is_none());
    rig.commit();
    match &rig.rest()[..] {
        [Output::Over { view }] => assert_eq!(view.state, JobState::Done { len, hash }),
        other => panic!("{other:?}"),
    }
    let job = &rig.disk.jobs[&JobId(1)];
    assert_eq!((job.view.done, job.partials.len()), (2, 0));
    assert!(rig.disk.stored().is_empty());
}

#[test]
fn a_small_result_may_be_had_before_it_is_recorded_and_is_the_same_after_a_crash() {
    for told in [false, true] {
        let mut rig = Rig::new();
        rig.submit(job(1, 0, MergeMode::Reduce));
        assert!(matches!(&rig.rest()[..], [.., Output::Finish { .. }]));
        let bytes = Bytes::from("xy");
        rig.handle(Input::Result {
            job: JobId(1),
            bytes: bytes.clone(),
            told,
        });
        let early = match &rig.rest()[..] {
            [Output::Result { view, bytes: early }] if *early == bytes => Arc::clone(view),
            other => panic!("{other:?}"),
        };
        let (hash, len) = (BlobHash::of(b"xy"), 2);
        assert_eq!(early.state, JobState::Done { len, hash });
        // A crash now computes it again.
        assert_eq!(rig.disk.stored().len(), 1);
        assert_eq!(
            rig.committing.is_none(),
            told,
            "nobody waits for the record"
        );
        rig.wait(2 * MS);
        rig.commit();
        assert!(matches!(&rig.rest()[..], [Output::Over { view }] if *view == early));
        assert_eq!(rig.disk.jobs[&JobId(1)].result, Some(bytes));
        assert!(rig.disk.stored().is_empty());
    }
}

#[test]
fn an_author_who_is_told_goes_before_the_record() {
    let mut rig = Rig::new();
    for id in [1, 2] {
        rig.submit(job(id, 0, MergeMode::Reduce));
    }
    rig.rest();
    // The disk has had nothing to do for long.
    rig.wait(1000 * MS);
    for id in [1, 2] {
        let bytes = Bytes::from("xy");
        let (job, told) = (JobId(id), true);
        rig.handle(Input::Result { job, bytes, told });
        assert!(rig.committing.is_none());
        rig.wait(MS);
    }
    // The second has not put off the first.
    rig.commit();
    assert!(rig.disk.stored().is_empty(), "both are over");
}

#[test]
fn while_nothing_can_be_kept_nothing_is_handed_out() {
    let mut rig = Rig::new();
    rig.submit(job(1, 1000, MergeMode::Concat));
    let full = "no space";
    rig.handle(Input::Trouble(Some(full.to_owned())));
    let worker = rig.worker();
    assert!(rig.grants(worker).is_empty());
    assert_eq!(rig.core.trouble(), Some(full));
    rig.handle(Input::Trouble(None));
    assert!(!rig.grants(worker).is_empty());
    assert_eq!(rig.core.trouble(), None);
}

#[test]
fn a_drain_sends_workers_to_the_successor_and_takes_no_more() {
    let mut rig = Rig::new();
    let worker = rig.worker();
    rig.frames(worker);
    rig.handle(Input::Drain);
    match &rig.frames(worker)[..] {
        [ToWorker::Closing { after_ms, reason }] => {
            assert!(*after_ms < 60_000);
            assert_eq!(reason, "the coordinator closes");
        }
        other => panic!("{other:?}"),
    }
    rig.submit(job(1, 10, MergeMode::Concat));
    let late = rig.worker();
    assert!(rig.grants(late).is_empty());
    assert!(rig.core.is_settled());
}
