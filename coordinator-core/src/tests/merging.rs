//! Merges of large partials: who does them, and what is kept of the halves.

use super::rig::{Grant, MS, Rig, job};
use crate::{ConnectionId, FromWorker, Input, Output};
use bytes::Bytes;
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{Failure, FailureKind, JobId, LeaseId, MergeMode, Node, Operand};

const WORTH: u64 = 50 * MS;

/// Twice as long as half of what the rig's coordinator leases.
const LEFT: &[u8] = b"the left half";
const RIGHT: &[u8] = b"the right half";

/// A worker with leases of single tasks of a `reduce` job.
fn busy(tasks: u64) -> (Rig, ConnectionId, Vec<Grant>) {
    let mut rig = Rig::new();
    rig.submit(job(1, tasks, MergeMode::Reduce));
    let worker = rig.worker();
    let grants = rig.grants(worker);
    assert_eq!(grants[0].claim.node, Node::leaf(0));
    assert_eq!(grants[1].claim.node, Node::leaf(1));
    (rig, worker, grants)
}

type Asked = (LeaseId, Node, Vec<u8>);

/// The merge that the worker is asked for, with the bytes that came for it, and
/// what it was granted.
fn asked(rig: &mut Rig, worker: ConnectionId) -> (Option<Asked>, Vec<(LeaseId, Node)>) {
    let (mut merge, mut granted) = (None, Vec::new());
    for (message, bulk) in rig.frames_with_bulk(worker) {
        match message {
            ToWorker::Merge {
                lease, node, left, ..
            } => {
                assert_eq!(left, LEFT.len() as u64);
                merge = Some((lease, node, Vec::new()));
            }
            ToWorker::Halves {
                lease,
                offset,
                total,
            } => {
                let (of, _, bytes) = merge.as_mut().expect("the merge is named first");
                assert_eq!((lease, offset), (*of, bytes.len() as u64));
                assert_eq!(total, (LEFT.len() + RIGHT.len()) as u64);
                bytes.extend_from_slice(&bulk);
            }
            ToWorker::Grant { lease, node, .. } => granted.push((lease, node)),
            _ => {}
        }
    }
    (merge, granted)
}

/// A worker was asked to merge tasks 0 and 1.
fn merging() -> (Rig, ConnectionId, LeaseId) {
    let (rig, worker, lease, _) = merging_and_more();
    (rig, worker, lease)
}

/// The same, with what the worker was granted next.
fn merging_and_more() -> (Rig, ConnectionId, LeaseId, Vec<(LeaseId, Node)>) {
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), LEFT, WORTH);
    rig.hands_in(worker, grants[1].names(), RIGHT, WORTH);
    let (merge, more) = asked(&mut rig, worker);
    let (lease, node, bytes) = merge.expect("a merge");
    assert_eq!(node, Node::new(1, 0).unwrap());
    assert_eq!(bytes, [LEFT, RIGHT].concat());
    assert!(merges_here(&mut rig).is_empty());
    (rig, worker, lease, more)
}

/// Merges that the coordinator's own compute child is to do.
fn merges_here(rig: &mut Rig) -> Vec<(Node, Vec<Operand<Bytes>>)> {
    let merges = rig.rest().into_iter().filter_map(|output| match output {
        Output::Merge { node, operands, .. } => Some((node, operands)),
        _ => None,
    });
    merges.collect()
}

fn here() -> Vec<(Node, Vec<Operand<Bytes>>)> {
    let (left, right) = (Bytes::from_static(LEFT), Bytes::from_static(RIGHT));
    vec![(Node::new(1, 0).unwrap(), Operand::two(left, right))]
}

#[test]
fn a_worker_merges_what_is_large() {
    let (mut rig, worker, lease) = merging();
    let node = Node::new(1, 0).unwrap();
    rig.hands_in(worker, (lease, node), b"both", 7);
    let frames = rig.frames(worker);
    assert!(frames.contains(&ToWorker::Accepted { lease, node }));
    rig.commit_all();
    let stored = &rig.disk.jobs[&JobId(1)].partials;
    let bytes: Vec<_> = stored.values().map(|row| &row.2[..]).collect();
    assert_eq!(bytes, [b"both"]);
    assert_eq!(rig.core.counts().leased_merges, 1);
    assert_eq!(rig.core.counts().failures, 0);
}

#[test]
fn what_is_small_is_merged_here() {
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), b"l", WORTH);
    rig.hands_in(worker, grants[1].names(), b"r", WORTH);
    assert_eq!(asked(&mut rig, worker).0, None);
    assert_eq!(merges_here(&mut rig).len(), 1);
}

#[test]
fn what_is_small_is_merged_with_all_it_meets_in_one_go() {
    let (mut rig, worker, grants) = busy(3);
    rig.hands_in(worker, grants[1].names(), b"1", WORTH);
    let more = rig.grants(worker);
    rig.hands_in(worker, more[0].names(), b"2", WORTH);
    assert!(merges_here(&mut rig).is_empty());
    rig.hands_in(worker, grants[0].names(), b"0", WORTH);
    let node = Node::new(2, 0).unwrap();
    let operands = [("0", 0), ("1", 1), ("2", 1)];
    let operands = operands.map(|(text, merges)| Operand::new(Bytes::from(text), merges));
    assert_eq!(merges_here(&mut rig), [(node, operands.to_vec())]);
    rig.commit_all();
    rig.handle(Input::Merged {
        job: JobId(1),
        node,
        outcome: Ok(Bytes::from_static(b"012")),
    });
    rig.commit_all();
    let rows: Vec<_> = rig.disk.jobs[&JobId(1)].partials.values().collect();
    assert_eq!(rows, [&(node, 3, Bytes::from_static(b"012"), 3 * WORTH)]);
    assert_eq!(rig.core.counts().merges, 2);
}

#[test]
fn whatever_goes_wrong_at_the_worker_the_merge_is_done_here() {
    let returned = |lease| FromWorker::Returned { lease };
    let failed = |lease| FromWorker::Failed {
        lease,
        node: Node::new(1, 0).unwrap(),
        failure: Failure {
            kind: FailureKind::Trap,
            message: "no".into(),
        },
    };
    let ways: [&dyn Fn(LeaseId) -> FromWorker; 3] = [&returned, &failed, &|_| FromWorker::Goodbye];
    for way in ways {
        let (mut rig, worker, lease) = merging();
        rig.says(worker, way(lease));
        assert_eq!(merges_here(&mut rig), here());
    }
    let (mut rig, connection, _) = merging();
    rig.handle(Input::Closed { connection });
    assert_eq!(merges_here(&mut rig), here());
    let (mut rig, ..) = merging();
    rig.handle(Input::Drain);
    assert_eq!(merges_here(&mut rig), here());
}

#[test]
fn a_worker_that_takes_long_is_not_waited_for() {
    let (mut rig, worker, lease, more) = merging_and_more();
    rig.wait(9_000 * MS);
    rig.says(worker, FromWorker::Heard);
    assert!(merges_here(&mut rig).is_empty());
    rig.wait(2_000 * MS);
    assert_eq!(merges_here(&mut rig), here());
    // It is not asked again: what was sent may fill its line.
    let (next, node) = more[0];
    for task in [node.first(), node.first() + 1] {
        rig.hands_in(worker, (next, Node::leaf(task)), LEFT, WORTH);
    }
    assert_eq!(merges_here(&mut rig).len(), 1);
    // Its answer comes all the same, and is of no more use.
    rig.frames(worker);
    let node = Node::new(1, 0).unwrap();
    rig.hands_in(worker, (lease, node), b"both", 7);
    rig.commit_all();
    let frames = rig.frames(worker);
    assert!(frames.contains(&ToWorker::Accepted { lease, node }));
    assert_eq!(rig.core.counts().merges, 0);
}

#[test]
fn a_merge_of_something_else_ends_the_session() {
    let (mut rig, worker, lease) = merging();
    rig.hands_in(worker, (lease, Node::new(1, 1).unwrap()), b"both", 7);
    let frames = rig.frames(worker);
    let refused = |frame: &ToWorker| matches!(frame, ToWorker::Refused { .. });
    assert!(frames.iter().any(refused), "{frames:?}");
    assert_eq!(merges_here(&mut rig), here());
}

#[test]
fn no_merge_outlives_its_job() {
    let (mut rig, worker, lease) = merging();
    let request = rig.request();
    let job = JobId(1);
    rig.handle(Input::Cancel { request, job });
    rig.commit_all();
    rig.rest();
    rig.hands_in(worker, (lease, Node::new(1, 0).unwrap()), b"both", 7);
    rig.wait(11_000 * MS);
    assert!(merges_here(&mut rig).is_empty());
}

fn to_merge(frame: ToWorker) -> Option<(LeaseId, Node)> {
    match frame {
        ToWorker::Merge { lease, node, .. } => Some((lease, node)),
        _ => None,
    }
}

fn granted(frame: ToWorker) -> Option<(LeaseId, Node)> {
    match frame {
        ToWorker::Grant { lease, node, .. } => Some((lease, node)),
        _ => None,
    }
}

/// The first task of a lease, which is handed in without its sibling.
fn alone((lease, node): (LeaseId, Node)) -> (LeaseId, Node) {
    assert!(node.level() > 0, "{node} is no task");
    (lease, Node::leaf(node.first()))
}

#[test]
fn what_is_large_waits_for_its_sibling_before_it_is_written() {
    let large = vec![1; 2000];
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), &large, WORTH);
    rig.wait(1_000 * MS);
    assert!(rig.committing.is_none(), "it waits");
    rig.hands_in(worker, grants[1].names(), &large, WORTH);
    let merge = rig.frames(worker).into_iter().find_map(to_merge);
    rig.hands_in(worker, merge.expect("a merge"), &large, 7);
    rig.wait(4_999 * MS);
    assert!(rig.committing.is_none(), "so does what they come to");
    rig.wait(MS);
    rig.commit();
    assert_eq!(rig.core.counts().journaled_bytes, 2000);
    // Both blocks and the merge.
    assert_eq!(rig.receipts(worker).len(), 3);
}

#[test]
fn what_is_being_merged_is_left_for_a_later_group() {
    let large = vec![1; 2000];
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), &large, WORTH);
    let third = rig.frames(worker).into_iter().find_map(granted);
    let third = alone(third.expect("one more"));
    rig.hands_in(worker, third, &large, WORTH);
    rig.wait(4_000 * MS);
    rig.hands_in(worker, grants[1].names(), &large, WORTH);
    let merge = rig.frames(worker).into_iter().find_map(to_merge);
    let merge = merge.expect("a merge of the first two");
    rig.wait(1_000 * MS);
    // The third has waited long enough for its sibling, and goes alone.
    rig.commit();
    assert_eq!(rig.core.counts().journaled_bytes, 2000);
    assert_eq!(rig.receipts(worker), [third.0]);
    rig.hands_in(worker, merge, &large, 7);
    assert_eq!(rig.receipts(worker), [merge.0]);
    rig.wait(5_000 * MS);
    rig.commit();
    assert_eq!(rig.core.counts().journaled_bytes, 4000);
    let halves = [grants[0].names().0, grants[1].names().0];
    assert_eq!(rig.receipts(worker), halves);
}

#[test]
fn each_waits_for_its_own_sibling_only() {
    let large = vec![1; 2000];
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), &large, WORTH);
    let third = rig.frames(worker).into_iter().find_map(granted);
    let third = alone(third.expect("one more"));
    rig.wait(3_000 * MS);
    rig.hands_in(worker, third, &large, WORTH);
    // The first alone has waited long enough, and what is small takes none along.
    rig.wait(2_000 * MS);
    rig.commit();
    assert_eq!(rig.receipts(worker), [grants[0].names().0]);
    rig.wait(1_000 * MS);
    rig.hands_in(worker, grants[1].names(), b"small", WORTH);
    rig.commit();
    assert_eq!(rig.core.counts().journaled_bytes, 2005);
    assert_eq!(rig.receipts(worker), [grants[1].names().0]);
    rig.wait(1_999 * MS);
    assert!(rig.committing.is_none(), "it has waited long enough");
    rig.wait(MS);
    rig.commit();
    assert_eq!(rig.core.counts().journaled_bytes, 4005);
    assert_eq!(rig.receipts(worker), [third.0]);
}

#[test]
fn what_is_merged_for_long_is_written() {
    let large = vec![1; 2000];
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), &large, WORTH);
    rig.hands_in(worker, grants[1].names(), &large, WORTH);
    rig.wait(9_999 * MS);
    assert!(rig.committing.is_none(), "they are being merged");
    rig.wait(MS);
    rig.commit();
    assert_eq!(rig.core.counts().journaled_bytes, 4000);
}

#[test]
fn nobody_waits_for_the_siblings_of_others() {
    let large = vec![1; 2000];
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), &large, WORTH);
    rig.wait(2 * MS);
    assert!(rig.committing.is_none(), "it waits");
    let request = rig.request();
    let job = JobId(77);
    rig.handle(Input::Cancel { request, job });
    rig.wait(2 * MS);
    rig.commit();
    let told = |output: &Output| matches!(output, Output::Cancelled { view: None, .. });
    assert!(rig.rest().iter().any(told));
}

#[test]
fn nobody_who_leaves_waits_for_siblings() {
    let large = vec![1; 2000];
    let (mut rig, worker, grants) = busy(1000);
    rig.hands_in(worker, grants[0].names(), &large, WORTH);
    rig.wait(2 * MS);
    assert!(rig.committing.is_none(), "it waits");
    let hidden = false;
    rig.says(worker, FromWorker::Capacity { slots: 0, hidden });
    rig.wait(2 * MS);
    rig.commit();
    // Nor does what it hands in last.
    rig.hands_in(worker, grants[1].names(), &large, WORTH);
    rig.wait(2 * MS);
    rig.commit();
    let (lease, node) = grants[0].names();
    assert!(
        rig.frames(worker)
            .contains(&ToWorker::Accepted { lease, node })
    );
}
