//! What a task costs beside its work: many in large blocks, and each in a block
//! of its own.

use crate::blocks::{self, Windows};
use crate::coordinator::{Coordinator, SINGLE_TASKS};
use crate::plan::Plan;
use crate::table::{Row, Table, Unit, median};
use crate::{compare, in_process, machine, threads};
use manyhands_tests::jobs::Job;
use manyhands_tests::{files, processes};
use serde_json::json;
use std::time::Instant;

/// The goal for single tasks: blocks a second, with the worker on the same two
/// cores.
const GOAL: f64 = 30_000.0;

/// More than are ever asked for.
const TASKS: u64 = 1 << 40;

/// Blocks of single tasks, each of them recorded, however little it cost.
const SINGLE_RECORDED: [&str; 4] = [SINGLE_TASKS[0], SINGLE_TASKS[1], "--keep-us", "0"];

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    many(plan, table).await;
    single(plan, table).await;
}

/// 10^8 hashes, which nothing can guess, against the same loop in one process.
async fn many(plan: &Plan, table: &mut Table) {
    let threads = threads();
    let tasks: u64 = plan.work(100_000_000, 1_000_000);
    let job = Job::new("misbehave", json!({ "tasks": tasks }));
    let (mut alone, mut over) = (Vec::new(), Vec::new());
    let expected = in_process::run(&job, threads).1;
    for _ in 0..plan.rounds {
        let start = Instant::now();
        in_process::run(&job, threads);
        let here = start.elapsed().as_secs_f64();
        let native = compare::through_worker(None, &job, threads, &expected).await;
        alone.push(here);
        over.push(native.as_secs_f64() - here);
    }
    let note = format!("{:.3} s there, both with compiling", median(&alone));
    let what = format!("{tasks} opaque tasks, more than in one process");
    let row = Row::of("tiny", what, Unit::Seconds, &over);
    table.add(row.at_most(0.3).note(note));
}

/// The worst case: a lease, a fresh instance, a record and an answer for each
/// task, and a merge for each two.
async fn single(plan: &Plan, table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let coordinator = Coordinator::start(&data, &SINGLE_RECORDED).await;
    let cache = folder.path().join("code");
    let worker = coordinator.worker(threads(), &cache).await;
    let wasm = std::fs::read(files::guest("misbehave")).expect("the guest is built");
    coordinator.submit(wasm, json!({ "tasks": TASKS })).await;
    let worker_process = worker.id().expect("it runs");
    let before = (Instant::now(), times(&coordinator, worker_process));
    let Windows { wall, recorded, .. } = blocks::windows(&coordinator, plan).await;
    let took = before.0.elapsed().as_secs_f64();
    let after = times(&coordinator, worker_process);
    let parts = ["coordinator", "its child", "worker", "its child"];
    let parts = parts.iter().zip(after.iter().zip(&before.1));
    let parts: Vec<String> = parts
        .map(|(part, (after, before))| format!("{part} {:.2}", (after - before) / took))
        .collect();
    let what = "blocks of one task by a native worker, a second";
    let row = Row::of("tiny", what, Unit::PerSecond, &wall).at_least(GOAL);
    let note = format!(
        "{:.0} % recorded; cores: {}",
        100.0 * median(&recorded),
        parts.join(", ")
    );
    table.add(row.note(note));
    drop(worker);
    coordinator.kill().await;
}

/// Processor time of the coordinator, its compute child, the worker and its own.
fn times(coordinator: &Coordinator, worker: u32) -> [f64; 4] {
    let of = |process| {
        let children = processes::children(process);
        let children = children.into_iter().map(machine::cpu_seconds);
        (machine::cpu_seconds(process), children.sum::<f64>())
    };
    let (coordinator, worker) = (of(coordinator.process()), of(worker));
    [coordinator.0, coordinator.1, worker.0, worker.1]
}
