//! A coordinator ends and another takes its folder over: jobs, results, leases
//! and receipts. (Kills are tested with real processes, elsewhere.)

use crate::guests;
use crate::setup::{hello, soon, start};
use manyhands_coordinator::{Config, Coordinator, StartError};
use manyhands_protocol::api::JobState;
use manyhands_protocol::message::{ToCoordinator, ToWorker};

/// Slot time that makes a partial worth a record.
const WORTH: u64 = 1_000_000;

#[tokio::test]
async fn a_job_goes_on_where_it_was() {
    let running = start().await;
    let mut worker = running.worker().await;
    let job = running.submit(guests::reduce(2)).await;
    worker.header().await;
    let first = worker.grant().await;
    let second = worker.grant().await;
    assert_eq!((first.node.first(), second.node.first()), (0, 1));
    worker
        .socket
        .send_with(
            &ToCoordinator::Partial {
                lease: first.lease,
                node: first.node,
                offset: 0,
                total: 4,
                busy_us: WORTH,
            },
            b"left",
        )
        .await;
    match worker.socket.next().await {
        Some((ToWorker::Accepted { lease, .. }, _)) => assert_eq!(lease, first.lease),
        other => panic!("instead of a receipt: {other:?}"),
    }
    let running = running.succeed().await;
    assert_eq!(running.client.job(job.id).await.unwrap().done, 1);
    // The worker still has the other lease.
    let mut again = hello();
    again.resume = Some(worker.session);
    again.held = vec![second.claim()];
    let (mut worker, resumed) = running.worker_with(again).await;
    assert!(resumed);
    worker.hand_in(second.lease, second.node, b"right").await;
    let over = running.over(job.id).await;
    assert!(matches!(over.state, JobState::Done { len: 9, .. }));
    assert_eq!(running.result(job.id).await, b"leftright");
    running.close().await;
}

#[tokio::test]
async fn results_stay_and_numbers_go_on() {
    let running = start().await;
    let mut worker = running.worker().await;
    let wasm = guests::concat(3);
    let first = running.submit(wasm.clone()).await;
    let work =
        worker.work(|tasks| vec![b'0' + tasks.start as u8; (tasks.end - tasks.start) as usize]);
    soon("the work", work).await;
    let over = running.over(first.id).await;
    let running = running.succeed().await;
    assert_eq!(running.client.job(first.id).await.unwrap(), over);
    assert_eq!(running.result(first.id).await.len(), 3);
    let page = running.client.jobs(None, 10).await.unwrap();
    assert_eq!(page.jobs, [over]);
    let second = running.submit(wasm).await;
    assert_eq!(second.id.0, first.id.0 + 1);
    running.close().await;
}

#[tokio::test]
async fn a_submission_whose_answer_was_lost_is_the_same_job_at_the_successor() {
    let running = start().await;
    let mut submission = running.uploaded(guests::concat(1)).await;
    submission.key = Some("once".into());
    let first = running.client.submit(&submission).await.unwrap();
    assert_eq!(
        running.client.submit(&submission).await.unwrap().id,
        first.id
    );
    let running = running.succeed().await;
    assert_eq!(
        running.client.submit(&submission).await.unwrap().id,
        first.id
    );
    submission.key = Some("twice".into());
    assert_ne!(
        running.client.submit(&submission).await.unwrap().id,
        first.id
    );
    running.close().await;
}

#[tokio::test]
async fn two_coordinators_do_not_share_a_folder() {
    let running = start().await;
    let child = manyhands_engine::compute::Config {
        program: "not started".into(),
        args: Vec::new(),
        slots: 1,
        cache: None,
    };
    let mut config = Config::new(running.folder().join("data"), child);
    config.listen.set_port(0);
    let Err(refused) = Coordinator::start(config).await else {
        panic!("the folder is in use");
    };
    assert!(matches!(refused, StartError::Data(_)), "{refused}");
    assert!(
        refused
            .to_string()
            .starts_with("another coordinator uses the folder ")
    );
    running.close().await;
}
