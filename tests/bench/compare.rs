//! Whole jobs against the same module in one process.

use crate::plan::Plan;
use crate::table::{Row, Table, Unit, seconds};
use crate::{bare, in_process, native, threads};
use manyhands_tests::browser::{Browser, Engine};
use manyhands_tests::cluster::Cluster;
use manyhands_tests::jobs::Job;
use serde_json::json;
use std::time::Duration;

/// A job, five ways.
struct Compared {
    name: &'static str,
    job: Job,
    /// Its own code, compiled natively.
    native: fn(&Job, u16) -> (Duration, Vec<u8>),
}

/// Three jobs.
pub(crate) async fn jobs(plan: &Plan, table: &mut Table) {
    let samples = plan.work(1_000_000_000, 10_000_000) * plan.scale;
    let (size, iterations) = (plan.work(2048, 256), plan.work(4000, 1000) * plan.scale);
    // A queen more is about six and a half times the work.
    let queens = plan.work(15, 9) + (plan.scale as f64).log(6.5).round() as u64;
    for compared in [
        Compared {
            name: "pi",
            job: Job::new(
                "pi",
                json!({ "samples": samples, "samples_per_task": 100_000, "seed": 1 }),
            ),
            native: native::run::<pi::Pi>,
        },
        Compared {
            name: "mandelbrot",
            job: Job::new(
                "mandelbrot",
                json!({ "width": size, "height": size, "iterations": iterations, "samples": 1 }),
            ),
            native: native::run::<mandelbrot::Mandelbrot>,
        },
        Compared {
            name: "nqueens",
            job: Job::new("nqueens", json!({ "n": queens })),
            native: native::run::<nqueens::Queens>,
        },
    ] {
        compare(&compared, plan, table).await;
    }
}

async fn compare(compared: &Compared, plan: &Plan, table: &mut Table) {
    let Compared { name, job, native } = compared;
    let threads = threads();
    let moment = job.moment();
    let expected = in_process::run(job, threads).1;
    let (mut rust, mut alone, mut worker) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare, mut tab) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let (time, bytes) = native(job, threads);
        assert!(bytes == expected, "{name}: native code gives other bytes");
        rust.push(time);
        // Each twice, the second time the other way round: a drift within a round, which is
        // larger than what the goal allows, is the same for both.
        let (mut by_itself, mut by_worker) = (Duration::ZERO, Duration::ZERO);
        for one_process in [true, false, false, true] {
            match one_process {
                true => by_itself += in_process::run(job, threads).0,
                false => by_worker += through_worker(Some(&moment), job, threads, &expected).await,
            }
        }
        alone.push(by_itself / 2);
        worker.push(by_worker / 2);
        let browser = Browser::start(Engine::Chromium).await;
        let browser = browser.expect("a browser starts");
        // They take turns in who is first.
        for first in [round % 2 == 0, round % 2 == 1] {
            match first {
                true => bare.push(bare::run(job, &browser, threads).await),
                false => tab.push(through_tab(job, &browser, threads, &expected).await),
            }
        }
    }
    let [rust, alone, worker, bare, tab] =
        [rust, alone, worker, bare, tab].map(|times| seconds(&times));
    let what = format!("{name}: one process, rayon and wasmtime");
    table.add(Row::of("compare", what, Unit::Seconds, &alone));
    let what = format!("{name}: the same against native Rust with rayon");
    table.add(Row::ratio("compare", what, &alone, &rust));
    let what = format!("{name}: coordinator and native worker");
    table.add(Row::ratio("compare", what, &worker, &alone).at_most(1.02));
    let what = format!("{name}: bare Web Workers in Chromium");
    table.add(Row::ratio("compare", what, &bare, &alone));
    let what = format!("{name}: coordinator and tab against bare workers");
    table.add(Row::ratio("compare", what, &tab, &bare).at_most(1.15));
}

/// A native worker's time from the submission to the result, as the coordinator
/// measures it. After a job `before`, it is a worker that has the module.
pub(crate) async fn through_worker(
    before: Option<&Job>,
    job: &Job,
    threads: u16,
    expected: &[u8],
) -> Duration {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("bench", threads).await;
    if let Some(before) = before {
        cluster.run(before, &[]).outcome().await;
    }
    outcome(&cluster, job, expected).await
}

/// The same with a tab in the place of the worker.
async fn through_tab(job: &Job, browser: &Browser, threads: u16, expected: &[u8]) -> Duration {
    let cluster = Cluster::start().await;
    let tab = cluster.tab(browser, threads).await;
    let time = outcome(&cluster, job, expected).await;
    tab.close().await.expect("the tab closes");
    time
}

async fn outcome(cluster: &Cluster, job: &Job, expected: &[u8]) -> Duration {
    let outcome = cluster.run(job, &[]).outcome().await;
    outcome.assert_bytes(expected, "in a measurement");
    Duration::from_millis(outcome.job.elapsed_ms)
}
