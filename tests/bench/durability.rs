//! What the journal costs real jobs on a real worker: the same with it and
//! without, in pairs.

use crate::coordinator::Coordinator;
use crate::plan::Plan;
use crate::table::{Row, Table, median, seconds};
use crate::threads;
use manyhands_protocol::api::JobState;
use manyhands_tests::jobs::Job;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Blocks as small as the goal speaks of: each is recorded.
const BLOCKS: [&str; 2] = ["--block-us", "50000"];

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let samples = plan.work(3_000_000_000, 10_000_000) * plan.scale;
    let pi = json!({ "samples": samples, "samples_per_task": 100_000, "seed": 1 });
    pairs("pi", &Job::new("pi", pi), plan, table).await;
    let (size, iterations) = (plan.work(4096, 256), 1000 * plan.scale);
    let picture = json!({ "width": size, "height": size, "iterations": iterations, "samples": 1 });
    pairs("mandelbrot", &Job::new("mandelbrot", picture), plan, table).await;
}

async fn pairs(name: &str, job: &Job, plan: &Plan, table: &mut Table) {
    let cache = tempfile::tempdir().expect("a folder");
    let (mut durable, mut ephemeral) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        // Whichever comes second finds the machine warmer.
        for first in [round % 2 == 0, round % 2 == 1] {
            let time = once(job, first, cache.path()).await;
            match first {
                true => durable.push(time),
                false => ephemeral.push(time),
            }
        }
    }
    let what = format!("{name}: with the journal against --ephemeral");
    let (durable, ephemeral) = (seconds(&durable), seconds(&ephemeral));
    let row = Row::ratio("durability", what, &durable, &ephemeral).at_most(1.10);
    let note = format!(
        "{:.2} s / {:.2} s, blocks of 50 ms",
        median(&durable),
        median(&ephemeral)
    );
    table.add(row.note(note));
}

/// From the submission to the result, with a worker that has the module.
async fn once(job: &Job, durable: bool, cache: &Path) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = BLOCKS.to_vec();
    options.extend((!durable).then_some("--ephemeral"));
    let coordinator = Coordinator::start(folder.path(), &options).await;
    let _worker = coordinator.worker(threads(), cache).await;
    let wasm = std::fs::read(job.module()).expect("the guest is built");
    let mut time = Duration::ZERO;
    // The first one, a short one, is there for the module's sake.
    for params in [job.moment().params, job.params.clone()] {
        let submitted = coordinator.submit(wasm.clone(), params).await;
        let over = coordinator.over(submitted.id).await;
        assert!(
            matches!(over.state, JobState::Done { .. }),
            "{:?}",
            over.state
        );
        time = Duration::from_millis(over.elapsed_ms);
    }
    coordinator.kill().await;
    time
}
