//! Connections that are cut, truncated and silent at any byte, between workers
//! and the coordinator and between `run` and the coordinator: the same bytes.

use manyhands_tests::cluster::{Cluster, Setup};
use manyhands_tests::jobs::Job;
use manyhands_tests::proxy::{Proxy, Weather};
use std::net::SocketAddr;
use std::time::Duration;

async fn proxy(cluster: &Cluster, weather: Weather) -> Proxy {
    let target: SocketAddr = cluster
        .url
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    Proxy::start(target, weather).await.unwrap()
}

/// Between workers and the coordinator. Silence is longer than they wait for one
/// another: it is they who give the connection up.
fn of_workers(seed: u64) -> Weather {
    Weather {
        seed,
        faults: 16,
        calm: 0,
        log_bytes: 16,
        silence: Duration::from_secs(15),
    }
}

/// Between `run` and the coordinator: calm until it has been reached once, since
/// one that was never there is not waited for.
fn of_run(seed: u64) -> Weather {
    Weather {
        seed,
        faults: 8,
        calm: 1024,
        log_bytes: 14,
        silence: Duration::from_secs(2),
    }
}

async fn through_bad_networks(job: Job, seed: u64) {
    let setup = Setup {
        // A worker asks after a third of it whether the coordinator is there.
        options: vec!["--deadline", "3s"],
        ..Setup::default()
    };
    let cluster = Cluster::start_with(setup).await;
    let of_workers = proxy(&cluster, of_workers(seed)).await;
    let of_run = proxy(&cluster, of_run(seed)).await;
    let first = cluster.worker_at(&of_workers.url(), "first", 1).await;
    let second = cluster.worker_at(&of_workers.url(), "second", 1).await;
    let running = cluster.run_at(&of_run.url(), &job, &[]);
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "through bad networks");
    let faults = [of_workers.faults(), of_run.faults()];
    println!("{}, seed {seed}: {faults:?}", job.guest);
    let [of_workers, of_run] = faults.map(|faults| faults.len());
    assert!(of_workers >= 1 && of_run >= 2, "seed {seed}");
    cluster.end([first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reduce_job() {
    through_bad_networks(Job::pi(2400), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concat_job() {
    through_bad_networks(Job::mandelbrot(1400), 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_an_uploaded_input() {
    through_bad_networks(Job::wordcount(48), 30).await;
}
