//! What large partials cost the coordinator: a `reduce` job whose every partial is
//! as large as its result, on real workers, with blocks as they come and cut down
//! to single tasks.

use crate::coordinator::{Coordinator, SINGLE_TASKS};
use crate::plan::Plan;
use crate::table::{Row, Table, Unit, median};
use crate::{machine, threads};
use manyhands_protocol::api::JobState;
use manyhands_tests::jobs::Job;
use manyhands_tests::process::Process;
use manyhands_tests::processes;
use serde_json::json;

/// Keys of a partial, and what they take, in 10^6 bytes.
const KEYS: u32 = 100_000;
const PARTIAL_MB: f64 = 1.8;

/// The coordinator's share of all processor time.
const GOAL: f64 = 0.15;

/// Of the bytes of all tasks' partials, were each written by itself.
const JOURNAL_GOAL: f64 = 0.05;

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let tasks = plan.work(1000, 8);
    let keys = plan.work(KEYS, 1000);
    let params = json!({ "tasks": tasks, "keys": keys });
    let job = Job::new("tally", params);
    for (how, options) in [
        ("blocks as they come", &[][..]),
        ("single tasks", &SINGLE_TASKS[..]),
    ] {
        let mut rounds = Vec::new();
        for _ in 0..plan.rounds {
            rounds.push(once(&job, options).await);
        }
        rows(table, how, tasks, &rounds);
    }
}

/// What one run took.
struct Figures {
    /// Processor time of the coordinator and its compute child, and of all.
    share: f64,
    seconds: f64,
    blocks: f64,
    leased: f64,
    merges: f64,
    received_mb: f64,
    journaled_mb: f64,
}

fn rows(table: &mut Table, how: &str, tasks: u64, rounds: &[Figures]) {
    let all = |which: fn(&Figures) -> f64| rounds.iter().map(which).collect::<Vec<_>>();
    let middle = |which: fn(&Figures) -> f64| median(&all(which));
    let what = format!("{tasks} tasks, {how}: the coordinator's part of all CPU");
    let note = format!(
        "{:.1} s; {:.0} blocks of {PARTIAL_MB} MB; workers did {:.0} of {:.0} merges above",
        middle(|run| run.seconds),
        middle(|run| run.blocks),
        middle(|run| run.leased),
        middle(|run| run.merges),
    );
    let row = Row::of("merging", what, Unit::Ratio, &all(|run| run.share));
    table.add(row.at_most(GOAL).note(note));
    let what = format!("{tasks} tasks, {how}: written to the journal");
    let row = Row::of(
        "merging",
        what,
        Unit::Megabytes,
        &all(|run| run.journaled_mb),
    );
    let note = format!("{:.0} MB came in", middle(|run| run.received_mb));
    table.add(
        row.at_most(JOURNAL_GOAL * tasks as f64 * PARTIAL_MB)
            .note(note),
    );
}

async fn once(job: &Job, options: &[&str]) -> Figures {
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(&folder.path().join("data"), options).await;
    // One worker for each thread, so that neighbours are computed apart.
    let mut workers = Vec::new();
    for number in 0..threads() {
        let cache = folder.path().join(number.to_string());
        workers.push(coordinator.worker(1, &cache).await);
    }
    let wasm = std::fs::read(job.module()).expect("the guest is built");
    let submitted = coordinator.submit(wasm, job.params.clone()).await;
    let over = coordinator.over(submitted.id).await;
    assert!(
        matches!(over.state, JobState::Done { .. }),
        "{:?}",
        over.state
    );
    let theirs: f64 = workers.iter().map(cpu).sum();
    let own = cpu_of(coordinator.process());
    let figures = Figures {
        share: own / (own + theirs),
        seconds: over.elapsed_ms as f64 / 1e3,
        blocks: coordinator.metric("manyhands_partials_total").await,
        leased: coordinator.metric("manyhands_leased_merges_total").await,
        merges: coordinator.metric("manyhands_merges_total").await,
        received_mb: coordinator.metric("manyhands_partial_bytes_total").await / 1e6,
        journaled_mb: coordinator.metric("manyhands_journaled_bytes_total").await / 1e6,
    };
    coordinator.kill().await;
    figures
}

fn cpu(process: &Process) -> f64 {
    cpu_of(process.id().expect("it runs"))
}

/// Processor time of a process and the compute child beside it, in seconds.
fn cpu_of(process: u32) -> f64 {
    let children = processes::children(process).into_iter();
    machine::cpu_seconds(process) + children.map(machine::cpu_seconds).sum::<f64>()
}
