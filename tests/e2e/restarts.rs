//! A coordinator that ends in order and comes back, with one job under way and
//! with a thousand that wait.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use manyhands_protocol::JobId;
use manyhands_protocol::api::{JobState, Submission};
use manyhands_tests::cluster::Cluster;
use manyhands_tests::jobs::Job;
use manyhands_tests::process::Signal;
use manyhands_tests::processes;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A thousand tasks whose partials and result are one byte.
const TINY: &str = r#"(module
    (@custom "manyhands" "\01\00\00\00")
    (memory (export "memory") 2)
    (data (i32.const 16) "\00{\22tasks\22:1000}")
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "open") (param i32 i32) (result i64) (i64.const 0x10_0000_000f))
    (func (export "run") (param i64 i64) (result i64) (i64.const 0x8_0000_0001))
    (func (export "take") (result i64) (i64.const 0x8_0000_0002))
    (func (export "merge") (param i32 i32 i32 i32) (result i64) (i64.const 0x8_0000_0002))
    (func (export "finish") (param i32 i32) (result i64) (i64.const 0x8_0000_0002)))"#;

const JOBS: usize = 1000;

async fn ids(cluster: &Cluster) -> BTreeSet<JobId> {
    let (mut ids, mut before) = (BTreeSet::new(), None);
    loop {
        let page = cluster.client.jobs(before, 100).await.unwrap();
        ids.extend(page.jobs.iter().map(|job| job.id));
        before = page.next;
        if before.is_none() {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_thousand_jobs() {
    let mut cluster = Cluster::start().await;
    let module = wat::parse_str(TINY).unwrap();
    let module = cluster.client.upload_module(module).await.unwrap().hash;
    let submissions = (0..JOBS).map(|number| {
        let client = cluster.client.clone();
        let submission: Submission = serde_json::from_value(json!({
            "name": format!("tiny-{number}"),
            "module": module,
            "params": { "number": number },
        }))
        .unwrap();
        async move { client.submit(&submission).await }
    });
    let begun = Instant::now();
    let submitted: BTreeSet<JobId> = stream::iter(submissions)
        .buffer_unordered(8)
        .map_ok(|job| job.id)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(submitted.len(), JOBS);
    println!("{JOBS} submissions: {:?}", begun.elapsed());

    cluster.kill().await;
    let begun = Instant::now();
    cluster.start_again().await;
    assert_eq!(cluster.health().await.unwrap(), (200, "ok\n".to_owned()));
    let took = begun.elapsed();
    println!("a restart with {JOBS} jobs: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(ids(&cluster).await, submitted);
    assert_eq!(cluster.client.status().await.unwrap().running, JOBS as u64);

    // They are jobs that run, not only names.
    let worker = cluster.worker("late", 2).await;
    cluster
        .until("the first hundred are done", async |client| {
            client.status().await.unwrap().running <= JOBS as u64 - 100
        })
        .await;
    let page = cluster.client.jobs(None, 100).await.unwrap();
    let states = page.jobs.into_iter().map(|job| job.state);
    let over: Vec<JobState> = states.filter(JobState::is_over).collect();
    let done = |state: &JobState| matches!(state, JobState::Done { len: 1, .. });
    assert!(over.iter().all(done), "{over:?}");
    cluster.end([worker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_finished_results_are_handed_in() {
    let mut cluster = Cluster::start().await;
    let worker = cluster.worker("native", 2).await;
    let job = Job::pi(3000);
    let running = cluster.run(&job, &[]);
    cluster.until_done(1, 4).await;
    let id = cluster.worker_view("native").await.unwrap();
    cluster.terminate().await;
    // The worker finishes the blocks it has: each takes about a second. Then it
    // is kept from computing anything new.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let computing = processes::children(worker.id().unwrap());
    assert_eq!(computing.len(), 1);
    processes::signal(&computing, Signal::STOP);

    cluster.start_again().await;
    let kept = cluster.newest().await.done;
    assert!(kept > 0, "what was done is still done");
    cluster
        .until("finished results are handed in", async |client| {
            client.jobs(None, 1).await.unwrap().jobs[0].done > kept
        })
        .await;
    let again = cluster.worker_view("native").await.unwrap();
    assert_eq!(again.name, id.name);
    processes::signal(&computing, Signal::CONT);
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "over two coordinators");
    assert_eq!(outcome.job.retries, 0, "its leases stood");
    cluster.end([worker]).await;
}
