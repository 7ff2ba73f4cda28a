//! The coordinator is killed again and again in the middle of a job, and workers
//! and tabs with it: the job ends with the same bytes, and what was done once is
//! not done ten times.

use manyhands_protocol::api::JobView;
use manyhands_tests::browser::{Browser, Engine};
use manyhands_tests::cluster::{self, Cluster, PATIENCE};
use manyhands_tests::jobs::Job;
use manyhands_tests::process::{Process, Signal};
use manyhands_tests::processes;
use manyhands_tests::random::Random;
use rusqlite::Connection;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

const KILLS: u64 = 10;

/// Parts of a job after each of which a coordinator is killed: the kills are in its
/// first half. Workers go on while it is away, and a job that they end meanwhile,
/// on a machine faster than ours, is not one that could be killed.
const PARTS: u64 = 2 * KILLS;

/// Kills the coordinator and starts it again, at once or after a pause. What the
/// journal has is still done; how many tasks were not in it yet.
async fn kill(cluster: &mut Cluster, pause: Duration) -> u64 {
    let before = cluster.newest().await;
    assert!(!before.state.is_over(), "too short a job: {before:?}");
    cluster.kill().await;
    let recorded = recorded(&cluster.data, &before);
    // How long it is away is part of the fault.
    tokio::time::sleep(pause).await;
    cluster.start_again().await;
    let after = cluster.newest().await;
    assert_eq!((after.id, after.tasks), (before.id, before.tasks));
    assert_eq!(after.submitted_ms, before.submitted_ms);
    let done = after.done;
    assert!(done >= recorded, "{done} done of {recorded} recorded");
    before.done.saturating_sub(recorded)
}

/// Tasks of a job that the journal of a coordinator that was killed holds.
fn recorded(data: &Path, job: &JobView) -> u64 {
    // Whoever opens the journal may change it: the successor's must be as it was.
    let copy = tempfile::tempdir().unwrap();
    for file in ["journal.sqlite", "journal.sqlite-wal"] {
        fs::copy(data.join(file), copy.path().join(file)).unwrap();
    }
    let journal = Connection::open(copy.path().join("journal.sqlite")).unwrap();
    // SQLite's integers have a sign.
    let (id, n) = (job.id.0 as i64, job.tasks as i64);
    let prefix = "SELECT prefix_task FROM running WHERE job = ?1";
    let prefix: i64 = journal.query_row(prefix, [id], |row| row.get(0)).unwrap();
    let partials = "SELECT first, level FROM partials WHERE job = ?1";
    let mut partials = journal.prepare(partials).unwrap();
    let tasks = partials.query_map([id], |row| {
        let (first, level): (i64, u32) = (row.get(0)?, row.get(1)?);
        Ok((first + (1 << level)).min(n) - first)
    });
    let tasks: i64 = tasks.unwrap().map(Result::unwrap).sum();
    u64::try_from(prefix + tasks).unwrap()
}

/// Kills the coordinator ten times while two native workers and a tab compute.
async fn ten_kills(job: Job, seed: u64) {
    let mut random = Random::new(seed);
    let mut cluster = Cluster::start().await;
    let browser = Browser::start(Engine::Chromium).await.unwrap();
    let tab = cluster.tab(&browser, 1).await;
    let workers = [
        cluster.worker("first", 1).await,
        cluster.worker("second", 1).await,
    ];
    let running = cluster.run(&job, &[]);
    let mut on_the_way = 0;
    for number in 1..=KILLS {
        cluster.until_done(number, PARTS).await;
        let pause = match number % 2 {
            0 => Duration::from_millis(random.below(1500)),
            _ => Duration::ZERO,
        };
        on_the_way += kill(&mut cluster, pause).await;
    }
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "while the coordinator is killed ten times");
    let tasks = outcome.job.tasks;

    let dataset = tab.wait_until("document.body.dataset.state === 'waiting'", PATIENCE);
    dataset.await.unwrap();
    let by_tab = tab.run("return Number(document.body.dataset.tasks)", vec![]);
    let by_tab = by_tab.await.unwrap().as_f64().unwrap_or_default() as u64;
    let mut handed_in = by_tab;
    for worker in workers {
        handed_in += cluster::handed_in(worker).await;
    }
    println!(
        "{}: {tasks} tasks, {handed_in} handed in, {on_the_way} not recorded at kills, {} ms",
        job.guest, outcome.job.elapsed_ms
    );
    assert!(by_tab > 0, "the tab came back and helped");
    assert!(handed_in < 2 * tasks, "{handed_in} handed in for {tasks}");
    tab.close().await.unwrap();
    cluster.end([]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_in_a_reduce_job() {
    ten_kills(Job::pi(4000), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_in_a_concat_job() {
    let params = json!({ "width": 4000, "height": 4000, "iterations": 12_000, "samples": 1 });
    ten_kills(Job::new("mandelbrot", params), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_in_a_job_with_an_uploaded_input() {
    ten_kills(Job::wordcount(400), 3).await;
}

/// Kills a worker, and its compute child before.
fn kill_all_of(worker: &Process, child_first: bool) {
    if child_first {
        let children = processes::children(worker.id().unwrap());
        processes::signal(&children, Signal::KILL);
    }
    worker.signal(Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once() {
    let mut cluster = Cluster::start().await;
    let browser = Browser::start(Engine::Chromium).await.unwrap();
    let mut tab = cluster.tab(&browser, 1).await;
    let steady = cluster.worker("steady", 1).await;
    let mut victim = cluster.worker("victim", 1).await;
    // Long enough for three tabs to open.
    let job = Job::pi(5000);
    let running = cluster.run(&job, &[]);
    for number in 1..=3 {
        cluster.until_done(number, 5).await;
        // The worker and its child, or the worker alone: its child has to
        // notice by itself.
        kill_all_of(&victim, number % 2 == 0);
        let (_, closed) = tokio::join!(kill(&mut cluster, Duration::ZERO), tab.close());
        closed.unwrap();
        victim.wait().await.unwrap();
        victim = cluster.worker("victim", 1).await;
        tab = cluster.tab(&browser, 1).await;
    }
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "while all of it is killed");
    // A browser that crashes says no goodbye.
    drop(browser);
    cluster.end([steady, victim]).await;
}
