//! What the simulation found (`tests/sim`), each as a few steps.

use super::rig::{MS, Rig, job};
use crate::{Input, NewJob, Output};
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{JobId, MergeMode};

const WORTH: u64 = 50 * MS;

fn with_key(id: u64) -> NewJob {
    let mut new = job(id, 4, MergeMode::Reduce);
    let mut plan = new.plan.as_ref().clone();
    plan.key = Some("once".into());
    new.plan = plan.into();
    new
}

#[test]
fn a_copy_is_not_accepted_before_the_original_is_durable() {
    let mut rig = Rig::new();
    rig.submit(job(1, 1000, MergeMode::Concat));
    let worker = rig.worker();
    let (lease, node) = rig.grants(worker)[0].names();
    let receipt = ToWorker::Accepted { lease, node };
    rig.hands_in(worker, (lease, node), b"dear", WORTH);
    rig.wait(2 * MS);
    rig.hands_in(worker, (lease, node), b"dear", WORTH);
    assert!(!rig.frames(worker).contains(&receipt));
    rig.commit();
    assert!(rig.frames(worker).contains(&receipt));
}

#[test]
fn a_submission_is_the_same_job_after_that_has_ended() {
    let mut rig = Rig::new();
    rig.submit(with_key(1));
    let request = rig.request();
    let of = JobId(1);
    rig.handle(Input::Cancel { request, job: of });
    // A copy that was prepared meanwhile, before the end is durable and after.
    for id in [2, 3] {
        let (request, job) = (rig.request(), Box::new(with_key(id)));
        rig.handle(Input::Submit { request, job });
        rig.commit_all();
        let answers = rig.rest();
        let mut answers = answers.iter().filter_map(|output| match output {
            Output::Submitted { request: to, view } if *to == request => Some(view.id),
            _ => None,
        });
        assert_eq!(answers.next(), Some(of));
    }
}

#[test]
fn times_that_cannot_be_do_no_harm() {
    let mut rig = Rig::new();
    rig.submit(job(1, 2, MergeMode::Reduce));
    let worker = rig.worker();
    for grant in rig.grants(worker) {
        rig.hands_in(worker, grant.names(), b"half", u64::MAX);
    }
    for grant in rig.grants(worker) {
        rig.hands_in(worker, grant.names(), b"half", u64::MAX);
    }
    let merges = |output: &Output| matches!(output, Output::Merge { .. });
    assert!(rig.rest().iter().any(merges));
}
