//! `cargo xtask bench`: the same module in one process, through a coordinator
//! and a native worker, and in a Chromium tab, side by side in one run; then
//! what tiny tasks cost.
//!
//! Rounds are interleaved, so that a machine that drifts (by 13 % where this was
//! written) drifts for all; each figure is a ratio of medians over the rounds.

mod in_process;
mod table;

use manyhands_tests::browser::{Browser, Engine, Tab};
use manyhands_tests::cluster::Cluster;
use manyhands_tests::jobs::Job;
use manyhands_tests::process::Process;
use serde_json::json;
use std::time::{Duration, Instant};
use table::{Row, median, milliseconds};

/// What to measure, from the command line.
struct Plan {
    /// Rounds of each job; medians are over these.
    rounds: usize,
    /// Work is multiplied by this: 1 for jobs of a few seconds.
    scale: u64,
}

impl Plan {
    fn from_arguments() -> Self {
        let mut plan = Self {
            rounds: 3,
            scale: 1,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
            match argument.as_str() {
                "--rounds" => {
                    plan.rounds = number().expect("--rounds takes a number").max(1) as usize
                }
                "--scale" => plan.scale = number().expect("--scale takes a number").max(1),
                // Cargo passes this to every bench.
                "--bench" => {}
                other => panic!("{other}: not known; use --rounds N, --scale N"),
            }
        }
        plan
    }
}

/// One of the ways to compute, ready.
enum Way {
    Native(Process),
    Tab(Browser, Tab),
}

fn main() {
    let plan = Plan::from_arguments();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u16;
    println!(
        "{threads} threads, medians of {} rounds, interleaved",
        plan.rounds
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime starts").block_on(async {
        let pi = json!({ "samples": 1_000_000_000 * plan.scale, "samples_per_task": 100_000, "seed": 1 });
        compare("pi", &Job::new("pi", pi), threads, &plan).await;
        let iterations = 1000 * plan.scale;
        let picture = json!({ "width": 2048, "height": 2048, "iterations": iterations, "samples": 1 });
        compare("mandelbrot", &Job::new("mandelbrot", picture), threads, &plan).await;
        tiny_tasks(threads, &plan).await;
    });
}

/// A job three ways.
async fn compare(name: &str, job: &Job, threads: u16, plan: &Plan) {
    let mut alone = Vec::new();
    let mut native = Vec::new();
    let mut tab = Vec::new();
    let expected = in_process::run(job, threads).1;
    for _ in 0..plan.rounds {
        alone.push(in_process::run(job, threads).0);
        native.push(through(job, threads, None, &expected).await);
        tab.push(through(job, threads, Some(Engine::Chromium), &expected).await);
    }
    let base = median(&alone);
    Row::new(name, "one process, rayon + wasmtime", base, base).print();
    Row::new(name, "coordinator + native worker", median(&native), base)
        .goal(1.05)
        .print();
    Row::new(name, "coordinator + Chromium tab", median(&tab), base)
        .goal(1.30)
        .print();
}

/// A warm cluster's time from the submission to the result, as the coordinator
/// measures it.
async fn through(job: &Job, threads: u16, engine: Option<Engine>, expected: &[u8]) -> Duration {
    let cluster = Cluster::start().await;
    let way = match engine {
        None => Way::Native(cluster.worker("bench", threads).await),
        Some(engine) => {
            let browser = Browser::start(engine).await.expect("a browser starts");
            let tab = cluster.tab(&browser, threads).await;
            Way::Tab(browser, tab)
        }
    };
    let outcome = cluster.run(job, &[]).outcome().await;
    outcome.assert_bytes(expected, "in a measurement");
    match way {
        Way::Native(worker) => drop(worker),
        Way::Tab(browser, tab) => {
            tab.close().await.expect("the tab closes");
            drop(browser);
        }
    }
    Duration::from_millis(outcome.job.elapsed_ms)
}

/// A million hashes, which nothing can guess, against the same loop in one
/// process: what a task costs beside its work.
async fn tiny_tasks(threads: u16, plan: &Plan) {
    let job = Job::new("misbehave", json!({ "tasks": 1_000_000 }));
    let mut alone = Vec::new();
    let mut native = Vec::new();
    let expected = in_process::run(&job, threads).1;
    for _ in 0..plan.rounds {
        let start = Instant::now();
        in_process::run(&job, threads);
        alone.push(start.elapsed());
        native.push(through(&job, threads, None, &expected).await);
    }
    let over = median(&native).saturating_sub(median(&alone));
    println!(
        "tiny tasks    10^6 opaque tasks: {} more than in one process ({}); goal under 1 s",
        milliseconds(over),
        milliseconds(median(&alone))
    );
}
