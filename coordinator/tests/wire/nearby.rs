//! A worker of the coordinator's own process, which reads inputs where they lie.

use crate::guests;
use crate::setup::{Running, failure, start, submission};
use manyhands_coordinator::{InPlace, Place};
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::{JobState, JobView};
use manyhands_worker_native::{Config, Nearby, Part, Worker};
use std::sync::Arc;

#[derive(Debug)]
struct Inputs(InPlace);

impl Nearby for Inputs {
    fn find(&self, hash: BlobHash) -> Option<Part> {
        let Place { file, offset, len } = self.0.find(hash)?;
        Some(Part { file, offset, len })
    }
}

/// Submits a job over one file, which is `later` by the time that a worker comes; how
/// it ends, and how many bytes of it were sent.
async fn ends(running: &Running, text: &[u8], later: &[u8]) -> (JobView, f64) {
    let file = running.folder().join("input.txt");
    std::fs::write(&file, text).unwrap();
    let module = running.client.upload_module(guests::over_records()).await;
    let wanted = submission(module.unwrap().hash);
    let inputs = vec![("input.txt".into(), file.clone())];
    let job = running.submit_in_place(wanted, inputs).await.unwrap();
    std::fs::write(&file, later).unwrap();
    let before = sent(running).await;
    let child = env!("CARGO_BIN_EXE_coordinator-compute-child").into();
    let mut config = Config::new(running.url(), child, Vec::new());
    config.threads = 1;
    config.nearby = Some(Arc::new(Inputs(running.in_place())));
    let worker = Worker::start(config).unwrap();
    let over = running.over(job.id).await;
    drop(worker);
    (over, sent(running).await - before)
}

async fn sent(running: &Running) -> f64 {
    let metrics = reqwest::get(running.http("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let lines = metrics.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix("manyhands_blob_bytes_total "));
    values.next().map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn inputs_are_read_where_they_lie_and_not_sent() {
    let running = start().await;
    let text = b"many hands make light work\n".repeat(100_000);
    let (over, sent) = ends(&running, &text, &text).await;
    assert!(matches!(over.state, JobState::Done { .. }), "{over:?}");
    assert!(sent > 0.0, "the module is");
    assert!(sent < 10_000.0, "{sent} bytes were sent");
    running.close().await;
}

#[tokio::test]
async fn an_input_that_changed_before_it_was_read_fails_its_job_and_is_named() {
    let running = start().await;
    let large = b"many hands make light work\n".repeat(100_000);
    let mut otherwise = large.clone();
    otherwise[10] = b'?';
    let small = &b"one\ntwo\n"[..];
    for (text, later) in [
        (small, &b"one\nTWO\n"[..]),
        (small, b"one\n"),
        (&large, &otherwise),
        (&large, &large[..1_500_000]),
    ] {
        let (over, _) = ends(&running, text, later).await;
        let message = failure(over);
        assert!(
            message.contains("input.txt is not what it was"),
            "{message}"
        );
    }
    running.close().await;
}
