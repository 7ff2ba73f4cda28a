//! Jobs computed by workers made by hand; sessions that end and come back.

use crate::guests;
use crate::setup::{Running, Worker, failure, hello, soon, start, submission};
use manyhands_protocol::api::{InputFile, JobState};
use manyhands_protocol::message::{ToCoordinator, ToWorker};
use manyhands_protocol::{BlobHash, JobId, Split, Tree, cut_segment};
use std::path::Path;

fn letters(tasks: std::ops::Range<u64>) -> Vec<u8> {
    tasks.map(|task| b'a' + (task % 26) as u8).collect()
}

#[tokio::test]
async fn a_reduce_job_is_merged_in_order_and_finished() {
    let running = start().await;
    let mut worker = running.worker().await;
    let job = running.submit(guests::reduce(11)).await;
    let tree = Tree::new(11).unwrap();
    let accepted = worker.work(letters).await;
    let tasks: u64 = accepted.iter().map(|node| tree.len(*node)).sum();
    assert_eq!(tasks, 11, "{accepted:?}");
    let over = running.over(job.id).await;
    assert_eq!(running.result(job.id).await, b"abcdefghijk");
    let hash = BlobHash::of(b"abcdefghijk");
    assert_eq!(over.state, JobState::Done { len: 11, hash });
    assert_eq!(over.contributions[0].tasks, 11);
    assert_eq!(over.contributions[0].name, "by hand");
    running.close().await;
}

#[tokio::test]
async fn a_concat_job_streams_its_prefix() {
    let running = start().await;
    let mut worker = running.worker().await;
    let job = running.submit(guests::concat(40)).await;
    assert!(
        running
            .client
            .result_from(job.id, 0)
            .await
            .unwrap()
            .is_empty()
    );
    let accepted = worker.work(letters).await;
    assert!(accepted.len() > 1, "blocks begin small");
    running.over(job.id).await;
    let expected = letters(0..40);
    assert_eq!(running.result(job.id).await, expected);
    assert_eq!(
        running.client.result_from(job.id, 30).await.unwrap(),
        expected[30..]
    );
    running.close().await;
}

#[tokio::test]
async fn jobs_without_tasks_have_a_result() {
    let running = start().await;
    let reduce = running.submit(guests::reduce(0)).await;
    let concat = running.submit(guests::concat(0)).await;
    for job in [reduce.id, concat.id] {
        let over = running.over(job).await;
        assert!(
            matches!(over.state, JobState::Done { len: 0, .. }),
            "{over:?}"
        );
        assert_eq!(running.result(job).await, b"");
    }
    running.close().await;
}

#[tokio::test]
async fn a_worker_is_sent_the_module_and_the_segments_it_asks_for() {
    let running = start().await;
    let text = "some words on a line\n".repeat(60_000) + "the last";
    let mut worker = running.worker().await;
    let module = running
        .client
        .upload_module(guests::over_records())
        .await
        .unwrap();
    assert!(module.takes_inputs);
    let blob = running.client.upload_bytes(text.clone()).await.unwrap();
    let mut wanted = submission(module.hash);
    wanted.split = Some(Split::Lines);
    wanted.inputs = vec![InputFile {
        path: "words.txt".into(),
        blob: blob.hash,
    }];
    let job = running.client.submit(&wanted).await.unwrap();
    assert_eq!(job.tasks, 60_001);
    let header = worker.header().await;
    let grant = worker.grant().await;
    let segment = grant.inputs[0];
    let nothing = BlobHash::of(b"never uploaded");
    let need = vec![header.module, nothing, segment.hash];
    worker.socket.send(&ToCoordinator::Need(need)).await;
    let mut blobs = std::collections::BTreeMap::<BlobHash, Vec<u8>>::new();
    let mut gone = Vec::new();
    while blobs.get(&segment.hash).map_or(0, Vec::len) < segment.len as usize {
        match worker.socket.next().await.unwrap() {
            (
                ToWorker::Blob {
                    hash,
                    offset,
                    total,
                },
                piece,
            ) => {
                let blob = blobs.entry(hash).or_default();
                assert_eq!(offset, blob.len() as u64, "pieces are in order");
                assert!(offset + piece.len() as u64 <= total);
                blob.extend_from_slice(&piece);
            }
            (ToWorker::Gone { hash }, _) => gone.push(hash),
            _ => {}
        }
    }
    assert_eq!(gone, [nothing]);
    for (hash, bytes) in &blobs {
        assert_eq!(BlobHash::of(bytes), *hash);
    }
    assert_eq!(blobs[&header.module].len() as u64, header.module_len);
    assert_eq!(
        blobs[&segment.hash],
        text.as_bytes()[..segment.len as usize]
    );
    assert_eq!(
        cut_segment(&blobs[&segment.hash], Split::Lines).tasks(),
        segment.tasks
    );
    running.close().await;
}

/// Submits a job over a file that is read in place; the worker's first segment.
async fn in_place(running: &Running, worker: &mut Worker, file: &Path) -> (JobId, BlobHash) {
    let module = running.client.upload_module(guests::over_records()).await;
    let wanted = submission(module.unwrap().hash);
    let inputs = vec![("input.txt".into(), file.to_owned())];
    let job = running.submit_in_place(wanted, inputs).await.unwrap();
    worker.header().await;
    let segment = worker.grant().await.inputs[0].hash;
    (job.id, segment)
}

/// What the worker is sent of a blob, or that it is gone.
async fn fetched(worker: &mut Worker, hash: BlobHash) -> Option<Vec<u8>> {
    let need = ToCoordinator::Need(vec![hash]);
    worker.socket.send(&need).await;
    loop {
        match worker.socket.next().await.unwrap() {
            (ToWorker::Blob { .. }, bytes) => return Some(bytes.to_vec()),
            (ToWorker::Gone { .. }, _) => return None,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_input_that_changed_fails_its_job_and_names_the_file() {
    let running = start().await;
    let mut worker = running.worker().await;
    let file = running.folder().join("input.txt");
    std::fs::write(&file, "one\ntwo\n").unwrap();
    let (job, segment) = in_place(&running, &mut worker, &file).await;
    assert_eq!(fetched(&mut worker, segment).await.unwrap(), b"one\ntwo\n");
    // Asked for once more, it is the same and sent again.
    assert_eq!(fetched(&mut worker, segment).await.unwrap(), b"one\ntwo\n");
    std::fs::write(&file, "one\nTWO\n").unwrap();
    assert_eq!(fetched(&mut worker, segment).await, None);
    let message = failure(running.over(job).await);
    assert!(
        message.contains("input.txt is not what it was"),
        "{message}"
    );
    running.close().await;
}

#[tokio::test]
async fn a_blob_that_was_removed_fails_its_job() {
    let running = start().await;
    let mut worker = running.worker().await;
    for removed in [true, false] {
        let file = running.folder().join("input.txt");
        std::fs::write(&file, "one\ntwo\n").unwrap();
        let (job, segment) = in_place(&running, &mut worker, &file).await;
        match removed {
            true => std::fs::remove_file(&file).unwrap(),
            false => std::fs::write(&file, "one\n").unwrap(),
        }
        assert_eq!(fetched(&mut worker, segment).await, None);
        let over = running.over(job).await;
        assert!(matches!(over.state, JobState::Failed { .. }), "{over:?}");
        // What the job's end says of it.
        while !matches!(
            worker.socket.next().await.unwrap().0,
            ToWorker::Forget { .. }
        ) {}
    }
    running.close().await;
}

#[tokio::test]
async fn inputs_can_be_read_in_place() {
    let running = start().await;
    let file = running.folder().join("input.txt");
    std::fs::write(&file, "one\ntwo\n").unwrap();
    let module = running
        .client
        .upload_module(guests::over_records())
        .await
        .unwrap();
    let mut wanted = submission(module.hash);
    wanted.split = Some(Split::Lines);
    let job = running
        .submit_in_place(wanted, vec![("input.txt".into(), file)])
        .await
        .unwrap();
    assert_eq!(job.tasks, 2);
    let mut worker = running.worker().await;
    worker.header().await;
    let segment = worker.grant().await.inputs[0];
    worker
        .socket
        .send(&ToCoordinator::Need(vec![segment.hash]))
        .await;
    loop {
        if let (ToWorker::Blob { hash, .. }, piece) = worker.socket.next().await.unwrap() {
            assert_eq!((hash, &piece[..]), (segment.hash, &b"one\ntwo\n"[..]));
            break;
        }
    }
    running.close().await;
}

#[tokio::test]
async fn a_partial_in_pieces_is_put_together() {
    let running = start().await;
    let mut worker = running.worker().await;
    let job = running.submit(guests::concat(1)).await;
    worker.header().await;
    let grant = worker.grant().await;
    let partial: Vec<u8> = (0..700_000u32).map(|at| (at % 251) as u8).collect();
    for (number, piece) in partial.chunks(200_000).enumerate() {
        let message = ToCoordinator::Partial {
            lease: grant.lease,
            node: grant.node,
            offset: number as u64 * 200_000,
            total: partial.len() as u64,
            busy_us: 5,
        };
        worker.socket.send_with(&message, piece).await;
    }
    running.over(job.id).await;
    assert_eq!(running.result(job.id).await, partial);
    running.close().await;
}

#[tokio::test]
async fn a_session_is_resumed_and_the_newest_socket_wins() {
    let running = start().await;
    let mut first = running.worker().await;
    let job = running.submit(guests::concat(1)).await;
    first.header().await;
    let grant = first.grant().await;
    assert_eq!(grant.job, job.id);
    let mut again = hello();
    again.resume = Some(first.session);
    again.held = vec![grant.claim()];
    let (mut second, resumed) = running.worker_with(again).await;
    assert!(resumed);
    assert_eq!(second.id, first.id);
    match first.socket.next().await {
        Some((ToWorker::Closing { after_ms, reason }, _)) => {
            assert_eq!(after_ms, u64::MAX);
            assert_eq!(reason, "another connection took this session over");
        }
        other => panic!("instead of a farewell: {other:?}"),
    }
    assert!(first.socket.next().await.is_none());
    second.hand_in(grant.lease, grant.node, b"kept").await;
    running.over(job.id).await;
    assert_eq!(running.result(job.id).await, b"kept");
    running.close().await;
}

#[tokio::test]
async fn an_unknown_session_becomes_a_new_one() {
    let running = start().await;
    let mut unknown = hello();
    unknown.resume = Some(manyhands_protocol::SessionToken([7; 16]));
    let (worker, resumed) = running.worker_with(unknown).await;
    assert!(!resumed);
    assert_ne!(worker.session.0, [7; 16]);
    running.close().await;
}

#[tokio::test]
async fn a_goodbye_by_beacon_frees_leases_at_once() {
    let running = start().await;
    let mut leaving = running.worker().await;
    running.submit(guests::concat(1)).await;
    leaving.header().await;
    let grant = leaving.grant().await;
    let mut staying = running.worker().await;
    let http = reqwest::Client::new();
    let beacon = http
        .post(running.http("/api/v1/goodbye"))
        .body(leaving.session.0.to_vec());
    assert_eq!(beacon.send().await.unwrap().status(), 204);
    staying.header().await;
    let moved = soon("the lease", staying.grant()).await;
    assert_eq!(moved.node, grant.node);
    assert_ne!(moved.lease, grant.lease);
    let ids: Vec<_> = running.workers().await.iter().map(|one| one.id).collect();
    assert_eq!(ids, [staying.id]);
    let wrong = http
        .post(running.http("/api/v1/goodbye"))
        .body("short")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
    running.close().await;
}

#[tokio::test]
async fn workers_hear_of_the_end() {
    let running = start().await;
    let mut worker = running.worker().await;
    assert_eq!(running.client.status().await.unwrap().workers, 1);
    running.close().await;
    match worker.socket.next().await {
        Some((ToWorker::Closing { reason, .. }, _)) => assert_eq!(reason, "the coordinator closes"),
        other => panic!("instead of a farewell: {other:?}"),
    }
}
