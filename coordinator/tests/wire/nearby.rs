//! Workers that read inputs where they lie: one of the coordinator's own process, and
//! one of its machine.

use crate::guests;
use crate::setup::{Running, failure, start, submission};
use manyhands_coordinator::InPlace;
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::{JobState, JobView};
use manyhands_worker_native::{Config, FileRange, Inputs, Nearby, Worker};
use std::sync::Arc;

#[derive(Debug)]
struct Here(InPlace);

impl Nearby for Here {
    fn find(&self, hash: BlobHash) -> Option<FileRange> {
        self.0.find(hash)
    }
}

/// A job that is over, and what its inputs cost, in bytes.
struct Ended {
    job: JobView,
    sent: f64,
    shared: f64,
}

/// A worker of the coordinator's own process.
fn here(running: &Running) -> Inputs {
    Inputs::Nearby(Arc::new(Here(running.in_place())))
}

/// Submits a job over one file, which is `later` by the time that a worker comes, and
/// waits for its end.
async fn ends(running: &Running, inputs: Inputs, text: &[u8], later: &[u8]) -> Ended {
    let file = running.folder().join("input.txt");
    std::fs::write(&file, text).unwrap();
    let module = running.client.upload_module(guests::over_records()).await;
    let wanted = submission(module.unwrap().hash);
    let files = vec![("input.txt".into(), file.clone())];
    let job = running.submit_in_place(wanted, files).await.unwrap();
    std::fs::write(&file, later).unwrap();
    let (sent, shared) = counted(running).await;
    let child = env!("CARGO_BIN_EXE_coordinator-compute-child").into();
    let mut config = Config::new(running.url(), child, Vec::new());
    config.threads = 1;
    config.inputs = inputs;
    let worker = Worker::start(config).unwrap();
    let job = running.over(job.id).await;
    drop(worker);
    let after = counted(running).await;
    Ended {
        job,
        sent: after.0 - sent,
        shared: after.1 - shared,
    }
}

/// Some megabytes of which no two segments are the same.
fn lines() -> Vec<u8> {
    let lines = (0..100_000).map(|n| format!("{n} hands make light work\n"));
    lines.collect::<String>().into()
}

/// Bytes that were sent to workers, and that were handed to those of this machine.
async fn counted(running: &Running) -> (f64, f64) {
    let metrics = reqwest::get(running.http("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counter = |name: &str| {
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name));
        values.next().unwrap().trim().parse().unwrap()
    };
    let sent = counter("manyhands_blob_bytes_total ");
    (sent, counter("manyhands_shared_bytes_total "))
}

#[tokio::test]
async fn inputs_are_read_where_they_lie_and_not_sent() {
    let running = start().await;
    let text = lines();
    let len = text.len() as f64;
    let (linux, here) = (cfg!(target_os = "linux"), here(&running));
    for (inputs, is_sent, is_shared) in [
        (here, false, false),
        (Inputs::Shared, !linux, linux),
        (Inputs::Sent, true, false),
    ] {
        let what = format!("{inputs:?}");
        let Ended { job, sent, shared } = ends(&running, inputs, &text, &text).await;
        assert!(matches!(job.state, JobState::Done { .. }), "{job:?}");
        assert!(sent > 0.0, "the module is");
        assert!(sent < 10_000.0 || is_sent, "{what}: {sent} bytes sent");
        assert!(sent >= len || !is_sent, "{what}: {sent} bytes sent");
        assert_eq!(shared, if is_shared { len } else { 0.0 }, "{what}");
    }
    running.close().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_coordinator_at_another_address_is_not_asked_for_its_files() {
    // Of this machine too, but connections to it come from another one.
    let address = std::net::Ipv4Addr::new(127, 0, 0, 2);
    let running = crate::setup::start_with(|config| config.listen.set_ip(address.into())).await;
    let text = lines();
    let ended = ends(&running, Inputs::Shared, &text, &text).await;
    assert!(matches!(ended.job.state, JobState::Done { .. }));
    assert_eq!(ended.shared, 0.0);
    assert!(ended.sent >= text.len() as f64, "{} bytes", ended.sent);
    running.close().await;
}

#[tokio::test]
async fn an_input_that_changed_before_it_was_read_fails_its_job_and_is_named() {
    let running = start().await;
    let large = b"many hands make light work\n".repeat(100_000);
    let mut otherwise = large.clone();
    otherwise[10] = b'?';
    let small = &b"one\ntwo\n"[..];
    for (inputs, text, later) in [
        (here(&running), small, &b"one\nTWO\n"[..]),
        (here(&running), small, b"one\n"),
        (here(&running), &large, &otherwise),
        (here(&running), &large, &large[..1_500_000]),
        (Inputs::Shared, &large, &otherwise),
        (Inputs::Shared, &large, &large[..1_500_000]),
    ] {
        let is_shared = matches!(inputs, Inputs::Shared);
        let ended = ends(&running, inputs, text, later).await;
        if cfg!(target_os = "linux") {
            assert_eq!(ended.shared > 0.0, is_shared, "its file was handed over");
        }
        let message = failure(ended.job);
        assert!(
            message.contains("input.txt is not what it was"),
            "{message}"
        );
    }
    running.close().await;
}
