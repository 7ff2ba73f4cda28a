//! Whole jobs against the same module in one process.

use crate::plan::Plan;
use crate::table::{Row, Table, Unit, median, seconds};
use crate::{in_process, threads};
use manyhands_tests::browser::{Browser, Engine};
use manyhands_tests::cluster::Cluster;
use manyhands_tests::jobs::Job;
use serde_json::json;
use std::time::{Duration, Instant};

/// Two jobs three ways.
pub(crate) async fn jobs(plan: &Plan, table: &mut Table) {
    let samples = plan.work(1_000_000_000, 10_000_000) * plan.scale;
    let pi = json!({ "samples": samples, "samples_per_task": 100_000, "seed": 1 });
    compare("pi", &Job::new("pi", pi), plan, table).await;
    let (size, iterations) = (plan.work(2048, 256), 1000 * plan.scale);
    let picture = json!({ "width": size, "height": size, "iterations": iterations, "samples": 1 });
    compare("mandelbrot", &Job::new("mandelbrot", picture), plan, table).await;
}

async fn compare(name: &str, job: &Job, plan: &Plan, table: &mut Table) {
    let threads = threads();
    let (mut alone, mut native, mut tab) = (Vec::new(), Vec::new(), Vec::new());
    let expected = in_process::run(job, threads).1;
    for _ in 0..plan.rounds {
        alone.push(in_process::run(job, threads).0);
        native.push(through_worker(job, threads, &expected).await);
        tab.push(through_tab(job, threads, &expected).await);
    }
    let (alone, native, tab) = (seconds(&alone), seconds(&native), seconds(&tab));
    let what = format!("{name}: one process, rayon and wasmtime");
    table.add(Row::of("compare", what, Unit::Seconds, &alone));
    let what = format!("{name}: coordinator and native worker");
    table.add(Row::ratio("compare", what, &native, &alone).at_most(1.05));
    let what = format!("{name}: coordinator and Chromium tab");
    table.add(Row::ratio("compare", what, &tab, &alone).at_most(1.30));
}

/// A million hashes, which nothing can guess, against the same loop in one
/// process: what a task costs beside its work.
pub(crate) async fn tiny_tasks(plan: &Plan, table: &mut Table) {
    let threads = threads();
    let job = Job::new("misbehave", json!({ "tasks": 1_000_000 }));
    let (mut alone, mut over) = (Vec::new(), Vec::new());
    let expected = in_process::run(&job, threads).1;
    for _ in 0..plan.rounds {
        let start = Instant::now();
        in_process::run(&job, threads);
        let here = start.elapsed().as_secs_f64();
        let native = through_worker(&job, threads, &expected).await;
        alone.push(here);
        over.push(native.as_secs_f64() - here);
    }
    let note = format!("{:.3} s there, both with compiling", median(&alone));
    let what = "10^6 opaque tasks, more than in one process";
    let row = Row::of("tiny", what, Unit::Seconds, &over);
    table.add(row.at_most(1.0).note(note));
}

/// A warm native worker's time from the submission to the result, as the
/// coordinator measures it.
async fn through_worker(job: &Job, threads: u16, expected: &[u8]) -> Duration {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("bench", threads).await;
    outcome(&cluster, job, expected).await
}

/// The same with a tab in the place of the worker.
async fn through_tab(job: &Job, threads: u16, expected: &[u8]) -> Duration {
    let cluster = Cluster::start().await;
    let browser = Browser::start(Engine::Chromium).await;
    let browser = browser.expect("a browser starts");
    let tab = cluster.tab(&browser, threads).await;
    let time = outcome(&cluster, job, expected).await;
    tab.close().await.expect("the tab closes");
    time
}

async fn outcome(cluster: &Cluster, job: &Job, expected: &[u8]) -> Duration {
    let outcome = cluster.run(job, &[]).outcome().await;
    outcome.assert_bytes(expected, "in a measurement");
    Duration::from_millis(outcome.job.elapsed_ms)
}
